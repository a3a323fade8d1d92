//! Progress lines on stderr: every slow step says when it begins and how long it took.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

/// Writes one line to stderr.
pub(super) fn say(line: impl Display) {
    let mut out = stderr().lock();
    // A download's progress bar may stand on the line.
    let clear = if out.is_terminal() { "\r\x1b[K" } else { "" };
    // Without a stderr there is nobody left to tell.
    let _ = writeln!(out, "{clear}{line}");
}

/// Does `work` between two lines: one when it begins, one with its duration when it succeeded.
pub(super) async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    say(format_args!("{what} ..."));
    let begun = Instant::now();
    let done = work.await?;
    say(format_args!("{what}: done in {:.1} s", begun.elapsed().as_secs_f32()));
    Ok(done)
}
