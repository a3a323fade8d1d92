//! The estimate's counters where nothing measures: processor time, of which a machine's power is an affine function
//! between nothing to do and all threads busy.
//!
//! In a container, or in a control group with a quota, the processor time of the group stands for the machine's (Linux
//! documentation, `admin-guide/cgroup-v2.rst`: `cpu.stat`, `cpu.max`); otherwise `/proc/stat` does (`proc_stat(5)`).
//! What other programs have computed is foreign.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use openapi::energy::{Boundary, Tier};

use super::root::Root;
use super::{Description, Discovered, Kind, Pool, Reading, Sensor, SensorError, Value};
use crate::energy::estimate::Watts;

const GROUPS: &str = "/sys/fs/cgroup";
const STAT: &str = "/proc/stat";
/// A clock tick of `/proc`, in nanoseconds: Linux shows a hundred a second to programs, whatever it counts itself.
const TICK: u128 = 10_000_000;
/// What container runtimes leave behind.
const MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
/// Milliwatts × nanoseconds in a microjoule.
const PICOJOULES: u128 = 1_000_000;

/// Whose processor time is the machine's.
enum Extent {
    /// All of it.
    Machine,
    /// A control group's.
    Group(Group),
}

/// A control group with its quota, in microseconds per period.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    folder: PathBuf,
    quota: Option<(u64, u64)>,
}

/// Processor time as energy.
struct Estimate {
    description: Description,
    root: Root,
    begin: Instant,
    extent: Extent,
    share: Share,
    foreign_microjoules: u64,
}

/// The part of the machine's power that is looked at: threads of all threads, as a fraction.
#[derive(Clone, Copy)]
struct Share {
    watts: Watts,
    threads: u128,
    part: (u128, u128),
}

/// Looks for the processor time that stands for the machine's. `watts` is what the whole machine draws, with all the
/// threads that `/proc/stat` shows.
pub(super) fn discover(root: &Root, watts: Watts) -> Discovered {
    let mut discovered = Discovered::default();
    let looked_at = format!("{} and above", root.path(GROUPS).join("*/cpu.max").display());
    match group(root) {
        Some(group) => discovered.admit(Box::new(Estimate::new(root, watts, Extent::Group(group))), remedy),
        None => discovered = discovered.or_absent("cgroup-cpu", looked_at),
    }
    if discovered.sensors.is_empty() {
        discovered.admit(Box::new(Estimate::new(root, watts, Extent::Machine)), remedy);
    }
    discovered
}

fn remedy(_: &SensorError) -> &'static str {
    "give the node's process /proc and, in a container, /sys/fs/cgroup to read"
}

/// The group that confines this program: the nearest with a quota, or a container's outermost. The root of all groups
/// has no `cpu.max`: where the outermost that can be seen has one, this is the inside of a container.
fn group(root: &Root) -> Option<Group> {
    let text = root.text("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // Seen from inside a container, the path may lead out of what is mounted there.
    let own = if own.contains("..") || !root.exists(Path::new(GROUPS).join(own)) { "" } else { own };
    let mut groups = Path::new(own).ancestors().filter_map(|path| limited(root, &Path::new(GROUPS).join(path)));
    let outermost = limited(root, Path::new(GROUPS));
    let contained = outermost.is_some() || MARKS.iter().any(|mark| root.exists(mark));
    match groups.find(|group| group.quota.is_some()) {
        Some(group) => Some(group),
        None if contained => outermost.or_else(|| limited(root, &Path::new(GROUPS).join(own))),
        None => None,
    }
}

/// A group that could have a quota.
fn limited(root: &Root, folder: &Path) -> Option<Group> {
    let text = root.text(folder.join("cpu.max")).ok()?;
    let (quota, period) = text.split_once(' ')?;
    let quota = quota.parse().ok().zip(period.parse().ok()).filter(|(quota, period)| *quota > 0 && *period > 0);
    Some(Group { folder: folder.to_owned(), quota })
}

impl Estimate {
    fn new(root: &Root, watts: Watts, extent: Extent) -> Self {
        let threads = root.text(STAT).map_or(1, |text| threads(&text).max(1));
        let whole = (threads, 1);
        // Within a period a group may use its quota at any time, so shorter times tell little.
        let (back_end, part, resolution) = match &extent {
            Extent::Machine => ("proc-cpu", whole, Duration::from_millis(10)),
            Extent::Group(Group { quota: None, .. }) => ("cgroup-cpu", whole, Duration::from_millis(10)),
            Extent::Group(Group { quota: Some((quota, period)), .. }) => {
                ("cgroup-cpu", (u128::from(*quota), u128::from(*period)), Duration::from_micros(*period))
            }
        };
        let share = Share { watts, threads, part };
        let description = Description {
            name: back_end.to_owned(),
            back_end,
            pool: Pool::Machine,
            kind: Kind::Estimate,
            boundary: Boundary::NodeDc,
            tier: Tier::E,
            resolution,
            most_milliwatts: Some(share.most_milliwatts()),
        };
        Self { description, root: root.clone(), begin: root.now(), extent, share, foreign_microjoules: 0 }
    }

    /// Processor time since some moment, in nanoseconds.
    fn busy(&self) -> Result<u128, SensorError> {
        let (path, found) = match &self.extent {
            Extent::Machine => (PathBuf::from(STAT), busy(&self.root.text(STAT)?)),
            Extent::Group(group) => {
                let path = group.folder.join("cpu.stat");
                let text = self.root.text(&path)?;
                let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok());
                (path, usage.map(|microseconds| u128::from(microseconds) * 1_000))
            }
        };
        found
            .ok_or_else(|| SensorError::Nonsense(format!("{} shows no processor time", self.root.path(path).display())))
    }
}

