//! The public transparency log, without any I/O: what the gateway writes, nodes witness, and anybody verifies.
//!
//! The log is the Merkle tree of RFC 6962, served and signed as the C2SP specifications say (<https://c2sp.org>), so
//! that other people's tools can read it. Nothing here reads a clock, a file or the network. Reading order:
//!
//! - [`hash`], [`tree`]: the tree; [`inclusion`], [`consistency`]: what is proven about it
//! - [`entry`]: what is in it; [`tile`], [`bundle`]: how it is served
//! - [`key`], [`note`], [`checkpoint`], [`cosignature`]: what is signed; [`ed25519`]: with what
//! - [`policy`], [`proof`]: whom a verifier believes, and what it checks without a network
//! - [`witness`]: what keeps a log from showing different trees to different people

use data_encoding::BASE64;

pub mod hash;

pub mod tree;

pub mod inclusion;

pub mod consistency;

pub mod entry;

pub mod tile;

pub mod bundle;

pub mod ed25519;

pub mod key;

pub mod note;

pub mod checkpoint;

pub mod cosignature;

pub mod policy;

pub mod proof;

pub mod witness;

/// Bytes in base64, written in the one way: the library also reads several texts with padding, one behind the other.
fn base64(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    (BASE64.encode(&bytes) == text).then_some(bytes)
}

/// A number as logs write it: decimal, nothing before its first digit that could be left out, none larger than a tree.
fn decimal(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|number| is_plain && *number <= tree::MAX_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_one_way() {
        assert_eq!(["", "AA==", "AAA="].map(base64), [Some(vec![]), Some(vec![0]), Some(vec![0, 0])]);
        for bad in ["AA", "AA=", "AB==", "AA==AA==", "AA==AAAA", "AAAA=", "AA==\n", " AA==", "_A=="] {
            assert_eq!(base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_number_is_written_in_one_way() {
        assert_eq!(["0", "7", "9223372036854775807"].map(decimal), [Some(0), Some(7), Some(tree::MAX_SIZE)]);
        for bad in ["", "00", "01", "+1", "-1", " 1", "1 ", "1_0", "0x1", "9223372036854775808", "18446744073709551616"]
        {
            assert_eq!(decimal(bad), None, "{bad}");
        }
    }
}
