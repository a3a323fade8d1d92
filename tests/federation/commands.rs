//! What only other programs can do: iproute2's and nftables', run to their end.

use std::process::{Command, Stdio};

/// Runs a command in a network namespace and returns what it printed.
///
/// # Errors
/// When it fails, with what it said.
pub(crate) fn inside(namespace: &str, command: &[&str]) -> Result<String, String> {
    run("ip", &[&["netns", "exec", namespace], command].concat())
}

/// Runs `ip` with these words.
///
/// # Errors
/// When it fails, with what it said.
pub(crate) fn ip(arguments: &str) -> Result<String, String> {
    run("ip", &words(arguments))
}

/// Runs `tc` with these words.
///
/// # Errors
/// When it fails, with what it said.
pub(crate) fn tc(arguments: &str) -> Result<String, String> {
    run("tc", &words(arguments))
}

/// Ids of all processes in a network namespace; none where there is none.
pub(crate) fn processes_in(namespace: &str) -> Vec<i32> {
    let pids = ip(&format!("netns pids {namespace}")).unwrap_or_default();
    pids.lines().filter_map(|pid| pid.trim().parse().ok()).collect()
}

/// Runs a command and returns what it printed.
///
/// # Errors
/// When it fails, with what it said.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run `{program}`: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program} {}` failed: {}", arguments.join(" "), said.trim()))
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_told_with_its_words() {
        let failed = run("sh", &["-c", "echo no such device >&2; exit 1"]);
        assert_eq!(failed, Err("`sh -c echo no such device >&2; exit 1` failed: no such device".to_owned()));
        assert!(run("no-such-program", &[]).is_err_and(|said| said.starts_with("cannot run `no-such-program`")));
    }
}
