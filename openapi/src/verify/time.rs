//! Moments, as people write them.

const DAY: u64 = 86_400;
/// Days from the first of March of the year 0 to 1970.
const EPOCH: u64 = 719_468;
/// Days of 400 years, after which the calendar repeats itself.
const ERA: u64 = 146_097;

/// A moment in seconds since 1970. Source: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
pub(super) fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / DAY + EPOCH, seconds % DAY);
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // Years begin in March here, so that a leap day is the last of one.
    let march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_what_calendars_say() {
        for (seconds, moment) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_700_000_000, "2023-11-14 22:13:20 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), moment);
        }
        assert!(utc(u64::MAX).ends_with("UTC"));
    }
}
