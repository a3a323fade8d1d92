//! Postgres is killed, or says nothing for a while: whoever has a known key and leased credit does not notice, and all rows
//! arrive afterwards, once.

use std::time::Duration;

use tests::{Gateway, Postgres};
use tokio::time::sleep;

use crate::stage::{Stage, say, sized, some_instant};

#[tokio::test]
async fn a_killed_database_fails_nobody_and_gets_all_rows() {
    let kills = sized(2, 50);
    let mut postgres = Postgres::start().await;
    let mut stage = Stage::on(Gateway::start_on(postgres.database().await).await).await;
    stage.warm_up().await;
    let load = stage.load(8);
    for _ in 0..kills {
        some_instant().await;
        postgres.kill().await;
        some_instant().await;
        postgres.restart().await;
    }
    some_instant().await;
    stage.keep(load).await;
    let (asked, audit) = stage.close_with_all_answered().await;
    say(format!("database killed {kills} times: {asked} requests, 0 failed, books balanced; {audit}"));
}

#[tokio::test]
async fn a_frozen_database_fails_nobody_and_gets_all_rows() {
    let freezes = sized(1, 20);
    let postgres = Postgres::start().await;
    let mut stage = Stage::on(Gateway::start_on(postgres.database().await).await).await;
    stage.warm_up().await;
    let load = stage.load(8);
    for _ in 0..freezes {
        some_instant().await;
        postgres.freeze();
        sleep(Duration::from_secs(4)).await;
        postgres.thaw();
    }
    some_instant().await;
    stage.keep(load).await;
    let (asked, audit) = stage.close_with_all_answered().await;
    say(format!("database frozen {freezes} times for 4 s: {asked} requests, 0 failed, books balanced; {audit}"));
}
