//! The energy counter of AMD's graphics cards: the table `gpu_metrics`, whose layouts are the structs `gpu_metrics_v*`
//! of the Linux kernel's `drivers/gpu/drm/amd/include/kgd_pp_interface.h`.
//!
//! Only format 1, of cards, has a counter; formats 2 and 3 are of processors with graphics. Where the table has none,
//! or the firmware does not fill it in, the card's power gauge is left to [`super::hwmon`].

use std::path::PathBuf;
use std::time::{Duration, Instant};

use openapi::energy::{Boundary, Tier};

use super::hwmon::{self, Chip};
use super::root::Root;
use super::{Description, Discovered, Kind, Pool, Reading, Sensor, SensorError, Value};

const BACK_END: &str = "amdgpu-metrics";
const CARDS: &str = "/sys/class/drm";
const RESOLUTION: Duration = Duration::from_millis(100);
/// The driver reads the firmware's table whenever it is asked, but not more often than it is renewed.
const OLDEST: Duration = Duration::from_secs(1);
/// The counter's unit is 2⁻¹⁶ J, 15.259 µJ.
const UNIT: (u128, u128) = (15_625, 1_024);
/// Cards count with 32 bits up to content revision 3 (the kernel widens them), those after it with 64.
const RANGE_OF_32_BITS: u64 = 65_536_000_000;
/// The size from which a table of revision 1.6 has partitions, and the fields before the counter are fewer.
const SIZE_WITH_PARTITIONS: usize = 1_664;

/// What is read from the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Metrics {
    microjoules: u64,
    wraps_after: Option<u64>,
    /// When the driver has read the figures, in nanoseconds since some moment; zero if it does not say.
    nanoseconds: u64,
}

/// One card.
struct Card {
    description: Description,
    root: Root,
    file: PathBuf,
    /// A moment in the driver's time and in ours.
    anchor: Option<(u64, Instant)>,
}

/// Looks for cards.
pub(super) fn discover(root: &Root) -> Discovered {
    let mut discovered = Discovered::default();
    let number = |name: &String| name.strip_prefix("card")?.parse::<u32>().ok();
    for card in root.names(CARDS).iter().filter_map(number) {
        if root.exists(file(card)) && !is_processor(root, card) {
            discovered.admit(
                Box::new(Card::new(root, card)),
                |_| "nothing needs to be done: its power gauge is read instead",
            );
        }
    }
    discovered.or_absent(BACK_END, root.path(CARDS).join("card*/device/gpu_metrics").display().to_string())
}

/// True when a card is a part of a processor, which its figures then are of.
pub(super) fn is_processor(root: &Root, card: u32) -> bool {
    root.read(file(card)).is_ok_and(|table| table.get(2).is_some_and(|format| *format > 1))
}

fn file(card: u32) -> PathBuf {
    PathBuf::from(CARDS).join(format!("card{card}/device/gpu_metrics"))
}

impl Card {
    fn new(root: &Root, card: u32) -> Self {
        let chips = PathBuf::from(CARDS).join(format!("card{card}/device/hwmon"));
        let chip = root.names(&chips).first().map(|name| Chip { folder: chips.join(name), name: String::new() });
        let description = Description {
            name: format!("amdgpu:{card}"),
            back_end: BACK_END,
            pool: Pool::Gpu(card),
            kind: Kind::Counter,
            boundary: Boundary::Device,
            tier: Tier::B,
            resolution: RESOLUTION,
            most_milliwatts: chip.and_then(|chip| chip.most_milliwatts(root, &hwmon::GPU_LIMITS)),
        };
        Self { description, root: root.clone(), file: file(card), anchor: None }
    }

    /// The driver's time as ours. It can't be later than now, but the two clocks differ by the time that the machine
    /// slept; and where it is far too early, the driver's stands still.
    fn time(&mut self, nanoseconds: u64) -> Instant {
        let now = self.root.now();
        let anchored = self.anchor.and_then(|(then, at)| {
            let passed = nanoseconds.checked_sub(then)?;
            at.checked_add(Duration::from_nanos(passed)).filter(|at| *at <= now && now - *at <= OLDEST)
        });
        anchored.unwrap_or_else(|| {
            self.anchor = Some((nanoseconds, now));
            now
        })
    }
}

impl Sensor for Card {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        let table = self.root.read(&self.file).map_err(|error| self.root.error(&self.file, &error))?;
        let metrics = parse(&table).map_err(|what| SensorError::Nonsense(format!("gpu_metrics {what}")))?;
        let value = Value::Counter { microjoules: metrics.microjoules, wraps_after: metrics.wraps_after };
        Ok(Reading { at: self.time(metrics.nanoseconds), value, foreign_microjoules: 0 })
    }
}

