//! Waits for programs that are starting: for as long as they run, since how long a start takes is a matter of the machine and
//! of what else it does. What is waited for is said now and then, so that a person can tell whether it will come.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::child::Child;
use super::say::say;

const POLL: Duration = Duration::from_millis(100);
/// How often it is said what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(15);

/// Asks `ready` until it agrees. An error with the log's end when one of the programs ends.
pub(super) async fn until<const N: usize>(
    mut programs: [&mut Child; N],
    ready: impl AsyncFn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut said = begun;
    loop {
        for program in &mut programs {
            program.check_runs()?;
        }
        let Err(missing) = ready().await else { return Ok(()) };
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            say(format_args!("still waiting after {} s: {missing:#}", begun.elapsed().as_secs()));
            // What begins last is what the others wait for.
            say(programs.last().map(|program| program.last_lines(1)).unwrap_or_default());
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::PathBuf;

    use anyhow::bail;
    use rustix::process::Signal;
    use tokio::process::Command;

    use super::*;

    fn start(test: &str, script: &'static str) -> (Child, PathBuf) {
        let logs = std::env::temp_dir().join(format!("commonwatt-until-{test}-{}", std::process::id()));
        let shell = move || {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            command
        };
        (Child::start("slow", &logs, shell).unwrap(), logs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_runs_is_waited_for_however_long_it_takes() {
        let (mut child, logs) = start("runs", "cat");
        let begun = Instant::now();
        until([&mut child], async || {
            if begun.elapsed() < Duration::from_mins(3) {
                bail!("not yet");
            }
            Ok(())
        })
        .await
        .unwrap();
        child.stop(Signal::KILL, Duration::from_secs(5)).await;
        std::fs::remove_dir_all(logs).unwrap();
    }

    #[tokio::test]
    async fn a_program_that_ends_is_waited_for_no_longer() {
        let (mut child, logs) = start("ends", "echo no memory; exit 3");
        let asked = Cell::new(0);
        let failed = until([&mut child], async || {
            asked.set(asked.get() + 1);
            bail!("not yet")
        });
        let told = failed.await.unwrap_err().to_string();
        assert!(told.contains("exit status: 3") && told.contains("no memory"), "{told}");
        assert!(asked.get() < 100, "it was seen at once");
        std::fs::remove_dir_all(logs).unwrap();
    }
}
