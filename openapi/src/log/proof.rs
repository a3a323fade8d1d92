//! A file that proves, without a network, that something is in a log and that witnesses have seen it there. Source:
//! C2SP tlog-proof.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;

use super::base64;
use super::checkpoint::{NoCheckpoint, SignedCheckpoint};
use super::decimal;
use super::hash::Hash;
use super::inclusion;
use super::note::LONGEST_NOTE;
use super::policy::{Believed, NotBelieved, Policy};
use super::tree::Disproved;

/// What the name of such a file ends in.
pub const FILE_EXTENSION: &str = ".tlog-proof";
/// The longest file that is read.
pub const LONGEST_FILE: usize = LONGEST_NOTE + (128 << 10);
/// More hashes no tree needs.
const MOST_HASHES: usize = 63;
const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1\n";

/// That a leaf is in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// Whatever the application wants with it; nobody has signed it.
    pub extra: Vec<u8>,
    /// Which leaf, from 0.
    pub index: u64,
    /// As [`inclusion::prove`] has it.
    pub inclusion: Vec<Hash>,
    pub checkpoint: SignedCheckpoint,
}

/// Why this is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProof {
    #[error("a proof has at most {LONGEST_FILE} bytes of UTF-8")]
    Bytes,
    #[error("a proof's first line is c2sp.org/tlog-proof@v1")]
    FirstLine,
    #[error("the extra data of a proof is in base64, and not empty")]
    Extra,
    #[error("a proof has a line `index`, a space, and a decimal number without zeros before it")]
    Index,
    #[error("a proof has hashes in base64, at most {MOST_HASHES}, and an empty line behind them")]
    Hashes,
    #[error(transparent)]
    Checkpoint(#[from] NoCheckpoint),
}

/// Why a proof doesn't hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotHold {
    #[error(transparent)]
    Checkpoint(#[from] NotBelieved),
    #[error("the leaf is not where the proof says: {0}")]
    Leaf(#[from] Disproved),
}

impl LogProof {
    /// A proof out of a file.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(file: &[u8]) -> Result<Self, NoProof> {
        std::str::from_utf8(file).map_err(|_| NoProof::Bytes)?.parse()
    }

    /// Who stands behind this leaf's being in the log.
    ///
    /// # Errors
    /// When the policy doesn't believe the checkpoint, or another leaf is in its tree at this index.
    pub fn verify<'a>(&self, leaf: Hash, policy: &'a Policy) -> Result<Believed<'a>, DoesNotHold> {
        let believed = policy.judge(&self.checkpoint)?;
        inclusion::verify(leaf, self.index, &self.inclusion, self.checkpoint.checkpoint().tree())?;
        Ok(believed)
    }
}

impl FromStr for LogProof {
    type Err = NoProof;

    fn from_str(file: &str) -> Result<Self, NoProof> {
        if file.len() > LONGEST_FILE {
            return Err(NoProof::Bytes);
        }
        let file = file.strip_prefix(FIRST_LINE).ok_or(NoProof::FirstLine)?;
        let (extra, rest) = match file.strip_prefix("extra ") {
            Some(file) => {
                let (extra, rest) = file.split_once('\n').ok_or(NoProof::Extra)?;
                let extra = base64(extra).ok_or(NoProof::Extra)?;
                (if extra.is_empty() { Err(NoProof::Extra) } else { Ok(extra) }?, rest)
            }
            None => (Vec::new(), file),
        };
        let (index, mut rest) = rest.split_once('\n').ok_or(NoProof::Index)?;
        let index = index.strip_prefix("index ").and_then(decimal).ok_or(NoProof::Index)?;
        let mut inclusion = Vec::new();
        loop {
            let (line, behind) = rest.split_once('\n').ok_or(NoProof::Hashes)?;
            rest = behind;
            if line.is_empty() {
                return Ok(Self { extra, index, inclusion, checkpoint: rest.parse()? });
            }
            if inclusion.len() == MOST_HASHES {
                return Err(NoProof::Hashes);
            }
            inclusion.push(line.parse().map_err(|_| NoProof::Hashes)?);
        }
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(FIRST_LINE)?;
        if !self.extra.is_empty() {
            writeln!(formatter, "extra {}", BASE64.encode(&self.extra))?;
        }
        writeln!(formatter, "index {}", self.index)?;
        self.inclusion.iter().try_for_each(|hash| writeln!(formatter, "{hash}"))?;
        write!(formatter, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::checkpoint::Checkpoint;
    use super::super::cosignature;
    use super::super::key::{KeyKind, SigningKey};
    use super::super::tree::testing::Grown;
    use super::*;

    fn log() -> SigningKey {
        SigningKey::new("log.example", KeyKind::Note, &[1; 32]).unwrap()
    }

    fn witness() -> SigningKey {
        SigningKey::new("witness.example", KeyKind::Cosignature, &[2; 32]).unwrap()
    }

    fn policy() -> Policy {
        let text = format!("log {}\nwitness W {}\nquorum W\n", log().verifier(), witness().verifier());
        Policy::read(text.as_bytes()).unwrap()
    }

    fn proof(grown: &Grown, index: u64, extra: &[u8]) -> LogProof {
        let head = *grown.heads.last().unwrap();
        let checkpoint = Checkpoint::new("log.example", head, &[]).unwrap();
        let mut checkpoint = SignedCheckpoint::new(checkpoint, &log()).unwrap();
        checkpoint.add(cosignature::sign(&checkpoint, 1_700_000_000, &witness()).unwrap());
        let inclusion = inclusion::prove(index, head.size, grown.node()).unwrap();
        LogProof { extra: extra.to_vec(), index, inclusion, checkpoint }
    }

    #[test]
    fn no_byte_of_a_proof_may_change_but_the_extra_data_s() {
        let grown = Grown::to(300, 0);
        let (good, leaf) = (proof(&grown, 77, b"").to_string(), grown.leaf(77));
        let holds = |text: &[u8], leaf| LogProof::read(text).is_ok_and(|proof| proof.verify(leaf, &policy()).is_ok());
        assert!(holds(good.as_bytes(), leaf));
        assert!(!holds(good.as_bytes(), grown.leaf(78)));
        let mut others: Vec<Vec<u8>> = (0..good.len()).map(|length| good.as_bytes()[..length].to_vec()).collect();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut other = good.clone().into_bytes();
                other[at] ^= 1 << bit;
                others.push(other);
            }
        }
        assert!(others.iter().all(|other| !holds(other, leaf)));
    }

