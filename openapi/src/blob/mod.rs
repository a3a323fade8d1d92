//! Model files on their way between nodes, verified piece by piece.
//!
//! A file is addressed by its BLAKE3 hash and its length. Its [`Outline`] lists the chaining values of its groups of one
//! MiB, which are subtrees of BLAKE3's own tree (BLAKE3 paper, section 2.1): together they give the hash, so an outline
//! proves itself, and with it each group is judged when it arrives, whoever sent it.

mod outline;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use blake3::Hash;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::ApiError;
pub use outline::{NotItsOutline, Outline, WrongGroup};

/// `GET` with one `Range` of at most [`LONGEST_RANGE`] bytes: a piece of a file. On the gateway, for enrolled nodes; and
/// on a node, through its tunnel.
pub const BLOB_PATH: &str = "/node/v1/blobs/{address}";
/// `GET`: the file's outline, as [`Outline::to_bytes`] writes it. On the gateway and on a node.
pub const OUTLINE_PATH: &str = "/node/v1/blobs/{address}/outline";
/// On the gateway: `POST` a [`BadGroup`].
pub const BAD_GROUP_PATH: &str = "/node/v1/blobs/{address}/bad";
/// The node that a piece or an outline comes from.
pub const SOURCE_HEADER: &str = "x-commonwatt-source";
/// Nodes that a piece shall not come from, separated by commas.
pub const AVOID_HEADER: &str = "x-commonwatt-avoid";

/// The length of every group but the last.
pub const GROUP_BYTES: u64 = 1 << 20;
/// The most bytes that one call gives.
pub const LONGEST_RANGE: u64 = 8 * GROUP_BYTES;

/// What a file is called between nodes. Written as `<BLAKE3 in lower-case hexadecimal>-<bytes>`.
///
/// The length belongs to it: without it a list of larger subtrees would pass for an outline, and make honest groups bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlobAddress {
    pub blake3: Hash,
    pub bytes: u64,
}

/// A text that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a file's address is its BLAKE3 hash in 64 lower-case hexadecimal digits, a hyphen, and its length in bytes")]
pub struct NoAddress;

/// A node reports what it got. The gateway looks for itself before it believes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BadGroup {
    /// The node that gave it.
    pub source: Uuid,
    /// Which group, from 0.
    pub group: u64,
}

impl BlobAddress {
    /// Groups in the file; the empty file has one.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.bytes.div_ceil(GROUP_BYTES).max(1)
    }

    /// The bytes of a group. Empty beyond the end.
    #[must_use]
    pub fn range(&self, group: u64) -> Range<u64> {
        let start = group.saturating_mul(GROUP_BYTES).min(self.bytes);
        start..start.saturating_add(GROUP_BYTES).min(self.bytes)
    }

    /// The length of its outline.
    #[must_use]
    pub fn outline_bytes(&self) -> u64 {
        self.groups().saturating_mul(blake3::OUT_LEN as u64)
    }

    /// [`BLOB_PATH`] of this file.
    #[must_use]
    pub fn path(&self) -> String {
        BLOB_PATH.replace("{address}", &self.to_string())
    }

    /// [`OUTLINE_PATH`] of this file.
    #[must_use]
    pub fn outline_path(&self) -> String {
        OUTLINE_PATH.replace("{address}", &self.to_string())
    }

    /// [`BAD_GROUP_PATH`] of this file.
    #[must_use]
    pub fn bad_group_path(&self) -> String {
        BAD_GROUP_PATH.replace("{address}", &self.to_string())
    }

    /// What a `Range` header asks for: one range with both ends, `bytes=0-1048575`. An end beyond the file's is moved
    /// there. Source: RFC 9110, section 14.
    ///
    /// # Errors
    /// 400 when there is none, or another kind, or a longer one than [`LONGEST_RANGE`]; 416 when it begins beyond the end.
    pub fn requested(&self, range: Option<&str>) -> Result<Range<u64>, ApiError> {
        let asked = range.and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?))
        });
        let asked = asked.filter(|(first, last)| first <= last && last - first < LONGEST_RANGE);
        let (first, last) = asked.ok_or_else(|| {
            ApiError::invalid(format!(
                "Ask for one range of at most {LONGEST_RANGE} bytes, such as 'Range: bytes=0-{}'.",
                GROUP_BYTES - 1
            ))
        })?;
        if first >= self.bytes {
            let message = format!("The file has {} bytes; ask for some of those.", self.bytes);
            return Err(ApiError::new(416, "invalid_request_error", Some("range_not_satisfiable"), message));
        }
        Ok(first..last.saturating_add(1).min(self.bytes))
    }
}

impl fmt::Display for BlobAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.blake3.to_hex(), self.bytes)
    }
}

impl FromStr for BlobAddress {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let (hash, bytes) = text.split_once('-').ok_or(NoAddress)?;
        let blake3 = Hash::from_hex(hash).map_err(|_| NoAddress)?;
        let address = Self { blake3, bytes: bytes.parse().map_err(|_| NoAddress)? };
        // Every address has one spelling.
        if address.to_string() == text { Ok(address) } else { Err(NoAddress) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(bytes: u64) -> BlobAddress {
        BlobAddress { blake3: blake3::hash(b"a"), bytes }
    }

    #[test]
    fn an_address_reads_back_and_has_one_spelling() {
        let text = address(5).to_string();
        assert_eq!(text.parse(), Ok(address(5)));
        assert_eq!(address(5).outline_path(), format!("/node/v1/blobs/{text}/outline"));
        for other in [text.to_uppercase(), text.replace("-5", "-05"), text.replace("-5", "-+5"), text.replace("-5", "")]
        {
            assert_eq!(other.parse::<BlobAddress>(), Err(NoAddress), "{other}");
        }
    }

    #[test]
    fn a_range_has_both_ends_and_is_short() {
        let refused = |range: Option<&str>| address(20 * GROUP_BYTES).requested(range).unwrap_err().status;
        let longest = format!("bytes=1-{LONGEST_RANGE}");
        assert_eq!(address(20 * GROUP_BYTES).requested(Some(&longest)), Ok(1..LONGEST_RANGE + 1));
        let longer = format!("bytes=0-{LONGEST_RANGE}");
        for range in
            [&longer, "bytes=0-", "bytes=-5", "bytes=5-4", "bytes=0-1,3-4", "0-1", "bytes=0-18446744073709551615"]
        {
            assert_eq!(refused(Some(range)), 400, "{range}");
        }
        assert_eq!(refused(None), 400);
        assert_eq!(refused(Some("bytes=20971520-20971520")), 416);
        assert_eq!(refused(Some("bytes=18446744073709551615-18446744073709551615")), 416);
        assert_eq!(address(3).requested(Some("bytes=1-9")), Ok(1..3));
    }

    proptest! {
        #[test]
        fn groups_follow_each_other_and_cover_the_file(bytes in 0..100 * GROUP_BYTES) {
            let mut end = 0;
            for group in 0..address(bytes).groups() {
                let range = address(bytes).range(group);
                prop_assert_eq!(range.start, end);
                end = range.end;
            }
            prop_assert_eq!(end, bytes);
            prop_assert!(address(bytes).range(address(bytes).groups()).is_empty());
        }
    }
}
