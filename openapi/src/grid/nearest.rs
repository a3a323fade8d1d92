//! What somebody may have meant by a code that is none.

use super::{Zone, zones};

/// Suggestions that are worth reading.
const SHOWN: usize = 3;

/// The zones whose code or name resembles this text most, at most three. None when nothing does.
pub fn nearest(text: &str) -> Vec<&'static Zone> {
    let wanted: Vec<char> = text.trim().to_uppercase().chars().collect();
    let tolerated = wanted.len().div_ceil(3);
    let mut found: Vec<(usize, &'static Zone)> = zones()
        .map(|zone| (strangeness(zone, &wanted), zone))
        .filter(|(strangeness, _)| !wanted.is_empty() && *strangeness <= tolerated)
        .collect();
    found.sort_by_key(|(strangeness, zone)| (*strangeness, zone.code));
    let best = found.first().map(|(strangeness, _)| *strangeness);
    found
        .into_iter()
        .take_while(|(strangeness, _)| Some(*strangeness) == best)
        .map(|(_, zone)| zone)
        .take(SHOWN)
        .collect()
}

/// How many letters are wrong; none when the zone's name begins like this.
fn strangeness(zone: &Zone, wanted: &[char]) -> usize {
    let name: Vec<char> = zone.name.to_uppercase().chars().collect();
    if wanted.len() > 2 && name.starts_with(wanted) {
        return 0;
    }
    let codes = [zone.code, zone.also].into_iter().filter(|code| !code.is_empty());
    let distances = codes.map(|code| edits(&code.chars().collect::<Vec<_>>(), wanted));
    distances.chain([edits(&name, wanted)]).min().unwrap_or(usize::MAX)
}

/// Letters to insert, delete or replace to make one of the other (Levenshtein's distance).
fn edits(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, wanted) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != wanted);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<&'static str> {
        nearest(text).into_iter().map(|zone| zone.code).collect()
    }

    #[test]
    fn a_name_or_a_slip_leads_to_the_code() {
        for (text, code) in
            [("Germany", "DE"), ("ger", "DE"), ("california", "US-CA"), ("SE5", "SE-SE1"), ("Turkiye", "TR")]
        {
            assert!(codes(text).contains(&code), "{text}: {:?}", codes(text));
        }
        assert_eq!(codes("Germany"), ["DE"], "Vermont is further away");
        assert!(codes("D").len() <= SHOWN);
    }

    #[test]
    fn nothing_is_suggested_for_nonsense() {
        for text in ["", "  ", "qqqqqqqqqqqqqqqq", "12345678"] {
            assert_eq!(codes(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn edits_are_counted() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        for (one, other, count) in
            [("", "", 0), ("kitten", "sitting", 3), ("abc", "", 3), ("", "abc", 3), ("ab", "ba", 2)]
        {
            assert_eq!(edits(&letters(one), &letters(other)), count, "{one} {other}");
        }
    }
}
