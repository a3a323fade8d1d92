//! Postgres answers and takes nothing, as after a failover to a standby: for the gateway that is the same as being away.

use std::time::Duration;

use sqlx::Executor;
use tests::{Database, Gateway, Postgres};
use tokio::time::sleep;

use crate::stage::{Stage, say, sized, some_instant};

#[tokio::test]
async fn a_read_only_database_fails_nobody_and_gets_all_rows() {
    let read_only = Duration::from_secs(sized(4, 60));
    let postgres = Postgres::start().await;
    let mut stage = Stage::on(Gateway::start_on(postgres.database().await).await).await;
    stage.warm_up().await;
    let load = stage.load(8);
    some_instant().await;
    set_read_only(stage.database(), "on").await;
    sleep(read_only).await;
    let refused = sqlx::query("update replicas set version = version").execute(&stage.database().pool).await;
    assert!(refused.is_err(), "it was not read-only");
    set_read_only(stage.database(), "off").await;
    some_instant().await;
    stage.keep(load).await;
    let (asked, audit) = stage.close_with_all_answered().await;
    let seconds = read_only.as_secs();
    say(format!("database read-only for {seconds} s: {asked} requests, 0 failed, books balanced; {audit}"));
}

async fn set_read_only(database: &Database, to: &str) {
    let set = format!("alter system set default_transaction_read_only = {to}");
    database.pool.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
    database.pool.execute("select pg_reload_conf()").await.unwrap();
}
