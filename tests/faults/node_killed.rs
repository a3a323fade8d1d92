//! The nodes die in the middle of answers: clients are told so in OpenAI's shape, nothing is billed for what failed, and
//! the nodes are used again when they are back.

use crate::stage::{Stage, say, sized, some_instant};

#[tokio::test]
async fn killed_nodes_are_clean_errors_and_cost_nothing() {
    let kills = sized(2, 50);
    let mut stage = Stage::new().await;
    let load = stage.load(16);
    for _ in 0..kills {
        some_instant().await;
        stage.mock.kill().await;
        stage.mock.restart().await;
    }
    some_instant().await;
    stage.keep(load).await;
    let (asked, completed) = (stage.seen.len(), stage.completed());
    let errors = stage.failures();
    let silent = stage.seen.iter().find(|seen| !seen.done && seen.code.is_none());
    assert!(silent.is_none(), "an answer ended without a word: {silent:?}");
    let audit = stage.close().await;
    assert!(audit.ended("node_failed") > 0, "no answer was interrupted: {audit}");
    let failed = audit.rows.iter().filter(|row| row.outcome == "node_failed");
    assert!(failed.clone().all(|row| row.nanocredits == 0), "a failed answer was billed");
    say(format!(
        "nodes killed {kills} times: {asked} requests, {completed} completed, the others got {errors:?}, {} failed for nothing, books balanced; {audit}",
        failed.count()
    ));
}
