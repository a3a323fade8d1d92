//! What an epoch's documents say, held against what was made again.

use std::collections::{BTreeSet, HashSet};

use data_encoding::HEXLOWER;
use uuid::Uuid;

use super::super::What;
use super::super::statement::other_lines;
use super::{Auditor, LoggedEpoch};
use crate::error::echo;
use crate::log::hash::Hash;
use crate::statement::{Closed, ClosedEpoch, Line, Statement, Totals, VERSION};

const GATEWAY: &str = "gateway";
const PAYOUT: &str = "payout";
const MOVEMENTS: [&str; 4] = [PAYOUT, "grant", "adjustment", "refund"];

impl Auditor {
    /// Notes all that the epoch and its statements say otherwise than they should.
    pub(super) fn compare(&mut self) {
        self.compare_place();
        let statements = self.statements_of(&self.claimed.clone(), What::Statements);
        self.compare_openings(&statements);
        self.compare_movements(&statements);
        for statement in &statements {
            if let Err(wrong) = statement.check() {
                self.note(What::Statements, format!("the statement of {}: {wrong}", echo(&statement.party)));
            }
        }
        match self.closing.take() {
            Some(mut closing) => {
                self.counted_all = true;
                self.openings().iter().for_each(|(party, owed)| closing.open(party, *owed));
                for (party, movement) in movements(&statements) {
                    closing.move_money(party, movement.clone());
                }
                let root = self.root.unwrap_or(Hash::EMPTY_TREE);
                self.compare_closed(&statements, &closing.end(&self.claimed.origin, root));
            }
            None => self.compare_with_gateway(&statements),
        }
    }

    /// Of all epochs in the log: this one as it is claimed, and once.
    pub(super) fn logged(&self) -> Option<&LoggedEpoch> {
        self.epochs.get(&self.claimed.epoch.number)?.iter().find(|logged| logged.digest == self.digest)
    }

    pub(super) fn is_first(&self) -> bool {
        self.claimed.epoch.number <= 1
    }

    fn before(&self) -> Option<&ClosedEpoch> {
        let before = self.claimed.epoch.number.checked_sub(1)?;
        self.epochs.get(&before)?.first().map(|logged| &logged.epoch)
    }

    /// Whether it is in the log, alone, and goes on where the one before has ended.
    fn compare_place(&mut self) {
        let (epoch, number) = (self.claimed.epoch, self.claimed.epoch.number);
        let mut says = Vec::new();
        if self.claimed.v != VERSION {
            says.push(format!("it is of version {}, and this program knows version {VERSION}", self.claimed.v));
        }
        if self.logged().is_none() {
            says.push("its document is not in the log".to_owned());
        }
        if epoch.end_index < epoch.first_index || epoch.ended_at <= epoch.began_at {
            says.push("it ends before it begins".to_owned());
        }
        let others = self.epochs.get(&number).into_iter().flatten().filter(|logged| logged.digest != self.digest);
        says.extend(others.map(|other| format!("entry {}: the log has another epoch {number}", other.index)));
        match self.before().map(|before| before.epoch) {
            Some(before) if (before.end_index, before.ended_at) != (epoch.first_index, epoch.began_at) => {
                says.push(format!(
                    "it begins with entry {}, and epoch {} has ended before entry {}, or at another time",
                    epoch.first_index, before.number, before.end_index
                ));
            }
            Some(_) => {}
            None if number > 1 => says.push(format!("epoch {}, before it, is not in the log", number - 1)),
            None if epoch.first_index > 0 => {
                says.push(format!("it is the first, and begins with entry {}", epoch.first_index));
            }
            None => {}
        }
        says.into_iter().for_each(|says| self.note(What::Epoch, says));
    }

    /// The statements that an epoch names. Notes those that are not there, and those that are others.
    fn statements_of(&mut self, of: &ClosedEpoch, what: What) -> Vec<Statement> {
        let mut found = Vec::new();
        for (party, digest) in &of.statements {
            match self.statements.get(digest) {
                Some(statement) if statement.party == *party && statement.epoch == of.epoch => {
                    found.push(statement.clone());
                }
                Some(_) => self.note(what, format!("what is named as the statement of {} is another", echo(party))),
                None => {
                    let says = format!(
                        "the statement of {} in epoch {}, {}, is not in the log",
                        echo(party),
                        of.epoch.number,
                        echo(digest)
                    );
                    self.note(what, says);
                }
            }
        }
        found
    }

