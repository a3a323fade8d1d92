//! How a text differs from the one that was expected.

use std::fmt::{self, Display, Formatter};

/// Counted in bytes; a break can lose a piece, repeat one, or go on with something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    None,
    /// It is the expected one up to here.
    CutAt(usize),
    /// So many are missing from here on, and then it goes on as expected.
    Missing {
        at: usize,
        bytes: usize,
    },
    /// So many too many from here on, and then it goes on as expected.
    Repeated {
        at: usize,
        bytes: usize,
    },
    /// From here on it is another text.
    Other {
        at: usize,
    },
}

impl Difference {
    /// Of what was heard from what was expected.
    pub(crate) fn between(expected: &str, heard: &str) -> Self {
        let (expected, heard) = (expected.as_bytes(), heard.as_bytes());
        let at = alike(expected.iter().zip(heard));
        let shorter = expected.len().min(heard.len());
        let from_end = alike(expected.iter().rev().zip(heard.iter().rev())).min(shorter - at);
        if expected == heard {
            Self::None
        } else if at == heard.len() {
            Self::CutAt(at)
        } else if at + from_end == heard.len() {
            Self::Missing { at, bytes: expected.len() - heard.len() }
        } else if at + from_end == expected.len() {
            Self::Repeated { at, bytes: heard.len() - expected.len() }
        } else {
            Self::Other { at }
        }
    }
}

fn alike<'bytes>(pairs: impl Iterator<Item = (&'bytes u8, &'bytes u8)>) -> usize {
    pairs.take_while(|(one, other)| one == other).count()
}

impl Display for Difference {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(formatter, "the same"),
            Self::CutAt(at) => write!(formatter, "CUT at byte {at}"),
            Self::Missing { at, bytes } => write!(formatter, "MISSES {bytes} bytes at byte {at}"),
            Self::Repeated { at, bytes } => write!(formatter, "REPEATS {bytes} bytes at byte {at}"),
            Self::Other { at } => write!(formatter, "DIFFERS from byte {at} on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_way_to_differ_is_told_apart() {
        let expected = "One two three.";
        let cases = [
            (expected, Difference::None),
            ("One two", Difference::CutAt(7)),
            ("", Difference::CutAt(0)),
            ("One three.", Difference::Missing { at: 5, bytes: 4 }),
            ("One two two three.", Difference::Repeated { at: 9, bytes: 4 }),
            ("One two three. Four.", Difference::Repeated { at: 14, bytes: 6 }),
            ("One two seven.", Difference::Other { at: 8 }),
        ];
        for (heard, difference) in cases {
            assert_eq!(Difference::between(expected, heard), difference, "{heard}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_lost_or_repeated_is_counted(before in "[a-c]{0,8}", piece in "[a-c]{1,8}", after in "[a-c]{1,8}") {
            let (whole, without) = (format!("{before}{piece}{after}"), format!("{before}{after}"));
            let missing = Difference::between(&whole, &without);
            let bytes = piece.len();
            prop_assert!(
                matches!(missing, Difference::Missing { bytes: some, .. } if some == bytes)
                    || matches!(missing, Difference::CutAt(at) if at == without.len()),
                "{missing:?}"
            );
            let repeated = Difference::between(&without, &whole);
            prop_assert!(matches!(repeated, Difference::Repeated { bytes: some, .. } if some == bytes), "{repeated:?}");
        }

        #[test]
        fn only_equal_texts_do_not_differ(one in ".{0,12}", other in ".{0,12}") {
            prop_assert_eq!(Difference::between(&one, &other) == Difference::None, one == other);
        }
    }
}
