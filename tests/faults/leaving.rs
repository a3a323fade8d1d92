//! Clients that go away at any moment pay for what they received, to the token.

use std::time::Duration;

use tests::load::{Ask, Clients};
use tests::mock::{Mock, MockOffer, Order};
use tests::{Gateway, books};

use crate::stage::sized;

const TOKENS: u32 = 200;
const EVERY: Duration = Duration::from_millis(5);

#[tokio::test]
async fn who_leaves_pays_for_what_was_received() {
    let gateways = Gateway::replicas(1, &[]).await;
    let mock = Mock::join(&gateways, MockOffer { nodes: 4, ..MockOffer::default() }).await;
    let customer = gateways[0].customer("100").await;
    let clients = Clients::new(&gateways, &customer.key);
    let count = sized(60, 500);
    // A few stay to the end.
    let latest = EVERY * TOKENS * 11 / 10;
    let asks = (0..count).map(|_| Ask {
        leave_after: Some(latest.mul_f64(fastrand::f64())),
        ..Ask::stream(Order { tokens: TOKENS, every_us: EVERY.as_micros() as u64, ..Order::default() })
    });
    let seen = clients.ask_at_once(asks).await;
    books::shipped(&gateways[0]).await;
    let audit = books::audit(&gateways[0].database, &seen, &mock.facts(), books::LIST_PRICE).await;
    let received: u64 = seen.iter().map(|seen| seen.tokens).sum();
    let billed: i64 = audit.rows.iter().map(|row| row.completion_tokens).sum();
    let left = audit.ended("client_left");
    println!("faults: {left} of {count} clients left: {billed} tokens billed, {received} received");
    audit.must_be_right();
    assert_eq!(billed.cast_unsigned(), received);
    // Who was gone before the request was read has no row.
    assert!(left > 0 && left + audit.ended("completed") == audit.rows.len() as u64, "{audit}");
    gateways[0].audit().await;
}