impl Sensor for Estimate {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        const OWN: &str = "/proc/self/stat";
        let own = own(&self.root.text(OWN)?)
            .ok_or_else(|| SensorError::Nonsense(format!("{OWN} shows no processor time")))?;
        let (busy, at) = (self.busy()?, self.root.now());
        let microjoules = self.share.idle(at - self.begin) + self.share.above_idle(busy);
        // Read at different moments and counted differently: the difference may seem to shrink.
        let foreign = self.share.above_idle(busy.saturating_sub(own));
        self.foreign_microjoules = self.foreign_microjoules.max(whole(foreign));
        let value = Value::Counter { microjoules: whole(microjoules), wraps_after: None };
        Ok(Reading { at, value, foreign_microjoules: self.foreign_microjoules })
    }
}

impl Share {
    /// Milliwatts × nanoseconds of nothing to do.
    fn idle(&self, time: Duration) -> u128 {
        let (threads, divisor) = self.threads_of();
        u128::from(self.watts.idle_milliwatts) * time.as_nanos() * threads / (divisor * self.threads)
    }

    /// Milliwatts × nanoseconds of so much processor time, beyond those of nothing to do.
    fn above_idle(&self, nanoseconds: u128) -> u128 {
        u128::from(self.watts.busy_milliwatts.saturating_sub(self.watts.idle_milliwatts)) * nanoseconds / self.threads
    }

    fn most_milliwatts(&self) -> u64 {
        let (threads, divisor) = self.threads_of();
        let busy = u128::from(self.watts.busy_milliwatts.max(self.watts.idle_milliwatts));
        u64::try_from(busy * threads / (divisor * self.threads)).unwrap_or(u64::MAX)
    }

    /// As many threads as there are at most, as a fraction.
    fn threads_of(&self) -> (u128, u128) {
        let (threads, divisor) = self.part;
        (threads.min(self.threads * divisor), divisor)
    }
}

fn whole(picojoules: u128) -> u64 {
    u64::try_from(picojoules / PICOJOULES).unwrap_or(u64::MAX)
}

/// Processors in the text of `/proc/stat`.
fn threads(stat: &str) -> u128 {
    let numbered =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    stat.lines().filter(numbered).count() as u128
}

/// Nanoseconds that processors were busy, in the text of `/proc/stat`: user, nice, system, and both kinds of
/// interrupts. Guests' time is in user's already, and stolen time was another machine's.
fn busy(stat: &str) -> Option<u128> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _wait, hard, soft, ..] = ticks[..] else { return None };
    Some([user, nice, system, hard, soft].into_iter().map(u128::from).sum::<u128>() * TICK)
}

/// Nanoseconds that this process was running, in the text of `/proc/self/stat`: the 14th and 15th field. The second is
/// a name in parentheses that may hold anything.
fn own(stat: &str) -> Option<u128> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    Some((u128::from(fields.next()??) + u128::from(fields.next()??)) * TICK)
}

#[cfg(test)]
pub(super) mod tests;
