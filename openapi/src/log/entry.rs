//! What a leaf of the log says: that there is a document of some kind, by its digest. The document is not in it, so that
//! the log can be public where the document isn't.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::hash::Hash;

const DIGEST: &str = " sha256:";

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Receipt,
    PriceList,
    Manifest,
    /// Who gets how much of an income.
    Split,
    /// What a party has earned in an epoch.
    Statement,
    /// An epoch that is closed.
    Epoch,
    /// What this gateway and another have offset.
    Netting,
    /// What was found out about a node.
    Verdict,
    /// A key that signs receipts.
    Key,
}

/// An entry of the log. Written as the text that is logged, such as `receipt sha256:…` with 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub kind: Kind,
    /// SHA-256 of the document.
    pub hash: [u8; 32],
}

/// A text that is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry is a kind such as receipt, a space, sha256: and 64 lower-case hexadecimal digits")]
pub struct NoEntry;

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Receipt,
        Self::PriceList,
        Self::Manifest,
        Self::Split,
        Self::Statement,
        Self::Epoch,
        Self::Netting,
        Self::Verdict,
        Self::Key,
    ];

    /// As entries have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::PriceList => "price-list",
            Self::Manifest => "manifest",
            Self::Split => "split",
            Self::Statement => "statement",
            Self::Epoch => "epoch",
            Self::Netting => "netting",
            Self::Verdict => "verdict",
            Self::Key => "key",
        }
    }
}

impl Entry {
    /// The entry for a document.
    pub fn of(kind: Kind, document: &[u8]) -> Self {
        Self { kind, hash: Sha256::digest(document).into() }
    }

    /// What stands for it in the tree.
    pub fn leaf(&self) -> Hash {
        Hash::leaf(self.to_string().as_bytes())
    }
}

impl FromStr for Kind {
    type Err = NoEntry;

    fn from_str(word: &str) -> Result<Self, NoEntry> {
        Self::ALL.into_iter().find(|kind| kind.word() == word).ok_or(NoEntry)
    }
}

impl FromStr for Entry {
    type Err = NoEntry;

    fn from_str(text: &str) -> Result<Self, NoEntry> {
        let (kind, digits) = text.split_once(DIGEST).ok_or(NoEntry)?;
        let hash = HEXLOWER.decode(digits.as_bytes()).map_err(|_| NoEntry)?;
        Ok(Self { kind: kind.parse()?, hash: hash.try_into().map_err(|_| NoEntry)? })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{DIGEST}{}", self.kind.word(), HEXLOWER.encode(&self.hash))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_is_its_text_and_its_leaf_the_hash_of_that() {
        let entry = Entry { kind: Kind::PriceList, hash: [0xab; 32] };
        let text = format!("price-list sha256:{}", "ab".repeat(32));
        assert_eq!((entry.to_string(), text.parse()), (text.clone(), Ok(entry)));
        assert_eq!(entry.leaf(), Hash::leaf(text.as_bytes()));
    }

    #[test]
    fn whatever_else_is_none() {
        let good = format!("receipt sha256:{}", "0f".repeat(32));
        assert!(good.parse::<Entry>().is_ok());
        let cut = &good[..good.len() - 1];
        for bad in [
            "",
            cut,
            &good[..good.len() - 2],
            &format!("{good}00"),
            &format!("{good}\n"),
            &format!(" {good}"),
            &good.replace(' ', "  "),
            &good.replace("receipt", "Receipt"),
            &good.replace("receipt", "receipts"),
            &good.replace("receipt", ""),
            &good.replace("sha256", "sha512"),
            &good.replace("0f", "0F"),
        ] {
            assert_eq!(bad.parse::<Entry>(), Err(NoEntry), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(kind in prop::sample::select(Kind::ALL.to_vec()), hash: [u8; 32]) {
            let entry = Entry { kind, hash };
            prop_assert_eq!(entry.to_string().parse(), Ok(entry));
        }

        #[test]
        fn nothing_is_more_than_an_error(text in "(receipt|key)? ?sha256:[0-9a-f]{0,66}\\PC{0,3}") {
            if let Ok(entry) = text.parse::<Entry>() {
                prop_assert_eq!(entry.to_string(), text);
            }
        }
    }
}
