//! The log's entries as they are served: each after its length, in two bytes. Source: C2SP tlog-tiles, "Log entries".

/// The longest entry that a bundle can hold.
pub const LONGEST_ENTRY: usize = u16::MAX as usize;

/// An entry that no bundle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry has {0} bytes; a log holds at most {LONGEST_ENTRY}")]
pub struct EntryTooLong(pub usize);

/// Why bytes are no bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBundle {
    #[error("the bundle ends within entry {0}")]
    Cut(usize),
    #[error("the bundle goes on after its {0} entries")]
    Longer(usize),
}

/// Writes entries one behind the other.
///
/// # Errors
/// When one is too long.
pub fn encode<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, EntryTooLong> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| EntryTooLong(entry.len()))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// Reads a bundle of exactly so many entries.
///
/// # Errors
/// When it has fewer or more.
pub fn decode(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, NoBundle> {
    let (entries, rest) = decode_first(bytes, width)?;
    if rest.is_empty() { Ok(entries) } else { Err(NoBundle::Longer(entries.len())) }
}

/// Reads so many entries from the start of a bundle: what a partial bundle would have had, from the full one that has
/// replaced it. Also gives what comes behind them.
///
/// # Errors
/// When it has fewer.
pub fn decode_first(bytes: &[u8], width: u16) -> Result<(Vec<&[u8]>, &[u8]), NoBundle> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    for index in 0..usize::from(width) {
        let (length, behind) = rest.split_first_chunk().ok_or(NoBundle::Cut(index))?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, behind) = behind.split_at_checked(length).ok_or(NoBundle::Cut(index))?;
        entries.push(entry);
        rest = behind;
    }
    Ok((entries, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_come_first() {
        assert_eq!(encode([b"ab".as_slice(), b"", b"c"]).unwrap(), b"\0\x02ab\0\0\0\x01c");
        assert_eq!(encode([vec![0; 65_536].as_slice()]), Err(EntryTooLong(65_536)));
        let longest = vec![7; LONGEST_ENTRY];
        assert_eq!(decode(&encode([longest.as_slice()]).unwrap(), 1).unwrap(), [longest.as_slice()]);
    }

    #[test]
    fn a_bundle_has_as_many_entries_as_it_should() {
        let bytes = b"\0\x02ab\0\0\0\x01c";
        assert_eq!(decode(bytes, 3).unwrap(), [b"ab".as_slice(), b"", b"c"]);
        assert_eq!(decode(bytes, 4), Err(NoBundle::Cut(3)));
        assert_eq!(decode(bytes, 2), Err(NoBundle::Longer(2)));
        assert_eq!(decode_first(bytes, 1).unwrap().0, [b"ab"]);
        assert_eq!(decode(&bytes[..3], 1), Err(NoBundle::Cut(0)));
        assert_eq!(decode(b"\0", 1), Err(NoBundle::Cut(0)));
        assert_eq!(decode(b"", 0).unwrap(), Vec::<&[u8]>::new());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..=256)) {
            let bytes = encode(entries.iter().map(Vec::as_slice)).unwrap();
            prop_assert_eq!(decode(&bytes, u16::try_from(entries.len()).unwrap()).unwrap(), entries);
        }

        #[test]
        fn nothing_is_more_than_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600), width: u16) {
            if let Ok(entries) = decode(&bytes, width) {
                prop_assert_eq!(encode(entries).unwrap(), bytes);
            }
        }
    }
}