/// Finds counter and time in a table, or says what is wrong with it.
fn parse(table: &[u8]) -> Result<Metrics, String> {
    let [low, high, format, content, ..] = *table else { return Err("is too short".to_owned()) };
    let size = usize::from(u16::from_le_bytes([low, high]));
    let table = table.get(..size).ok_or_else(|| format!("is shorter than the {size} bytes it speaks of"))?;
    // Where the counter and the driver's time stand.
    let (energy, time, narrow) = match (format, content) {
        (1, 0) => (36, 8, true),
        (1, 1..=3) => (24, 32, true),
        (1, 4 | 7 | 8) => (24, 32, false),
        (1, 6) if size >= SIZE_WITH_PARTITIONS => (16, 24, false),
        (1, 5 | 6) => (88, 96, false),
        _ => return Err(format!("of revision {format}.{content} has no known counter")),
    };
    let missing = || format!("of revision {format}.{content} ends early");
    let count = if content == 0 { u32_at(table, energy).map(u64::from) } else { u64_at(table, energy) };
    let (count, nanoseconds) = count.zip(u64_at(table, time)).ok_or_else(missing)?;
    // Fields that the firmware knows nothing about are all ones, or stay zero.
    if count == 0 || count == u64::MAX || (narrow && count == u64::from(u32::MAX)) {
        return Err("has a counter that is not filled in".to_owned());
    }
    let microjoules = u64::try_from(u128::from(count) * UNIT.0 / UNIT.1).map_err(|_| "counts too far".to_owned())?;
    let wraps_after = (narrow && count < u64::from(u32::MAX)).then_some(RANGE_OF_32_BITS);
    Ok(Metrics { microjoules, wraps_after, nanoseconds })
}

fn u32_at(table: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*table.get(offset..)?.first_chunk()?))
}

fn u64_at(table: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*table.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixture::{BackEnd, Folder};
    use super::super::{Finding, fixture};
    use super::*;

    pub(in super::super) fn back_end() -> BackEnd {
        BackEnd::of_files(BACK_END, discover)
    }

    /// A table of a revision with its counter and time where the kernel's struct has them.
    fn table(size: u16, content: u8, energy: usize, time: usize, count: u64) -> Vec<u8> {
        let mut table = vec![0xaa; usize::from(size)];
        table[..2].copy_from_slice(&size.to_le_bytes());
        table[2..4].copy_from_slice(&[1, content]);
        let bytes = if content == 0 { 4 } else { 8 };
        table[energy..energy + bytes].copy_from_slice(&count.to_le_bytes()[..bytes]);
        table[time..time + 8].copy_from_slice(&7u64.to_le_bytes());
        table
    }

    #[test]
    fn every_revision_has_its_counter_in_its_place() {
        let narrow = [(80, 0, 36, 8), (96, 1, 24, 32), (104, 2, 24, 32), (120, 3, 24, 32)];
        let wide = [(288, 4, 24, 32), (328, 5, 88, 96), (384, 6, 88, 96), (1_664, 6, 16, 24), (2_208, 7, 24, 32)];
        for (size, content, energy, time) in narrow.into_iter().chain(wide).chain([(3_360, 8, 24, 32)]) {
            let metrics = parse(&table(size, content, energy, time, 65_536)).unwrap();
            let wraps_after = (content < 4).then_some(RANGE_OF_32_BITS);
            let expected = Metrics { microjoules: 1_000_000, wraps_after, nanoseconds: 7 };
            assert_eq!(metrics, expected, "revision 1.{content} of {size} bytes");
        }
        let past_32_bits = parse(&table(120, 3, 24, 32, 1 << 33)).unwrap();
        assert_eq!((past_32_bits.microjoules, past_32_bits.wraps_after), (2 * RANGE_OF_32_BITS, None));
    }

    #[test]
    fn what_is_no_counter_is_refused() {
        let good = table(120, 3, 24, 32, 5);
        for end in [0, 3, 30, 119] {
            assert!(parse(&good[..end]).is_err(), "{end} bytes");
        }
        for count in [0, u64::MAX, u64::from(u32::MAX)] {
            assert!(parse(&table(120, 3, 24, 32, count)).is_err(), "{count}");
        }
        let mut short = good.clone();
        short[0] = 39;
        assert!(parse(&short).is_err(), "the time lies beyond the size");
        for (format, content) in [(1, 9), (2, 1), (3, 0), (0, 0)] {
            let mut other = good.clone();
            other[2..4].copy_from_slice(&[format, content]);
            assert!(parse(&other).is_err(), "{format}.{content}");
        }
    }

    #[test]
    fn a_processor_with_graphics_is_left_to_others() {
        let folder = Folder::new();
        folder.write("sys/class/drm/card0/device/gpu_metrics", &[120, 0, 2, 1]);
        folder.write("sys/class/drm/card0-DP-1/status", b"");
        let discovered = discover(&Root::new(folder.path()));
        assert!(matches!(&discovered.findings[..], [Finding::Absent { .. }]));
    }

    #[test]
    fn the_drivers_time_is_ours_and_never_later_than_now() {
        let folder = fixture::Folder::new();
        let (root, begin) = (Root::new(folder.path()), Instant::now());
        let mut card = Card::new(&root, 0);
        let mut time = |now_ms, driver_ms: u64| {
            root.set_now(begin + Duration::from_millis(now_ms));
            (card.time(driver_ms * 1_000_000) - begin).as_millis()
        };
        assert_eq!(time(0, 5_000), 0);
        assert_eq!(time(100, 5_060), 60, "the table is 40 ms old");
        assert_eq!(time(200, 9_000), 200, "the machine has slept");
        assert_eq!(time(300, 9_070), 270);
        assert_eq!(time(400, 10), 400, "a new driver");
        assert_eq!(time(1_400, 10), 400, "not renewed yet");
        assert_eq!(time(1_401, 10), 1_401, "it stands still");
    }
}
