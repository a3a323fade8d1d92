//! Postgres answers late, or the network to it is cut without a word to either end: whoever has a known key and leased
//! credit does not notice, and all rows arrive.

use std::time::Duration;

use tests::{Database, Gateway, Wire};
use tokio::time::sleep;

use crate::stage::{Stage, say, sized, some_instant};

#[tokio::test]
async fn a_slow_database_fails_nobody_and_gets_all_rows() {
    let (slow, late) = (Duration::from_secs(sized(4, 60)), Duration::from_millis(300));
    let (wire, database) = Wire::before(Database::create().await).await;
    let mut stage = Stage::on(Gateway::start_on(database).await).await;
    stage.warm_up().await;
    let load = stage.load(8);
    some_instant().await;
    wire.delay(late);
    sleep(slow).await;
    wire.delay(Duration::ZERO);
    some_instant().await;
    stage.keep(load).await;
    let (asked, audit) = stage.close_with_all_answered().await;
    say(format!(
        "database {late:?} late for {} s: {asked} requests, 0 failed, books balanced; {audit}",
        slow.as_secs()
    ));
}

#[tokio::test]
async fn half_open_connections_fail_nobody_and_lose_no_row() {
    let cuts = sized(1, 5);
    let (wire, database) = Wire::before(Database::create().await).await;
    let mut stage = Stage::on(Gateway::start_on(database).await).await;
    stage.warm_up().await;
    let load = stage.load(8);
    for _ in 0..cuts {
        some_instant().await;
        wire.cut();
        // Longer than the gateway waits for a batch, and Postgres for a transaction that says nothing.
        sleep(Duration::from_secs(sized(1, 30))).await;
    }
    stage.keep(load).await;
    let (asked, audit) = stage.close_with_all_answered().await;
    say(format!(
        "all connections to the database half open {cuts} times: {asked} requests, 0 failed, books balanced; {audit}"
    ));
}
