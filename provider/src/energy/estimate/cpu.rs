//! The rated power of a processor, by the name that it gives itself.
//!
//! The tables stand in `provider/data`, with their licences. Names are compared as words: trade marks, clocks, makers
//! and counts of cores are left out of both sides.

use std::collections::HashMap;
use std::sync::LazyLock;

/// CodeCarbon's table.
const TABLE: &str = include_str!("../../../data/cpu_power.csv");
/// What that lacks.
const SUPPLEMENT: &str = include_str!("../../../data/cpu_power_supplement.csv");
/// A family's typical power is the median of at least so many.
const FEWEST_RELATIVES: usize = 5;

/// Rated watts by normalised name. What a name states twice is the higher one.
static RATED: LazyLock<HashMap<String, u32>> = LazyLock::new(|| {
    let mut rated = HashMap::new();
    for (name, watts) in TABLE.lines().filter_map(entry).chain(SUPPLEMENT.lines().filter_map(supplement)) {
        let known = rated.entry(words(name).join(" ")).or_insert(watts);
        *known = watts.max(*known);
    }
    rated
});

/// The rated watts of a processor, such as `Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz`. The table's name must be
/// all of it or the longest beginning of it that names a model. None when there is none.
pub fn cpu_tdp(name: &str) -> Option<u32> {
    // What follows these is another processor.
    const VARIANTS: [&str; 4] = ["pro", "max", "ultra", "plus"];
    let words = words(name);
    let begins = |count: usize| -> Option<u32> {
        let goes_on = words.get(count).is_some_and(|next| VARIANTS.contains(&next.as_str()));
        let is_model = words[..count].iter().any(|word| word.contains(|letter: char| letter.is_ascii_digit()));
        if goes_on || !is_model { None } else { RATED.get(&words[..count].join(" ")).copied() }
    };
    (1..=words.len()).rev().find_map(begins)
}

/// What processors are typically rated that share the beginning of their name with this one, and that beginning: for
/// those that the table lacks. The lower median, so that it is a rating that exists.
pub fn family_tdp(name: &str) -> Option<(String, u32)> {
    let words = words(name);
    (1..=words.len()).rev().find_map(|count| {
        let family = words[..count].join(" ");
        let relatives = RATED.iter().filter(|(name, _)| name.strip_prefix(&family).is_some_and(begins_a_word));
        let mut watts: Vec<u32> = relatives.map(|(_, watts)| *watts).collect();
        watts.sort_unstable();
        let median = watts.get((watts.len().saturating_sub(1)) / 2).copied();
        median.filter(|_| watts.len() >= FEWEST_RELATIVES).map(|median| (family, median))
    })
}

fn begins_a_word(rest: &str) -> bool {
    rest.starts_with(' ')
}

/// A name, quoted where it has a comma, and its watts, rounded up. Some are no numbers, and some are zero.
fn entry(line: &str) -> Option<(&str, u32)> {
    let (name, watts) = line.rsplit_once(',')?;
    Some((name.trim_matches('"'), whole_watts(watts)?))
}

fn supplement(line: &str) -> Option<(&str, u32)> {
    let (name, rest) = line.split_once(',')?;
    Some((name, whole_watts(rest.split(',').next()?)?))
}

fn whole_watts(text: &str) -> Option<u32> {
    let watts = text.trim().parse::<f64>().ok()?.ceil();
    (watts >= 1.0).then_some(watts as u32)
}

/// The words of a name that tell processors apart.
fn words(name: &str) -> Vec<String> {
    const NOISE: [&str; 8] = ["intel", "amd", "cpu", "processor", "apu", "genuine", "eng", "sample:"];
    // Upper ends: what follows is a clock, a graphics unit or an edition.
    let name = name.to_lowercase().replace("(tm)-", "-").replace(['®', '™', '\u{200b}'], " ");
    let name = ["(r)", "(tm)", "(c)"].iter().fold(name, |name, mark| name.replace(mark, " "));
    let end = [" @", " w/", " with "].iter().filter_map(|mark| name.find(mark)).min().unwrap_or(name.len());
    let mut words: Vec<String> = Vec::new();
    for word in name[..end].split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        let generation = word == "gen" && words.last().is_some_and(|last| is_ordinal(last));
        if generation {
            words.pop();
        } else if !NOISE.contains(&word) && !word.ends_with("-core") {
            words.push(word.to_owned());
        }
    }
    words
}

