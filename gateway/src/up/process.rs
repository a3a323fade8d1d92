//! What can be learned about a process that isn't our child.

use std::fs;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Does it run? One that has ended counts as gone even if nobody asks for its exit status, as in many containers.
pub(super) fn alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let zombie = stat.rsplit(") ").next().is_some_and(|state| state.starts_with('Z'));
    !zombie && number_taken(pid)
}

/// Does any process have this number, even one that has ended?
pub(super) fn number_taken(pid: Pid) -> bool {
    test_kill_process(pid) != Err(Errno::SRCH)
}

/// Its program and arguments, where this machine tells.
pub(super) fn command_line(pid: Pid) -> Option<String> {
    let pid = pid.as_raw_nonzero();
    if let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) {
        return Some(String::from_utf8_lossy(&line).replace('\0', " "));
    }
    let ps = Command::new("ps").args(["-ww", "-o", "args=", "-p", &pid.to_string()]).output().ok()?;
    ps.status.success().then(|| String::from_utf8_lossy(&ps.stdout).into_owned())
}
