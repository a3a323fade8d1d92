//! The gateway is asked to stop under load: what it took it finishes, then it writes everything and gives everything back.

use tests::books;

use crate::stage::{Stage, check, say, sized, some_instant};

#[tokio::test]
async fn a_stop_fails_no_accepted_request() {
    let stops = sized(2, 20);
    let (mut asked, mut completed, mut turned_away) = (0, 0, 0);
    let mut stage = Stage::new().await;
    for _ in 0..stops {
        let load = stage.load(16);
        some_instant().await;
        stage.gateway().terminate();
        assert_eq!(stage.gateway().ended().await, Some(0));
        let seen = load.end().await;
        for seen in seen.iter().filter(|seen| !seen.done) {
            // Nobody was there, or it was said before any work was done.
            assert!(seen.refused(), "an accepted request failed: {seen:?}");
            turned_away += 1;
        }
        asked += seen.len();
        stage.seen.extend(seen);
        completed = stage.completed();
        check(stage.database(), &stage.seen, &stage.mock.facts(), 0).await;
        stage.gateway().restart().await;
        books::shipped(&stage.gateways[0]).await;
    }
    let audit = stage.close().await;
    assert_eq!(audit.rows.len(), completed, "{audit}");
    say(format!(
        "stopped {stops} times under load: {asked} requests, {completed} completed, 0 failed, {turned_away} turned away, no lease left, books balanced; {audit}"
    ));
}