    /// What was owed at the end of the epoch before, by party, of those to whom something was. What was owed before the first
    /// one nothing in the log says but its statements.
    pub(super) fn openings(&self) -> Vec<(String, i64)> {
        if self.is_first() {
            let statements = self.claimed.statements.values().filter_map(|digest| self.statements.get(digest));
            let owed = statements.filter(|statement| statement.opening != 0);
            return owed.map(|statement| (statement.party.clone(), statement.opening)).collect();
        }
        let named = self.before().into_iter().flat_map(|before| &before.statements);
        let statements = named.filter_map(|(_, digest)| self.statements.get(digest));
        statements.filter(|before| before.closing != 0).map(|before| (before.party.clone(), before.closing)).collect()
    }

    fn compare_openings(&mut self, statements: &[Statement]) {
        if let Some(before) = self.before().cloned() {
            self.statements_of(&before, What::Openings);
        }
        let openings = self.openings();
        let owed = |party: &str| openings.iter().find(|(of, _)| of == party).map_or(0, |(_, owed)| *owed);
        for statement in statements {
            let (said, due) = (statement.opening, owed(&statement.party));
            if said != due {
                let says = format!(
                    "the statement of {} opens with {said} nanocredits, and the one before closed with {due}",
                    echo(&statement.party)
                );
                self.note(What::Openings, says);
            }
        }
        for (party, owed) in &openings {
            if !self.claimed.statements.contains_key(party) {
                let says = format!("{} was owed {owed} nanocredits, and has no statement", echo(party));
                self.note(What::Openings, says);
            }
        }
    }

    /// Whether each movement is of a kind that there is, and in one epoch, once.
    fn compare_movements(&mut self, statements: &[Statement]) {
        let is_before = |statement: &&Statement| statement.epoch.number != self.claimed.epoch.number;
        let mut seen: HashSet<(String, Uuid)> = self
            .statements
            .values()
            .filter(is_before)
            .flat_map(|before| before.movements.iter().map(|movement| (before.party.clone(), movement.event)))
            .collect();
        for (party, movement) in movements(statements) {
            let (event, kind) = (movement.event, movement.kind.as_str());
            let of = format!("the {} of {} nanocredits to {}", echo(kind), movement.nanocredits, echo(party));
            if !seen.insert((party.to_owned(), event)) {
                self.note(What::Movements, format!("{of}, event {event}, is stated twice"));
            }
            if !MOVEMENTS.contains(&kind) {
                self.note(What::Movements, format!("{of} is of no kind that there is"));
            }
            if kind == PAYOUT && movement.nanocredits >= 0 {
                self.note(What::Movements, format!("{of} pays nothing out"));
            }
        }
    }

    fn compare_closed(&mut self, statements: &[Statement], made: &Closed) {
        let claimed = self.claimed.clone();
        let parties: BTreeSet<&String> = claimed.statements.keys().chain(made.epoch.statements.keys()).collect();
        for party in parties {
            let due = made.statements.iter().find(|made| made.party == *party);
            let says = match (claimed.statements.get(party), due) {
                (Some(_), None) => "nothing in the epoch was theirs, and they have a statement".to_owned(),
                (None, Some(due)) => format!("{} receipts are theirs, and they have no statement", due.receipts),
                (Some(digest), Some(due)) if made.epoch.statements.get(party) != Some(digest) => {
                    let said = statements.iter().find(|said| said.party == *party);
                    let Some(says) = said.map(|said| difference(said, due)) else { continue };
                    says
                }
                _ => continue,
            };
            self.note(What::Statements, format!("{}: {says}", echo(party)));
        }
        for (node, account) in claimed.nodes.iter().filter(|(node, _)| !made.epoch.nodes.contains_key(node)) {
            self.note(What::Nodes, format!("node {node} of {} has no receipt in the epoch", echo(account)));
        }
        let is_earner = |account: &str| account.starts_with("operator:") || account == GATEWAY;
        for (node, account) in claimed.nodes.iter().filter(|(_, account)| !is_earner(account)) {
            self.note(What::Nodes, format!("node {node} earns for {}, which is no operator", echo(account)));
        }
        self.compare_totals(&made.epoch.totals, "the receipts come");
    }

