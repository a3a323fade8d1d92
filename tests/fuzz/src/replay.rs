//! Runs a check over its committed corpus, and over random changes to it that are the same every time.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use crate::mutation::mutated;

const SEED: u64 = 7;

/// Checks what lies in `corpus/<name>`, then so many mutations of it. Says which input fails.
pub fn replay(name: &str, mutations: usize, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    let inputs: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    let mut random = fastrand::Rng::with_seed(SEED);
    let mutations = std::iter::repeat_with(|| mutated(&inputs, &mut random)).take(mutations);
    for input in inputs.iter().cloned().chain(mutations) {
        let checked = catch_unwind(AssertUnwindSafe(|| check(&input)));
        checked.unwrap_or_else(|panic| {
            let kept = std::env::temp_dir().join(format!("commonwatt-fuzz-{name}"));
            fs::write(&kept, &input).unwrap();
            // The harness shows what a failed test has written.
            print_kept(name, &kept);
            resume_unwind(panic)
        });
    }
}

#[expect(clippy::print_stderr, reason = "what a failed test says")]
fn print_kept(name: &str, kept: &Path) {
    eprintln!("the target '{name}' fails with the bytes in {}", kept.display());
}
