//! Whether the log has a receipt or a statement, and who has seen that.

use super::time::utc;
use super::{Finding, What};
use crate::error::echo;
use crate::log::checkpoint::SignedCheckpoint;
use crate::log::entry::{Entry, Kind};
use crate::log::inclusion;
use crate::log::policy::{Believed, NotBelieved, Policy};
use crate::log::proof::LogProof;

pub(super) fn findings(entry: Entry, proof: Option<&LogProof>, policy: Option<&Policy>) -> [Finding; 2] {
    let what = entry.kind.word();
    match (proof, policy) {
        (Some(proof), policy) => [included(entry, proof, policy.is_some()), witnessed(what, proof, policy)],
        (None, Some(_)) => {
            let says = format!("No proof came with the {what}. {}", where_proofs_are(entry));
            [Finding::fails(What::Log, says), Finding::unchecked(What::Witnesses, "Not checked: there is no proof.")]
        }
        (None, None) => [
            Finding::unchecked(What::Log, format!("Not checked: no proof came with the {what}.")),
            Finding::unchecked(What::Witnesses, "Not checked: no policy was given."),
        ],
    }
}

/// A receipt's comes with it; whatever else there is has one at its leaf.
fn where_proofs_are(entry: Entry) -> String {
    match entry.kind {
        Kind::Receipt => "The log takes a while: ask for the receipt again.".to_owned(),
        _ => format!("The gateway has it at /log/proof/{}.", entry.leaf().to_hex()),
    }
}

fn included(entry: Entry, proof: &LogProof, will_be_judged: bool) -> Finding {
    let (tree, index) = (proof.checkpoint.checkpoint().tree(), proof.index);
    let what = entry.kind.word();
    if let Err(disproved) = inclusion::verify(entry.leaf(), index, &proof.inclusion, tree) {
        return Finding::fails(What::Log, format!("The proof is not of this {what}: {disproved}."));
    }
    let place = format!("entry {index} of a tree of {}", tree.size);
    if will_be_judged {
        Finding::holds(What::Log, format!("The {what} is {place}."))
    } else {
        let says =
            format!("The {what} is {place}; whose tree that is was not checked: the log's policy was not given.");
        Finding::unchecked(What::Log, says)
    }
}

fn witnessed(what: &str, proof: &LogProof, policy: Option<&Policy>) -> Finding {
    let Some(policy) = policy else {
        let says = "Not checked: no policy was given. The gateway serves its log's at /log/policy.";
        return Finding::unchecked(What::Witnesses, says);
    };
    judged(what, &proof.checkpoint, policy)
}

/// Whether the log has signed a tree, and enough witnesses have seen it.
pub(super) fn judged(what: &str, checkpoint: &SignedCheckpoint, policy: &Policy) -> Finding {
    match policy.judge(checkpoint) {
        Ok(believed) => {
            Finding::holds(What::Witnesses, format!("{} has signed that tree{}.", log(&believed), seen_by(&believed)))
        }
        Err(NotBelieved::NoQuorum(witnesses)) => {
            let says = format!(
                "The log has signed that tree, and of the policy's witnesses {witnesses} have seen it, which are not enough. They \
                 take a while: ask for the {what} again."
            );
            Finding::fails(What::Witnesses, says)
        }
        Err(why) => Finding::contradicted(What::Witnesses, &why),
    }
}

pub(super) fn log(believed: &Believed<'_>) -> String {
    format!("The log {}", echo(believed.log.name()))
}

/// Which witnesses have seen a tree, and when.
pub(super) fn seen_by(believed: &Believed<'_>) -> String {
    let witnesses = believed.witnesses.iter().map(|verified| {
        let when = verified.time.map(utc).unwrap_or_default();
        format!("{} ({when})", echo(verified.by.name()))
    });
    let witnesses: Vec<String> = witnesses.collect();
    match witnesses.as_slice() {
        [] => ", and the policy asks for no witness".to_owned(),
        [witness] => format!(", and a witness has seen it, which is enough: {witness}"),
        all => format!(", and {} witnesses have seen it, which are enough: {}", all.len(), all.join(", ")),
    }
}
