//! Many requests at once against little credit: nobody is overdrawn, and what is there is used.

use std::collections::HashMap;

use openapi::price::Price;
use openapi::units::Nanocredits;
use tests::load::{Ask, Clients};
use tests::mock::{Mock, MockOffer, Order};
use tests::{Gateway, books};

use crate::stage::sized;

const TOKENS: u32 = 10;
/// A request costs one credit, and as much is held for it: nothing is paid for the prompt.
const PRICE: Price = Price {
    prompt: Nanocredits::ZERO,
    cached: Nanocredits::ZERO,
    completion: Nanocredits::new(Nanocredits::PER_CREDIT / TOKENS as u64),
};
const CREDITS: u64 = 10;

async fn story(replicas: usize) {
    let gateways = Gateway::replicas(replicas, &[]).await;
    let mock = Mock::join(&gateways, MockOffer { price: Some(PRICE), ..MockOffer::default() }).await;
    let customer = gateways[0].customer(&CREDITS.to_string()).await;
    let clients = Clients::new(&gateways, &customer.key);
    let order = Order { tokens: TOKENS, every_us: 20_000, ..Order::default() };
    let count = sized(200, 2000);
    let asks = (0..count).map(|at| if at % 2 == 0 { Ask::stream(order) } else { Ask::whole(order) });
    let seen = clients.ask_at_once(asks).await;
    for gateway in &gateways {
        books::shipped(gateway).await;
    }
    let mut refusals: HashMap<(u16, Option<String>), u64> = HashMap::new();
    for seen in seen.iter().filter(|seen| seen.refused()) {
        *refusals.entry((seen.status, seen.code.clone())).or_default() += 1;
    }
    let refused = refusals.remove(&(402, Some("insufficient_quota".to_owned()))).unwrap_or(0);
    let served = seen.iter().filter(|seen| seen.done).count() as u64;
    let balance = books::balance(&gateways[0].database, &customer.email).await;
    let audit = books::audit(&gateways[0].database, &seen, &mock.facts(), PRICE).await;
    let paid: i64 = audit.rows.iter().map(|row| row.nanocredits).sum();
    let overspent = (paid - (CREDITS * Nanocredits::PER_CREDIT).cast_signed()).max(0);
    println!(
        "faults: {count} requests against credit for {CREDITS} on {replicas} replicas: {served} served, {refused} refused with 402, overspent {overspent}"
    );
    audit.must_be_right();
    assert_eq!((served, refused, balance, overspent), (CREDITS, count - CREDITS, 0, 0), "{refusals:?}");
    gateways[0].audit().await;
}

#[tokio::test]
async fn one_replica_serves_what_the_credit_covers_and_no_more() {
    story(1).await;
}

#[tokio::test]
async fn three_replicas_serve_what_the_credit_covers_and_no_more() {
    story(3).await;
}
