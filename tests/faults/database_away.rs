//! Postgres is stopped for long: the gateway goes on with what it knows and has leased, and writes it all afterwards.

use std::time::Duration;

use tests::load::{Pace, begin};
use tests::{Gateway, Postgres};
use tokio::time::sleep;

use crate::stage::{Stage, mixed, say, sized, some_instant};

#[tokio::test]
async fn while_the_database_is_away_requests_are_served() {
    let away = Duration::from_secs(sized(5, 600));
    let mut postgres = Postgres::start().await;
    let mut stage = Stage::on(Gateway::start_on(postgres.database().await).await).await;
    stage.warm_up().await;
    let load = begin(stage.clients(), Pace::Open { per_second: 40 }, mixed);
    some_instant().await;
    postgres.stop().await;
    sleep(away).await;
    postgres.restart().await;
    some_instant().await;
    stage.keep(load).await;
    let (asked, audit) = stage.close_with_all_answered().await;
    say(format!("database away for {} s: {asked} requests, 0 failed, books balanced; {audit}", away.as_secs()));
}
