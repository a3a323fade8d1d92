//! Limits on three replicas under more demand than they allow: never passed, and used up.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tests::load::{Ask, Clients, Pace, Seen, begin};
use tests::mock::{Fact, Mock, MockOffer, Order};
use tests::{Customer, Gateway, books, early_in_a_minute};
use tokio::time::sleep;

use crate::stage::sized;

/// So much of a limit is used where there is demand.
const LEAST_PER_CENT: u64 = 95;

struct Story {
    gateways: Vec<Gateway>,
    mock: Mock,
    customer: Customer,
}

impl Story {
    async fn begin() -> Self {
        let gateways = Gateway::replicas(3, &[]).await;
        let mock = Mock::join(&gateways, MockOffer::default()).await;
        let customer = gateways[0].customer("1000").await;
        Self { gateways, mock, customer }
    }

    /// Asks so often, for so long, with a key of these limits.
    async fn ask(&self, limits: serde_json::Value, order: Order, (per_second, seconds): (u32, u8)) -> Vec<Seen> {
        let key = self.gateways[0].limited_key(&self.customer, &limits).await;
        let clients = Arc::new(Clients::new(&self.gateways, &key));
        let load = begin(clients, Pace::Open { per_second }, move |_| Ask::stream(order));
        sleep(Duration::from_secs(seconds.into())).await;
        load.end().await
    }

    /// Everybody who was not served was told that a limit was reached, and the books are right.
    async fn check(&self, seen: &[Seen]) -> books::Audit {
        for gateway in &self.gateways {
            books::shipped(gateway).await;
        }
        let other: Vec<&Seen> = seen.iter().filter(|seen| !seen.done && seen.status != 429).collect();
        assert!(other.is_empty(), "{other:?}");
        let audit = books::audit(&self.gateways[0].database, seen, &self.mock.facts(), books::LIST_PRICE).await;
        audit.must_be_right();
        self.gateways[0].audit().await;
        audit
    }
}

fn tell(limit: u64, what: &str, admitted: u64, asked: usize) {
    println!("faults: {what} limited to {limit} on 3 replicas: {admitted} used by {asked} requests");
    assert!(admitted <= limit, "{what}: {admitted} of {limit}");
    assert!(admitted * 100 >= limit * LEAST_PER_CENT, "{what}: only {admitted} of {limit}");
}

/// The most that ran at the same time.
fn most_at_once(facts: &[Fact]) -> u64 {
    let mut moments: Vec<(u64, i64)> =
        facts.iter().flat_map(|fact| [(fact.began_us, 1), (fact.ended_us, -1)]).collect();
    moments.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, step) in moments {
        now += step;
        most = most.max(now);
    }
    most.cast_unsigned()
}

#[tokio::test]
async fn requests_in_a_minute() {
    let story = Story::begin().await;
    let (limit, per_second, seconds) = sized((120, 60, 5), (3000, 250, 20));
    early_in_a_minute(seconds + 2).await;
    let seen = story.ask(json!({"requests_per_minute": limit}), Order::default(), (per_second, seconds)).await;
    let audit = story.check(&seen).await;
    tell(limit, "requests in a minute", audit.rows.len() as u64, seen.len());
}

#[tokio::test]
async fn tokens_in_a_minute() {
    let story = Story::begin().await;
    let (limit, per_second, seconds) = sized((40_000, 80, 5), (400_000, 250, 20));
    early_in_a_minute(seconds + 2).await;
    // More is held for a request than it uses, as its prompt is not counted yet; the rest is there for the next.
    let order = Order { tokens: 100, prompt_tokens: 100, ..Order::default() };
    let seen = story.ask(json!({"tokens_per_minute": limit}), order, (per_second, seconds)).await;
    let audit = story.check(&seen).await;
    let tokens: i64 = audit.rows.iter().map(|row| row.prompt_tokens + row.completion_tokens).sum();
    tell(limit, "tokens in a minute", tokens.cast_unsigned(), seen.len());
}

#[tokio::test]
async fn requests_at_the_same_time() {
    let story = Story::begin().await;
    let (limit, per_second, seconds) = sized((6, 60, 4), (40, 250, 20));
    let order = Order { tokens: 10, every_us: 30_000, ..Order::default() };
    let seen = story.ask(json!({"concurrent_requests": limit}), order, (per_second, seconds)).await;
    story.check(&seen).await;
    tell(limit, "requests at the same time", most_at_once(&story.mock.facts()), seen.len());
}

#[tokio::test]
async fn credits_in_a_day() {
    const HUNDRED_REQUESTS: u64 = 100 * (10 * 100 + 90 * 400);
    let story = Story::begin().await;
    let (limit, per_second, seconds) = sized((HUNDRED_REQUESTS, 60, 5), (30 * HUNDRED_REQUESTS, 250, 20));
    let order = Order { tokens: 90, prompt_tokens: 10, ..Order::default() };
    let credits = openapi::units::Nanocredits::new(limit).credits();
    let seen = story.ask(json!({"credits_per_day": credits}), order, (per_second, seconds)).await;
    let audit = story.check(&seen).await;
    let spent: i64 = audit.rows.iter().map(|row| row.nanocredits).sum();
    tell(limit, "nanocredits in a day", spent.cast_unsigned(), seen.len());
}
