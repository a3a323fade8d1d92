//! A node's energy reports, one a line, as the judge hears them once their signatures are checked.

use gateway::energy::court;
use gateway::energy::honesty::{Judge, Reported};
use openapi::energy::EnergyOffer;
use openapi::energy::report::{EnergyReport, PoolWindow};
use openapi::units::Microseconds;
use uuid::Uuid;

/// Hears of the node's reports, some of them before all of its attempts are settled.
pub fn check(bytes: &[u8]) {
    let machine = court::machine(&EnergyOffer { processors: 8, processor: "any".to_owned(), ..EnergyOffer::default() });
    let mut judge = Judge::default();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let Ok(report) = serde_json::from_slice::<EnergyReport>(line) else { continue };
        let again: EnergyReport = serde_json::from_slice(&serde_json::to_vec(&report).unwrap()).unwrap();
        assert_eq!(again, report);
        let is_counted = (1..=EnergyReport::HIGHEST_SEQUENCE).contains(&report.sequence);
        let is_sane = report.settled.iter().all(|attempt| attempt.energy.is_sane());
        if !is_counted || !is_sane || !report.pools.iter().all(PoolWindow::adds_up) {
            continue;
        }
        let (node, at) = (Uuid::from_u128((number % 2) as u128), Microseconds::new(1_800_000_000_000_000));
        let oldest_running = (number % 3 == 2).then_some(at);
        judge.observe_report(&Reported { node, report: &report, digest: "", machine: &machine, oldest_running, at });
        let standing = judge.standing(node);
        assert!(standing.believed || !standing.reasons.is_empty(), "nobody is disbelieved without a reason");
    }
}
