//! What the audit of an epoch comes to.

use super::super::statement::before;
use super::super::time::utc;
use super::super::{Finding, Verdict, What, logged};
use super::{Auditor, sample};
use crate::error::echo;
use crate::log::checkpoint::SignedCheckpoint;
use crate::log::policy::Policy;
use crate::statement::Totals;

const MICROSECONDS: u64 = 1_000_000;

impl Auditor {
    pub(super) fn verdict(mut self, checkpoint: &SignedCheckpoint, policy: &Policy) -> Verdict {
        self.compare();
        let mut findings = vec![self.place(), self.tree(checkpoint), logged::judged("epoch", checkpoint, policy)];
        findings.extend(self.of_receipts());
        findings.extend(self.of_statements());
        findings.push(self.totals());
        findings.extend(self.sampled());
        let needed = if self.sample.is_some() { What::Sample } else { What::Totals };
        let verdict = Verdict::new(needed, findings);
        let number = self.claimed.epoch.number;
        let what = match (verdict.holds, verdict.count(Some(false))) {
            (true, _) if self.sample.is_some() => "what was looked at of this epoch holds",
            (true, _) => "this epoch holds",
            (false, 0) => "not all of this epoch could be made again, so it is not proven",
            (false, _) => "this epoch does not hold",
        };
        Verdict { epoch: Some(number), summary: format!("{}: {what}.", verdict.counts()), ..verdict }
    }

    fn place(&mut self) -> Finding {
        let epoch = self.claimed.epoch;
        let [began, ended] = [epoch.began_at, epoch.ended_at].map(|at| utc(at.get() / MICROSECONDS));
        let index = self.logged().map(|logged| logged.index).unwrap_or_default();
        let says = format!(
            "Epoch {} of {}, {began} to {ended}, entries {} to {}: its document, {}, is entry {index} of the log.",
            epoch.number,
            echo(&self.claimed.origin),
            epoch.first_index,
            before(epoch.end_index),
            self.digest_hex(),
        );
        self.tallied(What::Epoch, says)
    }

    /// Whether the entries are those of the tree that was signed, and of the one that the epoch has ended with.
    fn tree(&self, checkpoint: &SignedCheckpoint) -> Finding {
        let (found, signed) = (self.follower.head(), checkpoint.checkpoint());
        if signed.origin() != self.claimed.origin {
            let says =
                format!("It is of the log {}, and not of {}.", echo(&self.claimed.origin), echo(signed.origin()));
            return Finding::fails(What::Log, says);
        }
        if found != signed.tree() {
            let (said, root) = (signed.tree(), found.root);
            let says = format!(
                "The checkpoint is of {} entries with the root {}, and the {} that are served have {root}.",
                said.size, said.root, found.size
            );
            return Finding::fails(What::Log, says);
        }
        match (self.root, self.root_differs()) {
            (None, _) => {
                let (size, end) = (found.size, self.claimed.epoch.end_index);
                Finding::fails(What::Log, format!("The log has {size} entries, and the epoch has ended at {end}."))
            }
            (Some(_), Some(found)) => {
                let (end, said) = (self.claimed.epoch.end_index, echo(&self.claimed.root));
                let says =
                    format!("The epoch states the root {said} of the first {end} entries, and they have {found}.");
                Finding::fails(What::Log, says)
            }
            (Some(root), None) => {
                let (size, end) = (found.size, self.claimed.epoch.end_index);
                let says = format!(
                    "All {size} entries lead to the root that is signed, and the first {end} to the one that the epoch \
                     states: {}.",
                    root.to_hex()
                );
                Finding::holds(What::Log, says)
            }
        }
    }