    #[test]
    fn a_proof_holds_for_whom_the_policy_names() {
        let grown = Grown::to(5, 0);
        let proof = proof(&grown, 4, b"extra");
        let believed_by = |text: &str| proof.verify(grown.leaf(4), &Policy::read(text.as_bytes()).unwrap()).err();
        let log_alone = format!("log {}\nquorum none\n", log().verifier());
        assert_eq!(believed_by(&log_alone), None);
        let unknown = Some(DoesNotHold::Checkpoint(NotBelieved::UnknownLog("log.example".to_owned())));
        assert_eq!(believed_by("quorum none\n"), unknown);
        let stranger = SigningKey::new("witness.example", KeyKind::Cosignature, &[3; 32]).unwrap();
        let of_strangers = format!("log {}\nwitness W {}\nquorum W\n", log().verifier(), stranger.verifier());
        assert_eq!(believed_by(&of_strangers), Some(DoesNotHold::Checkpoint(NotBelieved::NoQuorum(0))));
        let moved = LogProof { index: 3, ..proof.clone() };
        assert!(matches!(moved.verify(grown.leaf(4), &policy()), Err(DoesNotHold::Leaf(_))));
    }

    #[test]
    fn whatever_else_is_none() {
        let good = proof(&Grown::to(3, 0), 2, b"x").to_string();
        let hash = format!("{}\n", Hash::EMPTY_TREE);
        for (bad, why) in [
            (String::new(), NoProof::FirstLine),
            (good.replace("@v1", "@v2"), NoProof::FirstLine),
            (good.replace("extra eA==", "extra "), NoProof::Extra),
            (good.replace("extra eA==", "extra eA"), NoProof::Extra),
            (good.replace("extra eA==", "extra eA==\nextra eA=="), NoProof::Index),
            (good.replace("extra eA==", "Extra eA=="), NoProof::Index),
            (good.replace("index 2", "index 02"), NoProof::Index),
            (good.replace("index 2", "index"), NoProof::Index),
            (good.replace("index 2", "index 9223372036854775808"), NoProof::Index),
            (good.replace("index 2\n", "index 2\n\n"), NoProof::Checkpoint(NoCheckpoint::Size)),
            (good.replace("index 2\n", &format!("index 2\n{}", hash.repeat(MOST_HASHES))), NoProof::Hashes),
            (good.replace("index 2\n", "index 2\nhash\n"), NoProof::Hashes),
            ("c2sp.org/tlog-proof@v1\nindex 2\n".to_owned(), NoProof::Hashes),
            ("x".repeat(LONGEST_FILE + 1), NoProof::Bytes),
        ] {
            assert_eq!(LogProof::read(bad.as_bytes()), Err(why), "{bad:.90}");
        }
        assert_eq!(LogProof::read(b"\xff"), Err(NoProof::Bytes));
        assert!(LogProof::read(good.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(size in 1_u64..200, at: prop::sample::Index, extra in prop::collection::vec(any::<u8>(), 0..40)) {
            let grown = Grown::to(size, 7);
            let index = at.index(usize::try_from(size).unwrap()) as u64;
            let proof = proof(&grown, index, &extra);
            let read: LogProof = proof.to_string().parse().unwrap();
            prop_assert_eq!(&read, &proof);
            prop_assert!(read.verify(grown.leaf(index), &policy()).is_ok());
        }

        #[test]
        fn nothing_is_more_than_an_error(text in "(c2sp.org/tlog-proof@v1\n)?(extra \\PC{0,9}\n)?(index [0-9]{1,20}\n)?\\PC{0,60}\n\n\\PC{0,60}\n") {
            prop_assert!(text.parse::<LogProof>().is_err());
        }
    }
}
