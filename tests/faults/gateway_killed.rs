//! The gateway is killed at any instant and started again in the same folder: every answer that a client has to its end
//! has its row, what the death interrupted is free, and nothing is missing or there twice.

use crate::stage::{Stage, say, sized, some_instant};

const CLIENTS: u32 = 16;

#[tokio::test]
async fn a_killed_gateway_loses_no_request() {
    let kills = sized(6, 200);
    let mut stage = Stage::new().await;
    let load = stage.load(CLIENTS);
    for _ in 0..kills {
        some_instant().await;
        stage.gateway().kill().await;
        stage.gateway().restart().await;
    }
    some_instant().await;
    stage.keep(load).await;
    let (asked, completed) = (stage.seen.len(), stage.completed());
    // Of the requests that run in the instant of a kill hardly ever one is just being settled.
    let audit = stage.close_after(kills).await;
    assert!(completed as u64 > kills, "{completed} completed");
    assert!(audit.ended("gateway_failed") > 0, "no request was interrupted: {audit}");
    say(format!(
        "gateway killed {kills} times: {asked} requests, {completed} completed, {} interrupted, {} settled in the instant of a kill, 0 lost, books balanced; {audit}",
        audit.ended("gateway_failed"),
        audit.undelivered
    ));
}
