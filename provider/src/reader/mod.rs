//! The privileged reader: a small program of its own that reads the energy counters which only root may read, so that a
//! node needs no privilege.
//!
//! It serves a Unix socket. A line with a zone's name, such as `intel-rapl:0`, is answered with a line: the zone's
//! `energy_uj`, or `error` and a word. Names are looked up in the list that the reader has made when it started, so
//! that no path comes from a client. Whoever may connect can watch the machine's power, from which work on secrets can
//! be told (PLATYPUS, <https://platypusattack.com>): the socket's group should be the node's alone.

mod client;

mod serve;

#[cfg(test)]
pub(crate) mod tests;

use std::cmp::Reverse;
use std::path::Path;

pub use client::Client;
pub use serve::{Server, bind};

/// Where Linux shows the zones.
pub const POWERCAP: &str = "/sys/class/powercap";

/// No request and no answer is longer, its end included.
const LONGEST_LINE: u64 = 64;

/// The zones below a `powercap` folder: `intel-rapl`, perhaps a driver (`-mmio`), and numbers, as in `intel-rapl:0:1`.
/// Sorted by number, those of the first driver before those of others.
pub fn zones(powercap: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(powercap).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut zones: Vec<(String, Vec<u32>)> = names.filter_map(|name| numbers(&name).map(|all| (name, all))).collect();
    zones.sort_by_cached_key(|(name, numbers)| {
        (Reverse(name.starts_with("intel-rapl:")), numbers.clone(), name.clone())
    });
    zones.into_iter().map(|(name, _)| name).collect()
}

/// The numbers of a zone's name; none if it is no zone's.
fn numbers(name: &str) -> Option<Vec<u32>> {
    let (driver, numbers) = name.strip_prefix("intel-rapl")?.split_once(':')?;
    let plain =
        driver.is_empty() || driver.starts_with('-') && driver[1..].bytes().all(|byte| byte.is_ascii_lowercase());
    if !plain || name.len() as u64 >= LONGEST_LINE {
        return None;
    }
    // Digits only: a number may be parsed with a sign.
    let digits = |number: &&str| number.bytes().all(|byte| byte.is_ascii_digit());
    numbers.split(':').map(|number| Some(number).filter(digits)?.parse().ok()).collect()
}
