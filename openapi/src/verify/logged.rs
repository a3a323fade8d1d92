//! Whether the log has the receipt, and who has seen that.

use super::time::utc;
use super::{Finding, What};
use crate::error::echo;
use crate::log::entry::{Entry, Kind};
use crate::log::inclusion;
use crate::log::policy::{Believed, NotBelieved, Policy};
use crate::log::proof::LogProof;

pub(super) fn findings(token: &str, proof: Option<&LogProof>, policy: Option<&Policy>) -> [Finding; 2] {
    match (proof, policy) {
        (Some(proof), policy) => [included(token, proof, policy.is_some()), witnessed(proof, policy)],
        (None, Some(_)) => {
            let says = "No proof came with the receipt. The log takes a while: ask for the receipt again.";
            [Finding::fails(What::Log, says), Finding::unchecked(What::Witnesses, "Not checked: there is no proof.")]
        }
        (None, None) => [
            Finding::unchecked(What::Log, "Not checked: no proof came with the receipt."),
            Finding::unchecked(What::Witnesses, "Not checked: no policy was given."),
        ],
    }
}

fn included(token: &str, proof: &LogProof, will_be_judged: bool) -> Finding {
    let (tree, index) = (proof.checkpoint.checkpoint().tree(), proof.index);
    if let Err(disproved) =
        inclusion::verify(Entry::of(Kind::Receipt, token.as_bytes()).leaf(), index, &proof.inclusion, tree)
    {
        let says = format!("The proof is not of this receipt: {disproved}.");
        return Finding::fails(What::Log, says);
    }
    let place = format!("entry {index} of a tree of {}", tree.size);
    if will_be_judged {
        Finding::holds(What::Log, format!("The receipt is {place}."))
    } else {
        let says =
            format!("The receipt is {place}; whose tree that is was not checked: the log's policy was not given.");
        Finding::unchecked(What::Log, says)
    }
}

fn witnessed(proof: &LogProof, policy: Option<&Policy>) -> Finding {
    let Some(policy) = policy else {
        let says = "Not checked: no policy was given. The gateway serves its log's at /log/policy.";
        return Finding::unchecked(What::Witnesses, says);
    };
    match policy.judge(&proof.checkpoint) {
        Ok(believed) => {
            Finding::holds(What::Witnesses, format!("{} has signed that tree{}.", log(&believed), seen_by(&believed)))
        }
        Err(NotBelieved::NoQuorum(witnesses)) => {
            let says = format!(
                "The log has signed that tree, and of the policy's witnesses {witnesses} have seen it, which are not enough. They \
                 take a while: ask for the receipt again."
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
