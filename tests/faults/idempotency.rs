//! One request sent fifty times at once under one `Idempotency-Key`, to one gateway and to two: computed once, billed once,
//! and everybody has the same bytes.

use std::collections::HashSet;

use futures_util::future::join_all;
use tests::Gateway;
use tests::load::{Ask, Seen};
use tests::mock::Order;

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
