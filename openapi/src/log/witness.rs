//! What a witness answers, decided without any I/O. Source: C2SP tlog-witness, "add-checkpoint".
//!
//! Whoever serves it reads the log's latest tree, decides, stores the tree that was accepted, if the latest is still
//! the one that was read, and only then cosigns.

use std::fmt;
use std::str::FromStr;

use super::checkpoint::{NoCheckpoint, SignedCheckpoint};
use super::consistency;
use super::decimal;
use super::hash::Hash;
use super::key::VerifierKey;
use super::note::{LONGEST_NOTE, NoNote, Signature, Unverified, read_signatures};
use super::tree::{Disproved, TreeHead};

/// The most hashes that a log sends.
pub const MOST_HASHES: usize = 63;
/// The longest body that is read.
pub const LONGEST_BODY: usize = LONGEST_NOTE + (8 << 10);
/// The content type of [`Refusal::body`] when sizes differ.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";

/// A log asks a witness to cosign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the log believes the witness has seen last.
    pub old_size: u64,
    /// From that size to the checkpoint's.
    pub proof: Vec<Hash>,
    pub checkpoint: SignedCheckpoint,
}

/// A log that a witness follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowedLog {
    pub origin: String,
    /// Any of these may have signed.
    pub keys: Vec<VerifierKey>,
}

/// Why a body is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRequest {
    #[error("a request has at most {LONGEST_BODY} bytes of UTF-8")]
    Bytes,
    #[error("a request starts with the line `old`, a space, and a size in decimal, without zeros before it")]
    OldSize,
    #[error("a request has hashes in base64, at most {MOST_HASHES}, and an empty line behind them")]
    Hashes,
    #[error(transparent)]
    Checkpoint(#[from] NoCheckpoint),
}

/// Why a witness doesn't cosign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Malformed(#[from] NoRequest),
    #[error("the tree shrinks from {old} leaves to {new}")]
    Shrinks { old: u64, new: u64 },
    #[error("this witness does not follow the log")]
    UnknownLog,
    #[error(transparent)]
    Signature(#[from] Unverified),
    #[error("this witness has last cosigned {0} leaves")]
    Conflict(u64),
    #[error("the tree has not grown out of the one that was cosigned last: {0}")]
    Inconsistent(#[from] Disproved),
}

/// Why a witness's answer gives no cosignature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCosignature {
    #[error(transparent)]
    Malformed(#[from] NoNote),
    #[error("the answer has no valid cosignature by a key that is known")]
    Unknown,
}

impl Refusal {
    /// The HTTP status that says so.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Shrinks { .. } => 400,
            Self::Signature(_) => 403,
            Self::UnknownLog => 404,
            Self::Conflict(_) => 409,
            Self::Inconsistent(_) => 422,
        }
    }

    /// What the answer's body says: the size alone where sizes differ.
    pub fn body(&self) -> String {
        match self {
            Self::Conflict(size) => format!("{size}\n"),
            other => format!("{other}\n"),
        }
    }
}

impl AddCheckpoint {
    /// A request out of a body as it came.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(body: &[u8]) -> Result<Self, NoRequest> {
        std::str::from_utf8(body).map_err(|_| NoRequest::Bytes)?.parse()
    }

    /// Whether to cosign, when this is the log and `latest` the tree that was cosigned last ([`TreeHead::EMPTY`] when
    /// none was). Gives the tree to store in its place.
    ///
    /// # Errors
    /// When it is not to be cosigned. That of [`Refusal::Inconsistent`] was signed by the log all the same: with the
    /// checkpoint that was cosigned last it proves that the log shows two trees.
    pub fn judge(&self, log: Option<&FollowedLog>, latest: TreeHead) -> Result<TreeHead, Refusal> {
        let checkpoint = self.checkpoint.checkpoint();
        let log = log.filter(|log| log.origin == checkpoint.origin()).ok_or(Refusal::UnknownLog)?;
        self.checkpoint.note().verify(&log.keys)?;
        let tree = checkpoint.tree();
        if self.old_size > tree.size {
            return Err(Refusal::Shrinks { old: self.old_size, new: tree.size });
        }
        if self.old_size != latest.size {
            return Err(Refusal::Conflict(latest.size));
        }
        consistency::verify(latest, tree, &self.proof)?;
        Ok(tree)
    }
}

/// What a witness has answered to a log: its cosignatures of the checkpoint, those of unknown keys left out.
///
/// # Errors
/// When there is none.
pub fn read_answer(
    answer: &str,
    checkpoint: &SignedCheckpoint,
    known: &[VerifierKey],
) -> Result<Vec<Signature>, NoCosignature> {
    let text = checkpoint.note().text();
    let mut signatures = read_signatures(answer)?;
    signatures.retain(|signature| {
        let mut verified = known.iter().filter_map(|key| signature.verify(text, key));
        verified.any(|verified| verified.time.is_some_and(|time| time > 0))
    });
    if signatures.is_empty() { Err(NoCosignature::Unknown) } else { Ok(signatures) }
}

