//! The hashes of a Merkle tree. Source: RFC 6962, section 2.1, with SHA-256.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use super::base64;

/// SHA-256 of a leaf, of a node, or of a whole tree. Written in base64, as notes and proofs have it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; Hash::BYTES]);

/// A text that is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 32 bytes in base64, with padding")]
pub struct NoHash;

impl Hash {
    pub const BYTES: usize = 32;

    /// The root of the tree without leaves: SHA-256 of nothing.
    pub const EMPTY_TREE: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae,
        0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// Of an entry of the log. Its first byte differs from a node's, so that no node passes for an entry.
    pub fn leaf(entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
    }

    /// Of two neighbours.
    pub fn node(left: &Self, right: &Self) -> Self {
        Self(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }

    /// In lower-case hexadecimal.
    pub fn to_hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// From lower-case hexadecimal.
    ///
    /// # Errors
    /// When it is not 64 such digits.
    pub fn from_hex(text: &str) -> Result<Self, NoHash> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NoHash)?;
        bytes.try_into().map(Self).map_err(|_| NoHash)
    }
}

impl FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let bytes = base64(text).ok_or(NoHash)?;
        bytes.try_into().map(Self).map_err(|_| NoHash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_leaf_is_not_an_empty_tree() {
        // Both from certificate-transparency's merkletree tests.
        assert_eq!(Hash::leaf(b"").to_hex(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(Hash::EMPTY_TREE.0, <[u8; 32]>::from(Sha256::digest(b"")));
    }

    #[test]
    fn whatever_else_is_no_hash() {
        let good = Hash::EMPTY_TREE.to_string();
        assert_eq!(good, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        // The last character but one has two bits that no byte holds.
        let loose = good.replace("uFU=", "uFV=");
        for bad in ["", &good[..43], &good[4..], &format!("{good}\n"), &format!(" {good}"), &loose, &good.repeat(2)] {
            assert_eq!(bad.parse::<Hash>(), Err(NoHash), "{bad:?}");
        }
        for bad in ["", "e3", &Hash::EMPTY_TREE.to_hex().to_uppercase(), &Hash::EMPTY_TREE.to_hex()[1..]] {
            assert_eq!(Hash::from_hex(bad), Err(NoHash), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes: [u8; 32]) {
            let hash = Hash(bytes);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
            prop_assert_eq!(Hash::from_hex(&hash.to_hex()), Ok(hash));
        }

        #[test]
        fn nothing_is_more_than_an_error(text in "\\PC{0,80}") {
            let _ = (text.parse::<Hash>(), Hash::from_hex(&text));
        }
    }
}
