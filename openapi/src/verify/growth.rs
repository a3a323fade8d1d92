//! Whether a log only grew from one of its checkpoints to another.

use super::logged::{log, seen_by};
use super::read;
use super::{Finding, Input, Unreadable, Verdict, What};
use crate::error::echo;
use crate::log::checkpoint::SignedCheckpoint;
use crate::log::consistency;
use crate::log::hash::Hash;
use crate::log::note::LONGEST_NOTE;
use crate::log::policy::Policy;
use crate::log::tree::{Disproved, TreeHead};
use crate::log::witness::MOST_HASHES;

/// More bytes than the hashes of a proof, each on its line.
const LONGEST_CONSISTENCY: usize = 4 << 10;

/// Two checkpoints of a log, and what is to show that nothing between them was taken back: files as they came.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoints<'a> {
    pub old: &'a [u8],
    pub new: &'a [u8],
    /// Hashes in base64, each on a line of its own. Not needed where both are of the same size.
    pub consistency: Option<&'a [u8]>,
    /// Which log and which witnesses are believed: a C2SP tlog-policy.
    pub policy: &'a [u8],
}

/// Verifies that a log only grew.
///
/// # Errors
/// When a file is not what it should be.
pub fn log_only_grew(checkpoints: &Checkpoints<'_>) -> Result<Verdict, Unreadable> {
    let old = checkpoint(Input::OldCheckpoint, checkpoints.old)?;
    let new = checkpoint(Input::NewCheckpoint, checkpoints.new)?;
    let proof = checkpoints.consistency.map(hashes).transpose()?;
    let policy = read::policy(checkpoints.policy)?;
    let findings =
        vec![signed(What::Old, &old, &policy), signed(What::New, &new, &policy), grown(&old, &new, proof.as_deref())];
    let verdict = Verdict::new(What::Growth, findings);
    let what = if verdict.holds { "the log only grew" } else { "that the log only grew is not shown" };
    Ok(Verdict { summary: format!("{}: {what}.", verdict.counts()), ..verdict })
}

fn checkpoint(input: Input, bytes: &[u8]) -> Result<SignedCheckpoint, Unreadable> {
    read::text(input, bytes, LONGEST_NOTE)?.parse().map_err(|error| input.is_not(&error))
}

fn hashes(bytes: &[u8]) -> Result<Vec<Hash>, Unreadable> {
    let lines = read::text(Input::Consistency, bytes, LONGEST_CONSISTENCY)?.lines();
    let hashes: Result<Vec<Hash>, _> = lines.map(str::parse).collect();
    let hashes = hashes.map_err(|error| Input::Consistency.is_not(&error))?;
    if hashes.len() > MOST_HASHES {
        return Err(Input::Consistency.is_not(&format!("it has more than {MOST_HASHES} hashes")));
    }
    Ok(hashes)
}

/// Whether the log has signed a checkpoint, and enough witnesses have.
fn signed(what: What, signed: &SignedCheckpoint, policy: &Policy) -> Finding {
    let head = head(signed.checkpoint().tree());
    match policy.judge(signed) {
        Ok(believed) => Finding::holds(what, format!("{} has signed {head}{}.", log(&believed), seen_by(&believed))),
        Err(why) => Finding::fails(what, format!("It is of {head}, and it is not to be believed: {why}.")),
    }
}

fn grown(old: &SignedCheckpoint, new: &SignedCheckpoint, proof: Option<&[Hash]>) -> Finding {
    let [old, new] = [old, new].map(SignedCheckpoint::checkpoint);
    if old.origin() != new.origin() {
        let [old, new] = [old, new].map(|checkpoint| echo(checkpoint.origin()));
        return Finding::fails(What::Growth, format!("These are two logs: {old} and {new}."));
    }
    let (old, new) = (old.tree(), new.tree());
    let needs_proof = old.size > 0 && old.size < new.size;
    let Some(proof) = proof.or(if needs_proof { None } else { Some(&[]) }) else {
        let says =
            format!("No proof was given that the tree of {} has grown out of the one of {}.", new.size, old.size);
        return Finding::fails(What::Growth, says);
    };
    let says = match consistency::verify(old, new, proof) {
        Ok(()) if old.size == new.size => return Finding::holds(What::Growth, "Both are the same tree."),
        Ok(()) => {
            let says = format!("All {} entries of the old tree begin the new one; {} came after them.", old.size, new.size - old.size);
            return Finding::holds(What::Growth, says);
        }
        Err(Disproved::NoSuchTree { .. }) => {
            "The new tree is smaller than the old one. If they were not given in the wrong order, the log was cut short."
                .to_owned()
        }
        Err(Disproved::Root) if old.size == new.size => {
            format!("The log has forked. It shows two trees of one size, {} and {}: keep both files.", head(old), head(new))
        }
        Err(why) => format!(
            "The proof doesn't lead from {} to {}: {why}. Either it is of other trees, or the log has forked: keep the files.",
            head(old),
            head(new)
        ),
    };
    Finding::fails(What::Growth, says)
}

fn head(tree: TreeHead) -> String {
    format!("a tree of {} with the root {}", tree.size, tree.root)
}
