//! Reports of the node's counters: statements that follow each other without a gap in time.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openapi::energy::report::{EnergyReport, PoolWindow, SettledAttempt};
use openapi::energy::{Grid, StepCosts};
use openapi::units::Microseconds;

use crate::chain::Chain;
use crate::identity::Identity;

/// A report that has no number yet.
pub struct Draft {
    pub length: Duration,
    pub busy: Microseconds,
    pub pools: Vec<PoolWindow>,
    pub costs: StepCosts,
    pub grid: Option<Grid>,
    pub settled: Vec<SettledAttempt>,
}

/// The node's reports.
pub struct ReportLog {
    pub chain: Arc<Chain>,
    /// What is reported already.
    until: Mutex<Microseconds>,
}

impl ReportLog {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// When the folder can't be read or written.
    pub fn open(folder: &Path, identity: Arc<Identity>) -> io::Result<Self> {
        let (chain, newest) = Chain::open(folder, identity, digest)?;
        let read = |statement: String| jsonwebtoken::dangerous::insecure_decode::<EnergyReport>(&statement).ok();
        let until = newest.and_then(read).map(|report| report.claims.to).unwrap_or_default();
        Ok(Self { chain: Arc::new(chain), until: Mutex::new(until) })
    }

    /// Numbers, signs and keeps a report. What the disk refuses is told to nobody, and its energy is missing from the
    /// chain: the gateway sees the gap.
    pub fn append(&self, draft: Draft) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let to = now().max(*until + Microseconds::new(1));
        let from = (to - Microseconds::from(draft.length)).max(*until);
        let kept = self.chain.append(|sequence, previous| EnergyReport {
            sequence,
            previous,
            from,
            to,
            busy_microseconds: draft.busy,
            pools: draft.pools,
            costs: draft.costs,
            grid: draft.grid,
            settled: draft.settled,
        });
        match kept {
            Ok(()) => *until = to,
            Err(error) => tracing::error!(%error, "an energy report can't be kept"),
        }
    }
}

/// As [`EnergyReport::previous`] has it.
fn digest(statement: &str) -> String {
    blake3::hash(statement.as_bytes()).to_hex().to_string()
}

fn now() -> Microseconds {
    Microseconds::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_reported_twice_by_a_node_that_starts_anew() {
        let folder = std::env::temp_dir().join(format!("commonwatt-log-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for _ in 0..2 {
            let log = ReportLog::open(&folder.join("energy"), Arc::new(Identity::open(&folder).unwrap())).unwrap();
            for _ in 0..2 {
                log.append(Draft {
                    length: Duration::from_secs(1),
                    busy: Microseconds::ZERO,
                    pools: Vec::new(),
                    costs: StepCosts::default(),
                    grid: None,
                    settled: Vec::new(),
                });
            }
        }
        let log = ReportLog::open(&folder.join("energy"), Arc::new(Identity::open(&folder).unwrap())).unwrap();
        let read =
            |statement: &str| jsonwebtoken::dangerous::insecure_decode::<EnergyReport>(statement).unwrap().claims;
        let all: Vec<EnergyReport> = log.chain.after(0).unwrap().iter().map(|(_, statement)| read(statement)).collect();
        assert_eq!(all.len(), 4);
        for pair in all.windows(2) {
            assert!(pair[0].from <= pair[0].to && pair[0].to <= pair[1].from);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
