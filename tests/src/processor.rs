//! What a process takes of the machine, and on which core it does.

use std::fs;
use std::process::Command;

/// What proc(5) counts times in, as Linux is configured everywhere.
const TICK_NANOSECONDS: u64 = 10_000_000;

/// Processor time that a process's threads have used, in nanoseconds: the first figure of `schedstat` in proc(5), which is
/// gone with its thread. What threads have used that have ended is known to the hundredth of a second. 0 when the process
/// has ended.
pub fn processor_nanoseconds(pid: u32) -> u64 {
    let used = |folder: fs::DirEntry| {
        let line = fs::read_to_string(folder.path().join("schedstat")).ok()?;
        line.split(' ').next()?.parse::<u64>().ok()
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let running: u64 = threads.filter_map(|thread| used(thread.ok()?)).sum();
    running.max(ticks(pid, [UTIME, STIME]))
}

/// What a process's children have used that have ended, in nanoseconds, to the hundredth of a second. 0 when the process
/// has ended.
pub fn ended_children_nanoseconds(pid: u32) -> u64 {
    ticks(pid, [CUTIME, CSTIME])
}

fn ticks(pid: u32, fields: [usize; 2]) -> u64 {
    fields.into_iter().filter_map(|field| stat(pid, field)).sum::<u64>() * TICK_NANOSECONDS
}

/// Memory that a process holds, in bytes. 0 when it has ended.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024)
}

/// Fields of `stat`, as proc(5) names and numbers them.
const PPID: usize = 4;
const UTIME: usize = 14;
const STIME: usize = 15;
const CUTIME: usize = 16;
const CSTIME: usize = 17;

/// A field of a process's `stat`. Only those behind the name, which ends with the last bracket.
fn stat(pid: u32, field: usize) -> Option<u64> {
    const FIRST: usize = 3;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(field - FIRST)?.parse().ok()
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

/// Lets others go before a process and what it will start: where all want to run, it gets a third of what they get.
///
/// # Panics
/// When the system refuses.
pub fn give_way(pid: u32) {
    const NICENESS: i32 = 5;
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::setpriority_process(pid, NICENESS).expect("whoever may measure may wait");
}

/// A process and all that it has started, and those have.
pub fn family(pid: u32) -> Vec<u32> {
    let parent = |child: u32| u32::try_from(stat(child, PPID)?).ok();
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
