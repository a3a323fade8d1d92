//! What is wrong with the log, for whoever is to be woken, and what its metrics show.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// More than this is as bad.
const MOST: usize = 1000;

/// Which rows are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The newest checkpoint and the right edge of the tree.
    Edge,
    /// The tile of leaves with this index, from its entries to the root.
    Tile(u64),
}

/// What was found, until it is found to be right.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    found: Mutex<BTreeMap<Part, String>>,
    leaves: AtomicU64,
    lag_milliseconds: AtomicU64,
    conflicts: AtomicU64,
}

/// How the log does, as far as this replica knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Of the newest checkpoint.
    pub leaves: u64,
    /// How long the oldest entry has waited that is not in the tree yet.
    pub lag: Duration,
    /// Parts of the log that are not what was signed.
    pub damaged: u64,
    /// Witnesses that have seen another tree.
    pub conflicts: u64,
}

impl Alarm {
    /// Says what is wrong with a part, or that nothing is.
    pub(super) fn about(&self, part: Part, wrong: Option<&str>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wrong) = wrong else {
            if found.remove(&part).is_some() {
                tracing::info!(%part, "the log is as it was signed again");
            }
            return;
        };
        if found.get(&part).map(String::as_str) != Some(wrong) && (found.len() < MOST || found.contains_key(&part)) {
            tracing::error!(%part, "the log is damaged: {wrong}");
            found.insert(part, wrong.to_owned());
        }
    }

    /// Tiles of leaves of which something was wrong, so that they are looked at again.
    pub(super) fn tiles(&self) -> Vec<u64> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.keys().filter_map(|part| if let Part::Tile(index) = part { Some(*index) } else { None }).collect()
    }

    /// What is wrong, in words.
    #[cfg(test)]
    pub(super) fn words(&self) -> Vec<String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn leaves(&self, leaves: u64) {
        self.leaves.store(leaves, Ordering::Relaxed);
    }

    pub(super) fn lag(&self, lag: Duration) {
        self.lag_milliseconds.store(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn conflicts(&self, witnesses: u64) {
        self.conflicts.store(witnesses, Ordering::Relaxed);
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            leaves: self.leaves.load(Ordering::Relaxed),
            lag: Duration::from_millis(self.lag_milliseconds.load(Ordering::Relaxed)),
            damaged: self.found.lock().unwrap_or_else(PoisonError::into_inner).len() as u64,
            conflicts: self.conflicts.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edge => formatter.write_str("right edge"),
            Self::Tile(index) => write!(formatter, "tile of leaves {index}"),
        }
    }
}