impl FromStr for AddCheckpoint {
    type Err = NoRequest;

    fn from_str(body: &str) -> Result<Self, NoRequest> {
        if body.len() > LONGEST_BODY {
            return Err(NoRequest::Bytes);
        }
        let (old_size, mut rest) = body.split_once('\n').ok_or(NoRequest::OldSize)?;
        let old_size = old_size.strip_prefix("old ").and_then(decimal).ok_or(NoRequest::OldSize)?;
        let mut proof = Vec::new();
        loop {
            let (line, behind) = rest.split_once('\n').ok_or(NoRequest::Hashes)?;
            rest = behind;
            if line.is_empty() {
                return Ok(Self { old_size, proof, checkpoint: rest.parse()? });
            }
            if proof.len() == MOST_HASHES {
                return Err(NoRequest::Hashes);
            }
            proof.push(line.parse().map_err(|_| NoRequest::Hashes)?);
        }
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(formatter, "{hash}"))?;
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

    const ORIGIN: &str = "log.example/1";

    fn key() -> SigningKey {
        SigningKey::new(ORIGIN, KeyKind::Note, &[1; 32]).unwrap()
    }

    fn followed() -> FollowedLog {
        FollowedLog { origin: ORIGIN.to_owned(), keys: vec![key().verifier().clone()] }
    }

    fn request(old_size: u64, proof: Vec<Hash>, tree: TreeHead) -> AddCheckpoint {
        let checkpoint = Checkpoint::new(ORIGIN, tree, &[]).unwrap();
        AddCheckpoint { old_size, proof, checkpoint: SignedCheckpoint::new(checkpoint, &key()).unwrap() }
    }

    /// What an honest log sends.
    fn growth(grown: &Grown, old: usize, new: usize) -> AddCheckpoint {
        let proof = consistency::prove(old as u64, new as u64, grown.node()).unwrap();
        request(old as u64, proof, grown.heads[new])
    }

