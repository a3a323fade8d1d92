//! What was done, as lines of a file that outlives the process.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Fact;

/// The file. A line is written before the last bytes of its answer leave: who has seen an answer's end finds its line,
/// even if the process was killed right after.
pub(super) struct Facts(Mutex<File>);

impl Facts {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self(Mutex::new(File::options().create(true).append(true).open(path)?)))
    }

    pub(super) fn write(&self, fact: &Fact) {
        let line = serde_json::to_string(fact).expect("numbers and ids") + "\n";
        // One small write into the page cache: shorter than handing it to another thread.
        self.0.lock().unwrap().write_all(line.as_bytes()).expect("room for a line");
    }
}

/// Microseconds since 1970.
pub(super) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

/// Every line that was written completely.
pub(super) fn read(path: &Path) -> Vec<Fact> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| serde_json::from_str(line.strip_suffix('\n')?).ok()).collect()
}
