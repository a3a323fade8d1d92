//! One request sent fifty times at once under one `Idempotency-Key`, to one gateway and to two: computed once, billed once,
//! and everybody has the same bytes. And sent again after its gateway died with the end of it in the journal: computed
//! twice, billed once.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tests::load::{Ask, Clients, Seen};
use tests::mock::{Mock, MockOffer, Order};
use tests::{Gateway, Postgres, books, eventually};

use crate::stage::{Stage, ask_once, say, sized};

const AT_ONCE: usize = 50;

#[tokio::test]
async fn fifty_at_once_are_one_on_one_gateway() {
    once(Stage::new().await).await;
}

#[tokio::test]
async fn fifty_at_once_are_one_on_two_replicas() {
    let first = Gateway::start().await;
    let second = first.replica().await;
    once(Stage::over(vec![first, second]).await).await;
}

async fn once(mut stage: Stage) {
    let (keys, replicas) = (sized(2, 100), stage.gateways.len());
    for number in 0..keys {
        let bodies = fifty(&mut stage, number).await;
        assert_eq!(bodies.len(), 1, "{} different answers", bodies.len());
        assert_eq!(stage.mock.facts().len(), number + 1, "computed once");
    }
    let audit = stage.close().await;
    assert_eq!((audit.rows.len(), audit.ended("completed")), (keys, keys as u64), "{audit}");
    assert!(audit.rows.iter().all(|row| row.attempts == 1 && row.nanocredits > 0), "{:?}", audit.rows);
    say(format!(
        "{AT_ONCE} at once under one Idempotency-Key, {replicas} replicas, {keys} times: 1 attempt, 1 row, 1 bill, {AT_ONCE} equal answers, books balanced; {audit}"
    ));
}

#[tokio::test]
async fn who_takes_over_from_a_gateway_that_died_bills_in_its_name() {
    let postgres = Postgres::start().await;
    let first = Gateway::start_on(postgres.database().await).await;
    let second = first.replica().await;
    let mut gateways = [first, second];
    let mock = Mock::join(&gateways, MockOffer::default()).await;
    let order = Order { tokens: 12, every_us: 50_000, ..Order::default() };
    let ask = Ask { idempotency_key: Some("key".to_owned()), ..Ask::stream(order) };

    let clients = Clients::new(&gateways[..1], &gateways[0].key);
    let (first, ()) = tokio::join!(ask_once(&clients, &ask), async {
        let running = || async { (open(&gateways[0]).await == 1).then_some(()) };
        eventually("a stream", Duration::from_secs(10), running).await;
        postgres.freeze();
    });
    assert!(first.done, "it needs no database to come to its end: {first:?}");
    gateways[0].kill().await;
    postgres.thaw();
    let second = ask_once(&Clients::new(&gateways[1..], &gateways[0].key), &ask).await;
    assert!(second.done, "{second:?}");
    gateways[0].restart().await;
    for gateway in &gateways {
        books::shipped(gateway).await;
    }

    let costs: Vec<i64> = sqlx::query_scalar("select nanocredits from requests where outcome = 'completed' order by 1")
        .fetch_all(&gateways[0].database.pool)
        .await
        .unwrap();
    let settled: i64 = sqlx::query_scalar("select count(*) from events where kind = 'settlement'")
        .fetch_one(&gateways[0].database.pool)
        .await
        .unwrap();
    assert_eq!((mock.facts().len(), costs.len(), costs[0], settled), (2, 2, 0, 1), "{costs:?}");
    assert!(costs[1] > 0);
    gateways[0].audit().await;
    say(
        "a gateway died with the end of a keyed request in its journal, another took over: 2 attempts, 1 bill, books balanced",
    );
}

/// How many requests run on this gateway.
async fn open(gateway: &Gateway) -> u64 {
    let ready = gateway.client.get(gateway.url("/readyz")).send().await.unwrap();
    ready.json::<Value>().await.unwrap()["journal"]["open"].as_u64().unwrap()
}

/// What everybody got.
async fn fifty(stage: &mut Stage, number: usize) -> HashSet<Vec<u8>> {
    let order = Order { tokens: 12, every_us: 20_000, ..Order::default() };
    let kind = if number.is_multiple_of(2) { Ask::stream(order) } else { Ask::whole(order) };
    let ask = Ask { idempotency_key: Some(format!("key-{number}")), ..kind };
    let clients = stage.clients();
    let seen = join_all((0..AT_ONCE).map(|_| ask_once(&clients, &ask))).await;
    assert!(seen.iter().all(|seen| seen.done && seen.tokens == 12), "{seen:?}");
    let computed: HashSet<_> = stage.mock.facts().iter().map(|fact| fact.request).collect();
    // The others read along under ids of their own.
    let is_first = |seen: &&Seen| seen.request.is_some_and(|id| computed.contains(&id));
    stage.seen.extend(seen.iter().filter(is_first).cloned());
    seen.into_iter().map(|seen| seen.body).collect()
}