    #[test]
    fn an_honest_log_is_cosigned_from_size_to_size() {
        let grown = Grown::to(40, 0);
        let mut latest = TreeHead::EMPTY;
        for (old, new) in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 7), (7, 8), (8, 40), (40, 40)] {
            let body = growth(&grown, old, new).to_string();
            latest = AddCheckpoint::read(body.as_bytes()).unwrap().judge(Some(&followed()), latest).unwrap();
            assert_eq!(latest, grown.heads[new]);
        }
    }

    #[test]
    fn every_lie_has_its_answer() {
        let (grown, forked) = (Grown::to(40, 0), Grown::to(40, 1));
        let log = followed();
        let status = |request: &AddCheckpoint, latest| request.judge(Some(&log), latest).map_err(|no| no.status());
        let latest = grown.heads[7];
        for (old, new, what) in [(7, 40, "grown"), (7, 7, "the same")] {
            assert_eq!(status(&growth(&grown, old, new), latest), Ok(grown.heads[new]), "{what}");
            assert_eq!(status(&growth(&forked, old, new), latest), Err(422), "forked");
        }
        for (old, new) in [(0, 40), (6, 40), (8, 40), (3, 6), (0, 0)] {
            let request = growth(&grown, old, new);
            assert_eq!(request.judge(Some(&log), latest), Err(Refusal::Conflict(7)), "{old} to {new}");
        }
        assert_eq!(Refusal::Conflict(7).body(), "7\n");
        let shrunk = request(7, vec![], grown.heads[6]);
        assert_eq!(status(&shrunk, latest), Err(400), "a rollback");
        assert_eq!(status(&request(7, vec![], grown.heads[40]), latest), Err(422), "no proof");
        assert_eq!(status(&request(7, vec![latest.root], latest), latest), Err(422), "a proof where none is needed");
        let first = request(0, vec![latest.root], latest);
        assert_eq!(status(&first, TreeHead::EMPTY), Err(422), "a proof from nothing");
        let empty = request(0, vec![], TreeHead { size: 0, root: latest.root });
        assert_eq!(status(&empty, TreeHead::EMPTY), Err(422), "an empty tree with a root");
    }

    #[test]
    fn only_logs_that_are_followed_are_cosigned() {
        let grown = Grown::to(3, 0);
        let request = growth(&grown, 0, 3);
        assert_eq!(request.judge(None, TreeHead::EMPTY).unwrap_err().status(), 404);
        let elsewhere = FollowedLog { origin: "log.example/2".to_owned(), ..followed() };
        assert_eq!(request.judge(Some(&elsewhere), TreeHead::EMPTY), Err(Refusal::UnknownLog));
        let other = SigningKey::new(ORIGIN, KeyKind::Note, &[2; 32]).unwrap();
        let rekeyed = FollowedLog { keys: vec![other.verifier().clone()], ..followed() };
        assert_eq!(request.judge(Some(&rekeyed), TreeHead::EMPTY).unwrap_err().status(), 403);
        let mut wrong = request.clone();
        let signature = growth(&grown, 0, 2).checkpoint.note().signatures()[0].clone();
        wrong.checkpoint.add(signature);
        assert_eq!(wrong.judge(Some(&followed()), TreeHead::EMPTY).unwrap_err().status(), 403);
    }

    #[test]
    fn whatever_else_is_no_request() {
        let good = growth(&Grown::to(40, 0), 7, 40).to_string();
        let hash = format!("{}\n", Hash::EMPTY_TREE);
        let hashes = |many: usize| good.replacen("old 7\n", &format!("old 7\n{}", hash.repeat(many)), 1);
        let found = good.matches("=\n").count() - 2;
        assert!(hashes(MOST_HASHES - found).parse::<AddCheckpoint>().is_ok());
        for (bad, why) in [
            (String::new(), NoRequest::OldSize),
            (good.replacen("old 7", "old", 1), NoRequest::OldSize),
            (good.replacen("old 7", "old 07", 1), NoRequest::OldSize),
            (good.replacen("old 7", "old  7", 1), NoRequest::OldSize),
            (good.replacen("old 7", "Old 7", 1), NoRequest::OldSize),
            (good.replacen("old 7", "old -7", 1), NoRequest::OldSize),
            (good.replacen("old 7", "old 9223372036854775808", 1), NoRequest::OldSize),
            ("old 7\n".to_owned(), NoRequest::Hashes),
            (hashes(MOST_HASHES - found + 1), NoRequest::Hashes),
            (good.replacen("=\n", "\n", 1), NoRequest::Hashes),
            (good.replacen("=\n", "=\r\n", 1), NoRequest::Hashes),
            ("old 7\n\n".to_owned(), NoRequest::Checkpoint(NoCheckpoint::Note(NoNote::NoSignatures))),
            ("x".repeat(LONGEST_BODY + 1), NoRequest::Bytes),
        ] {
            assert_eq!(AddCheckpoint::read(bad.as_bytes()), Err(why), "{bad:.90}");
            assert_eq!(Refusal::from(why).status(), 400);
        }
        assert_eq!(AddCheckpoint::read(b"old 7\n\xff"), Err(NoRequest::Bytes));
    }

    #[test]
    fn an_answer_gives_the_cosignatures_of_known_witnesses() {
        let request = growth(&Grown::to(3, 0), 0, 3);
        let witness = |seed| SigningKey::new("w.example", KeyKind::Cosignature, &[seed; 32]).unwrap();
        let (known, stranger) = (witness(3), witness(4));
        let keys = [known.verifier().clone(), key().verifier().clone()];
        let read = |answer: &str| read_answer(answer, &request.checkpoint, &keys);
        let line = |key| cosignature::sign(&request.checkpoint, 99, key).unwrap();
        let both = format!("{}\n{}\n", line(&stranger), line(&known));
        assert_eq!(read(&both), Ok(vec![line(&known)]));
        assert_eq!(read(&format!("{}\n", line(&stranger))), Err(NoCosignature::Unknown));
        let logs_own = &request.checkpoint.note().signatures()[0];
        assert_eq!(read(&format!("{logs_own}\n")), Err(NoCosignature::Unknown), "it says no time");
        let other = growth(&Grown::to(4, 0), 0, 4).checkpoint;
        assert_eq!(read_answer(&both, &other, &keys), Err(NoCosignature::Unknown));
        for bad in ["", "\n", &line(&known).to_string(), "no\n", &format!("{}\n\n", line(&known))] {
            assert_eq!(read(bad), Err(NoCosignature::Malformed(NoNote::Signature)), "{bad}");
        }
    }

    proptest! {
        /// A witness that has cosigned one tree cosigns no other that doesn't continue it.
        #[test]
        fn no_history_is_cosigned_twice(old in 1_usize..60, more in 0_usize..60, seed in 1_u64.., from in 0_usize..60) {
            let (honest, forked) = (Grown::to(120, 0), Grown::to(120, seed));
            let latest = honest.heads[old];
            let from = from.min(old + more);
            for grown in [&honest, &forked] {
                let verdict = growth(grown, from, old + more).judge(Some(&followed()), latest);
                let honest = grown.heads[old] == latest && from == old;
                prop_assert_eq!(verdict.is_ok(), honest);
            }
        }

        #[test]
        fn no_byte_of_a_request_may_change(at: prop::sample::Index, byte: u8) {
            let grown = Grown::to(40, 0);
            let good = growth(&grown, 7, 40).to_string().into_bytes();
            let mut bad = good.clone();
            bad[at.index(good.len())] = byte;
            let verdict = AddCheckpoint::read(&bad).map(|request| request.judge(Some(&followed()), grown.heads[7]));
            prop_assert_eq!(verdict == Ok(Ok(grown.heads[40])), bad == good);
        }

        #[test]
        fn nothing_is_more_than_an_error(body in prop::collection::vec(any::<u8>(), 0..300), text in "old [0-9]{1,20}\n\\PC{0,40}\n\n\\PC{0,40}") {
            let _ = AddCheckpoint::read(&body);
            let _ = AddCheckpoint::read(text.as_bytes());
        }
    }
}