/// `12th`.
fn is_ordinal(word: &str) -> bool {
    let digits = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    !digits.is_empty() && word.len() - digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_real_machines_are_understood() {
        for (name, watts) in [
            ("Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", 210),
            ("AMD EPYC 7B13", 240),
            ("Intel(R) N150", 6),
            ("AMD Ryzen 7 7840HS w/ Radeon 780M Graphics", 54),
            ("12th Gen Intel(R) Core(TM) i7-1260P", 28),
            ("Intel(R) Core(TM)2 Quad CPU    Q9400  @ 2.66GHz", 95),
            ("AMD Ryzen 9 5950X 16-Core Processor", 105),
            ("AMD EPYC 7763 64-Core Processor", 280),
            ("AMD EPYC 9654 96-Core Processor", 360),
            ("Intel(R) Xeon(R) CPU E5-2673 v4 @ 2.30GHz", 135),
            ("Intel(R) Core(TM) Ultra 7 155H", 28),
            ("Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz", 15),
            ("Intel(R) Xeon(R) Platinum 8480+", 350),
            ("AMD Ryzen AI 9 HX 370 w/ Radeon 890M", 28),
            ("Intel(R) Core(TM) i3-N305", 15),
            ("AMD FX(tm)-8350 Eight-Core Processor", 125),
            ("AMD Opteron(tm) Processor 6276", 115),
            ("Apple M1", 10),
            ("Apple M1 Max", 30),
            ("Apple M2 Max", 50),
            ("Cortex-A76", 12),
        ] {
            assert_eq!(cpu_tdp(name), Some(watts), "{name}");
        }
    }

    #[test]
    fn names_that_name_no_model_have_no_rating() {
        for name in [
            "",
            "AMD EPYC",
            "Intel(R) Xeon(R) Processor @ 2.50GHz",
            "Intel(R) Xeon(R) CPU @ 2.20GHz",
            "Intel Xeon Processor (Skylake, IBRS)",
            "QEMU Virtual CPU version 2.5+",
            "Apple M9 Pro",
        ] {
            assert_eq!(cpu_tdp(name), None, "{name}");
        }
    }

    #[test]
    fn what_the_table_lacks_is_rated_like_its_relatives() {
        let (family, watts) = family_tdp("Intel(R) Xeon(R) Platinum 8488C").unwrap();
        assert_eq!(family, "xeon platinum");
        assert!((150..=270).contains(&watts), "{watts}");
        let (family, watts) = family_tdp("AMD EPYC 9B14").unwrap();
        assert_eq!(family, "epyc");
        assert!((120..=280).contains(&watts), "{watts}");
        assert_eq!(family_tdp("Loongson-3A5000"), None);
        assert_eq!(family_tdp(""), None);
    }

    #[test]
    fn nearly_every_line_of_the_table_is_a_rating() {
        let lines = TABLE.lines().count() - 1;
        let ratings = TABLE.lines().filter_map(entry).count();
        assert!(lines > 4_900 && lines - ratings <= 10, "{ratings} of {lines}");
        assert_eq!(SUPPLEMENT.lines().count() - 1, SUPPLEMENT.lines().filter_map(supplement).count());
        assert!(RATED.values().all(|watts| (1..=1_200).contains(watts)));
    }

    proptest! {
        #[test]
        fn a_rated_name_is_found_however_it_is_decorated(at in 0..4_900_usize, clock in 1.0..5.0_f64) {
            let (name, _) = TABLE.lines().skip(1).filter_map(entry).nth(at).unwrap();
            prop_assume!(!name.to_lowercase().contains(" with ") && cpu_tdp(name).is_some());
            let decorated = format!("{}(R) CPU @ {clock:.2}GHz", name.to_uppercase());
            prop_assert_eq!(cpu_tdp(&decorated), cpu_tdp(name));
        }

        #[test]
        fn any_name_is_survived(name in ".{0,80}") {
            let rating = cpu_tdp(&name);
            prop_assert!(rating.is_none_or(|watts| watts > 0));
            prop_assert!(family_tdp(&name).is_none_or(|(_, watts)| watts > 0));
        }
    }
}
