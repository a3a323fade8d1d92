//! What a process takes of the machine, and on which core it does.

use std::fs;
use std::process::Command;

/// Processor time that a process's threads have used, in nanoseconds: the first figure of `schedstat` in proc(5). What
/// threads have used that have ended is gone.
///
/// # Panics
/// When it has ended.
pub fn processor_nanoseconds(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let used = |folder: fs::DirEntry| {
        let line = fs::read_to_string(folder.path().join("schedstat")).ok()?;
        line.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(|thread| used(thread.ok()?)).sum()
}

/// Memory that a process holds, in bytes.
///
/// # Panics
/// When it has ended.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Puts a process, all its threads and what they will start on one core.
///
/// # Panics
/// When the system refuses.
pub fn pin(pid: u32, core: usize) {
    let pinned = Command::new("taskset").args(["-a", "-p", "-c", &core.to_string(), &pid.to_string()]).output();
    let pinned = pinned.expect("taskset, of util-linux");
    assert!(pinned.status.success(), "{}", String::from_utf8_lossy(&pinned.stderr));
}

/// A process and all that it has started, and those have.
pub fn family(pid: u32) -> Vec<u32> {
    let parent = |child: u32| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        // The state and the parent follow the name in brackets (proc(5)).
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let running =
        fs::read_dir("/proc").expect("proc(5)").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = running.filter_map(|child| Some((child, parent(child)?))).collect();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&member) = family.get(next) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(child, _)| *child));
        next += 1;
    }
    family
}