    fn of_receipts(&mut self) -> Vec<Finding> {
        let counts = self.counts;
        let read = counts.logged - counts.passed_over - counts.missing;
        let documents = match counts.missing {
            0 => {
                self.tallied(What::Documents, format!("Each entry's document is its own: {read} receipts among them."))
            }
            missing if !self.wrong.contains_key(&What::Documents) => {
                let says = format!(
                    "{missing} of {} receipts are not published: a gateway keeps them for as long as its operator says.",
                    counts.logged
                );
                Finding::unchecked(What::Documents, says)
            }
            _ => self.tallied(What::Documents, String::new()),
        };
        let keys = if self.follower.trusts_given() { "those that were given" } else { "those that the log tells of" };
        let each = [
            (What::Signature, format!("The gateway has signed each of {read} receipts, with its keys: {keys}.")),
            (What::Receipts, "Each receipt is there once, and its figures follow from each other.".to_owned()),
            (What::Splits, "Each is shared by the split that was in force, which the log had before.".to_owned()),
            (What::Prices, "Each costs what the log had before as the price of that model on that node.".to_owned()),
        ];
        [documents].into_iter().chain(each.map(|(what, right)| self.tallied(what, right))).collect()
    }

    fn of_statements(&mut self) -> Vec<Finding> {
        let (nodes, statements) = (self.claimed.nodes.len(), self.claimed.statements.len());
        let is_whole = self.is_whole();
        let made = if is_whole {
            format!("All {statements} come out of the receipts, byte for byte.")
        } else {
            format!("All {statements} are in the log and add up. They were not made again: not every receipt was read.")
        };
        let mut statements = self.tallied(What::Statements, made);
        if !is_whole && statements.holds == Some(true) {
            statements.holds = None;
        }
        let nodes = format!("It says of {nodes} nodes who operates them, and of each that has a receipt.");
        let nodes = self.tallied(What::Nodes, nodes);
        let movements = self.tallied(What::Movements, "No payout and no correction is stated twice.".to_owned());
        vec![nodes, self.owed_before(), movements, statements]
    }

    fn owed_before(&mut self) -> Finding {
        let openings = self.openings();
        if self.is_first() && !openings.is_empty() {
            let owed: i128 = openings.iter().map(|(_, owed)| i128::from(*owed)).sum();
            let says = format!(
                "It is the first epoch. {} parties were owed {owed} nanocredits before, for what no receipt is in the log.",
                openings.len()
            );
            return Finding::unchecked(What::Openings, says);
        }
        self.tallied(What::Openings, "Each party is owed at first what it was owed at last.".to_owned())
    }

    fn totals(&mut self) -> Finding {
        let is_whole = self.is_whole();
        let said = in_words(&self.claimed.totals);
        let right = if is_whole {
            format!("{said} All of it comes out of the receipts.")
        } else {
            format!(
                "{said} The gateway's own statement says the same. It was not made again: not every receipt was read."
            )
        };
        let finding = self.tallied(What::Totals, right);
        if is_whole || finding.holds == Some(false) { finding } else { Finding { holds: None, ..finding } }
    }

    /// Every receipt was read and counted.
    fn is_whole(&self) -> bool {
        self.counted_all
    }

    fn sampled(&self) -> Option<Finding> {
        let sample = self.sample.as_ref()?;
        let read = self.counts.logged - self.counts.passed_over - self.counts.missing;
        if read == 0 && self.counts.logged > 0 {
            return Some(Finding::unchecked(What::Sample, "No receipt was read: take a larger sample."));
        }
        let sure = sample::would_have_found(read);
        let says = format!(
            "{read} of {} receipts were read, one in {} by the seed '{}'. Had one in a hundred been wrong, a sample of that \
             size would have shown it in {}.{} % of cases; of a single wrong one it says little.",
            self.counts.logged,
            sample.one_in(),
            echo(sample.seed()),
            sure / 10,
            sure % 10
        );
        Some(Finding::holds(What::Sample, says))
    }
}

fn in_words(totals: &Totals) -> String {
    format!(
        "{} receipts, {} of them signed by the gateway alone; {} tokens of prompts and {} of answers; {} credits of income, {} \
         paid out; {} µJ on the nodes, {} µJ at their sites; {} µg of CO₂ equivalent.",
        totals.receipts,
        totals.alone,
        totals.prompt_tokens,
        totals.completion_tokens,
        totals.income.credits(),
        totals.paid_out.credits(),
        totals.microjoules.get(),
        totals.facility_microjoules.get(),
        totals.micrograms_co2e,
    )
}
