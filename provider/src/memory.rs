//! Whether models fit this machine's memory together.

use std::path::Path;

/// What a loaded model takes beside its weights, for what it computes: as much as a part of them, in percent.
const BESIDE_PERCENT: u64 = 20;
/// What the rest of the machine needs.
const REST: u64 = 512 << 20;

/// The machine's memory, or as much of it as this program may use, in bytes; none where nothing says so.
pub fn available(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let info = read("proc/meminfo")?;
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?;
    let total = total.trim().parse::<u64>().ok()?.checked_mul(1_024)?;
    // As a container sees its own group: version 2, then version 1. Without a limit it is a word, or more than there is.
    let limits = ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().find_map(|path| read(path)?.trim().parse::<u64>().ok());
    Some(limit.map_or(total, |limit| limit.min(total)))
}

/// Says what is wrong when models, each with the bytes of its weights in memory, do not fit into so many together.
///
/// # Errors
/// A sentence that says what to do.
pub fn check(models: &[(&str, u64)], available: u64) -> Result<(), String> {
    let needed = |bytes: u64| bytes.saturating_add(bytes / 100 * BESIDE_PERCENT);
    let all: u64 = models.iter().map(|(_, bytes)| needed(*bytes)).fold(REST, u64::saturating_add);
    if all <= available {
        return Ok(());
    }
    let gibibytes = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let each: Vec<_> =
        models.iter().map(|(name, bytes)| format!("{name} {:.1} GiB", gibibytes(needed(*bytes)))).collect();
    Err(format!(
        "the models do not fit together: they need about {:.1} GiB ({}), and this machine has {:.1} GiB. Serve fewer of them, \
         or smaller ones",
        gibibytes(all),
        each.join(", "),
        gibibytes(available)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn what_does_not_fit_is_named_with_what_it_needs() {
        let models = [("small", GIB), ("large", 10 * GIB)];
        assert_eq!(check(&models, 16 * GIB), Ok(()));
        let sentence = check(&models, 12 * GIB).unwrap_err();
        assert!(sentence.contains("about 13.7 GiB") && sentence.contains("large 12.0 GiB"), "{sentence}");
        assert!(sentence.contains("has 12.0 GiB") && sentence.contains("Serve fewer"), "{sentence}");
    }

    #[test]
    fn a_container_s_limit_counts_where_there_is_one() {
        let root = std::env::temp_dir().join(format!("memory-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(root.join("proc")).unwrap();
        std::fs::create_dir_all(root.join("sys/fs/cgroup")).unwrap();
        assert_eq!(available(&root), None);
        std::fs::write(root.join("proc/meminfo"), "MemTotal:       16777216 kB\nMemFree: 1 kB\n").unwrap();
        assert_eq!(available(&root), Some(16 * GIB));
        for (limit, found) in [("max\n", 16), ("4294967296\n", 4), ("9223372036854771712\n", 16)] {
            std::fs::write(root.join("sys/fs/cgroup/memory.max"), limit).unwrap();
            assert_eq!(available(&root), Some(found * GIB), "{limit}");
        }
        std::fs::remove_dir_all(root).unwrap();
    }
}
