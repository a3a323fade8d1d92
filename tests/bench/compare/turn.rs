//! What was measured: turns, and on what.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// All turns, perhaps of several runs.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Comparison {
    #[serde(default)]
    pub(super) machine: Option<Machine>,
    pub(super) versions: Vec<String>,
    pub(super) turns: Vec<Turn>,
    /// What was not measured.
    #[serde(default)]
    pub(super) skipped: Vec<Skipped>,
}

/// On what it was measured.
#[derive(Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) system: String,
    pub(super) database: String,
    pub(super) date: String,
}

/// What one did in one turn. Times are in nanoseconds, memory is in bytes.
#[derive(Serialize, Deserialize)]
pub(super) struct Turn {
    pub(super) profile: String,
    pub(super) arm: String,
    pub(super) round: u32,
    pub(super) requests: usize,
    pub(super) tokens: u64,
    pub(super) elapsed: i64,
    /// Processor time of the program that is compared, and of the database.
    pub(super) processor: Option<i64>,
    pub(super) database: i64,
    pub(super) resident: Option<i64>,
    /// Answers that were an error.
    #[serde(default)]
    pub(super) failed: usize,
    /// Answers that a server had made late. They are in none of the times below.
    #[serde(default)]
    pub(super) late: usize,
    pub(super) first_byte: Spread,
    pub(super) total: Spread,
    /// Between two pieces of a stream.
    pub(super) gap: Spread,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) median: i64,
    pub(super) p99: i64,
}

/// A kind of requests that somebody was not measured at.
#[derive(Serialize, Deserialize)]
pub(super) struct Skipped {
    pub(super) profile: String,
    pub(super) arm: String,
    pub(super) reason: String,
}

impl Machine {
    /// This one, today.
    pub(super) fn here(database: String) -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let processor = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let today = time::OffsetDateTime::now_utc().date();
        Self {
            processor: processor.map_or("a processor without a name", |(_, name)| name).to_owned(),
            cores: processors.lines().filter(|line| line.starts_with("processor")).count(),
            // What follows the version is whoever compiled it.
            system: format!(
                "Linux {}",
                read("/proc/sys/kernel/osrelease").trim().split('-').next().unwrap_or_default()
            ),
            database,
            date: format!("{} {} {}", today.day(), today.month(), today.year()),
        }
    }
}

impl Comparison {
    /// What was measured before, read from files of `--json`. The rounds of a file follow those of the one before.
    ///
    /// # Errors
    /// When a file is none of those.
    pub(super) fn read(files: &[impl AsRef<Path>]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct File {
            comparison: Option<Comparison>,
        }
        let mut all = Self::default();
        for path in files.iter().map(AsRef::as_ref) {
            let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let file: File = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            let more = file.comparison.ok_or_else(|| format!("{}: no comparison", path.display()))?;
            all.add(more);
        }
        Ok(all)
    }

    fn add(&mut self, more: Self) {
        let before = self.turns.iter().map(|turn| turn.round + 1).max().unwrap_or(0);
        self.turns.extend(more.turns.into_iter().map(|turn| Turn { round: turn.round + before, ..turn }));
        self.machine = self.machine.take().or(more.machine);
        for version in more.versions {
            if !self.versions.contains(&version) {
                self.versions.push(version);
            }
        }
        self.skipped.extend(more.skipped);
        // One run may have what the other left out.
        let is_measured =
            |one: &Skipped| self.turns.iter().any(|turn| (&turn.profile, &turn.arm) == (&one.profile, &one.arm));
        self.skipped.retain(|one| !is_measured(one));
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{comparison, turn};
    use super::*;

    #[test]
    fn rounds_of_several_files_do_not_meet() {
        let mut all = Comparison::default();
        let skipped = |arm: &str| Skipped { profile: "json".to_owned(), arm: arm.to_owned(), reason: String::new() };
        let one = comparison(vec![turn("json", "nginx", 0, 1), turn("json", "nginx", 1, 1)]);
        all.add(Comparison { skipped: vec![skipped("bare"), skipped("portkey")], ..one });
        all.add(comparison(vec![turn("json", "nginx", 0, 1), turn("json", "bare", 0, 1)]));
        assert_eq!(all.turns.iter().map(|turn| turn.round).collect::<Vec<_>>(), [0, 1, 2, 2]);
        assert_eq!(
            all.skipped.iter().map(|one| &*one.arm).collect::<Vec<_>>(),
            ["portkey"],
            "the other was measured later"
        );
    }
}
