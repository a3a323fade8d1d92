//! Names that people give to what is theirs: keys, nodes, servers.

use std::ops::RangeInclusive;

const CHARACTERS: RangeInclusive<usize> = 1..=100;

/// What a name has to be, for whoever gave another one.
pub(crate) const RULE: &str = "A name has 1 to 100 characters, and no control characters such as line breaks.";

/// The name without blanks around it, if it can be one. It is shown in terminals and logs, so it can't control them.
pub(crate) fn checked(name: &str) -> Option<&str> {
    let name = name.trim();
    (CHARACTERS.contains(&name.chars().count()) && !name.chars().any(char::is_control)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_characters_and_controls_nothing() {
        let longest = "é".repeat(100);
        for good in ["a", " two words ", "名前", &longest] {
            assert_eq!(checked(good), Some(good.trim()), "{good:?}");
        }
        for bad in ["", "  ", "a\0", "two\nlines", "\u{1b}[31mred", &"n".repeat(101)] {
            assert_eq!(checked(bad), None, "{bad:?}");
        }
    }
}