    fn compare_totals(&mut self, due: &Totals, whence: &str) {
        let figures = figures(&self.claimed.totals).into_iter().zip(figures(due));
        for ((what, said), (_, due)) in figures.filter(|((_, said), (_, due))| said != due) {
            self.note(What::Totals, format!("it says {said} {what}, and {whence} to {due}"));
        }
    }

    /// Where not every receipt was read: each is in the statement of the gateway, so their number, their order and whatever is
    /// summed must be the same there.
    fn compare_with_gateway(&mut self, statements: &[Statement]) {
        let paid_out = movements(statements).filter(|(_, movement)| movement.kind == PAYOUT);
        let paid_out =
            paid_out.fold(0_u64, |sum, (_, movement)| sum.saturating_add(movement.nanocredits.unsigned_abs()));
        let (said, logged) = (self.claimed.totals, self.receipts.head());
        let gateway = statements.iter().find(|statement| statement.party == GATEWAY);
        if let Some(gateway) = gateway
            && (gateway.receipts != logged.size || gateway.root != logged.root.to_hex())
        {
            let says =
                format!("{GATEWAY}: it is of {} receipts, and not of the {} in the log", gateway.receipts, logged.size);
            self.note(What::Statements, says);
        }
        let lines = gateway.map_or(&[][..], |gateway| &gateway.lines);
        let sum = |of: fn(&Line) -> u64| lines.iter().map(of).fold(0, u64::saturating_add);
        let due = Totals {
            receipts: logged.size,
            prompt_tokens: sum(|line| line.prompt_tokens),
            cached_tokens: sum(|line| line.cached_tokens),
            completion_tokens: sum(|line| line.completion_tokens),
            income: crate::units::Nanocredits::new(sum(|line| line.income.get())),
            paid_out: crate::units::Nanocredits::new(paid_out),
            microjoules: crate::units::Microjoules::new(sum(|line| line.microjoules.get())),
            micrograms_co2e: sum(|line| line.micrograms_co2e),
            // No statement has these.
            alone: said.alone,
            facility_microjoules: said.facility_microjoules,
        };
        self.compare_totals(&due, "the gateway's statement and the log come");
    }

    /// The root that the log had when the epoch ended, if it is the one that the epoch states.
    pub(super) fn root_differs(&self) -> Option<String> {
        let found = self.root?.to_hex();
        (found != self.claimed.root).then_some(found)
    }

    pub(super) fn digest_hex(&self) -> String {
        HEXLOWER.encode(&self.digest)
    }
}

fn movements(statements: &[Statement]) -> impl Iterator<Item = (&str, &crate::statement::Movement)> {
    statements.iter().flat_map(|of| of.movements.iter().map(|movement| (of.party.as_str(), movement)))
}

/// The first thing that a statement says otherwise.
fn difference(said: &Statement, due: &Statement) -> String {
    if said.receipts != due.receipts {
        return format!("it is of {} receipts, and the log has {} of theirs", said.receipts, due.receipts);
    }
    if said.root != due.root {
        return format!("the root of its receipts is {}, and they come to {}", echo(&said.root), due.root);
    }
    if said.lines != due.lines {
        return other_lines(&said.lines, &due.lines).trim_end_matches('.').to_owned();
    }
    if said.opening != due.opening {
        return format!("it opens with {} nanocredits, and should with {}", said.opening, due.opening);
    }
    if said.closing != due.closing {
        return format!("it closes with {} nanocredits, and should with {}", said.closing, due.closing);
    }
    "it says something else than what comes of the receipts".to_owned()
}

pub(super) fn figures(totals: &Totals) -> [(&'static str, u64); 10] {
    [
        ("receipts", totals.receipts),
        ("receipts that the gateway signs alone", totals.alone),
        ("tokens of prompts", totals.prompt_tokens),
        ("tokens from caches", totals.cached_tokens),
        ("tokens of answers", totals.completion_tokens),
        ("nanocredits of income", totals.income.get()),
        ("nanocredits paid out", totals.paid_out.get()),
        ("microjoules", totals.microjoules.get()),
        ("microjoules of the sites", totals.facility_microjoules.get()),
        ("micrograms of CO₂ equivalent", totals.micrograms_co2e),
    ]
}
