//! Makes the statements of an epoch of its receipts.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ClosedEpoch, Epoch, Line, Movement, Statement, Totals, VERSION};
use crate::log::hash::Hash;
use crate::log::tree::Frontier;
use crate::receipt::{Receipt, Shares};
use crate::units::{Microseconds, Nanocredits};

const GATEWAY: &str = "gateway";
const AUDIT_FUND: &str = "audit_fund";
const PAYOUT: &str = "payout";

/// A receipt and what the log and the gateway's list of nodes say of it.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// Of the leaf.
    pub leaf: Hash,
    /// The ledger's account of whoever operates the node.
    pub operator: &'a str,
    pub receipt: &'a Receipt,
}

/// An epoch on its way to its statements.
#[derive(Debug)]
pub struct Closing {
    epoch: Epoch,
    parties: BTreeMap<String, Party>,
    nodes: BTreeMap<Uuid, String>,
    totals: Totals,
}

/// All that comes of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub epoch: ClosedEpoch,
    /// By party.
    pub statements: Vec<Statement>,
}

#[derive(Debug, Default)]
struct Party {
    opening: i64,
    lines: BTreeMap<(String, String, String), Line>,
    movements: Vec<Movement>,
    receipts: Frontier,
}

impl Closing {
    /// Begins with what was owed to each party, by the statements of the epoch before.
    pub fn begin(epoch: Epoch, opening: impl IntoIterator<Item = (String, i64)>) -> Self {
        let mut closing = Self { epoch, parties: BTreeMap::new(), nodes: BTreeMap::new(), totals: Totals::default() };
        opening.into_iter().for_each(|(party, owed)| closing.open(&party, owed));
        closing
    }

    /// Says what was owed to a party, by its statement of the epoch before.
    pub fn open(&mut self, party: &str, owed: i64) {
        if owed != 0 {
            self.parties.entry(party.to_owned()).or_default().opening = owed;
        }
    }

    /// Counts a receipt, in the order of the log. Everybody whose work or model it was has it in their statement, paid or not.
    pub fn count(&mut self, counted: &Counted<'_>) {
        let receipt = counted.receipt;
        let tier = receipt.energy.as_ref().map_or("", |energy| energy.tier.letter());
        let kind = (receipt.model.clone(), day(receipt.started_at), tier.to_owned());
        for (party, share) in counted.shares() {
            let party = self.parties.entry(party).or_default();
            party.receipts.push(counted.leaf, |_, _| ());
            party.lines.entry(kind.clone()).or_insert_with(|| empty(&kind)).add(receipt, share);
        }
        self.nodes.entry(receipt.node).or_insert_with(|| counted.operator.to_owned());
        self.totals.add(receipt);
    }

    /// Counts money that came or went otherwise, in the order of time.
    pub fn move_money(&mut self, party: &str, movement: Movement) {
        if movement.kind == PAYOUT {
            self.totals.paid_out += Nanocredits::new(movement.nanocredits.unsigned_abs());
        }
        self.parties.entry(party.to_owned()).or_default().movements.push(movement);
    }

    /// The statements, and the epoch that they are of, in a log that had this root then.
    pub fn end(self, origin: &str, root: Hash) -> Closed {
        let epoch = self.epoch;
        let statements: Vec<Statement> =
            self.parties.into_iter().map(|(name, party)| party.statement(epoch, name)).collect();
        let digest = |statement: &Statement| HEXLOWER.encode(&Sha256::digest(statement.to_document()));
        let epoch = ClosedEpoch {
            v: VERSION,
            origin: origin.to_owned(),
            epoch,
            root: root.to_hex(),
            nodes: self.nodes,
            statements: statements.iter().map(|statement| (statement.party.clone(), digest(statement))).collect(),
            totals: self.totals,
        };
        Closed { epoch, statements }
    }
}

impl Counted<'_> {
    /// Who has the receipt in their statement, and what it brings them.
    pub fn shares(&self) -> BTreeMap<String, Nanocredits> {
        let mut of: BTreeMap<String, Nanocredits> = BTreeMap::new();
        let mut give = |party: &str, share: Nanocredits| *of.entry(party.to_owned()).or_default() += share;
        let shares = self.receipt.shares.as_ref();
        let share = |of: fn(&Shares) -> Nanocredits| shares.map_or(Nanocredits::ZERO, of);
        // The node of an operator who is gone works for the gateway.
        give(self.operator, share(|shares| shares.operator));
        give(GATEWAY, share(|shares| shares.gateway));
        give(AUDIT_FUND, share(|shares| shares.audit_fund));
        for author in shares.into_iter().flat_map(|shares| &shares.authors) {
            give(&format!("author:{}", author.author), author.nanocredits);
        }
        of
    }
}

impl Party {
    fn statement(self, epoch: Epoch, party: String) -> Statement {
        let lines: Vec<Line> = self.lines.into_values().collect();
        let shares = lines.iter().map(|line| line.share.to_bigint());
        let moved = self.movements.iter().map(|movement| movement.nanocredits);
        // What somebody else has written down may be beyond reason.
        let closing = shares.chain(moved).fold(self.opening, i64::saturating_add);
        let head = self.receipts.head();
        Statement {
            v: VERSION,
            epoch,
            party,
            opening: self.opening,
            lines,
            movements: self.movements,
            closing,
            receipts: head.size,
            root: head.root.to_hex(),
        }
    }
}

impl Totals {
    fn add(&mut self, receipt: &Receipt) {
        self.receipts += 1;
        self.alone += u64::from(receipt.alone.is_some());
        self.prompt_tokens = self.prompt_tokens.saturating_add(receipt.prompt_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(receipt.cached_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(receipt.completion_tokens);
        self.income += receipt.nanocredits;
        if let Some(energy) = &receipt.energy {
            self.microjoules += energy.microjoules;
            self.facility_microjoules += energy.facility_microjoules;
            self.micrograms_co2e = self.micrograms_co2e.saturating_add(energy.micrograms_co2e.unwrap_or_default());
        }
    }
}

fn empty((model, day, tier): &(String, String, String)) -> Line {
    Line {
        model: model.clone(),
        day: day.clone(),
        tier: tier.clone(),
        receipts: 0,
        prompt_tokens: 0,
        cached_tokens: 0,
        completion_tokens: 0,
        income: Nanocredits::ZERO,
        share: Nanocredits::ZERO,
        microjoules: crate::units::Microjoules::ZERO,
        micrograms_co2e: 0,
    }
}

impl Line {
    fn add(&mut self, receipt: &Receipt, share: Nanocredits) {
        self.receipts += 1;
        self.prompt_tokens = self.prompt_tokens.saturating_add(receipt.prompt_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(receipt.cached_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(receipt.completion_tokens);
        self.income += receipt.nanocredits;
        self.share += share;
        if let Some(energy) = &receipt.energy {
            self.microjoules += energy.microjoules;
            self.micrograms_co2e = self.micrograms_co2e.saturating_add(energy.micrograms_co2e.unwrap_or_default());
        }
    }
}

/// The day of a time, UTC.
fn day(at: Microseconds) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.get()) * 1_000);
    at.map_or_else(|_| String::new(), |at| at.date().to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::receipt::example::receipt;
    use crate::statement::Wrong;

    fn epoch() -> Epoch {
        let at = Microseconds::new;
        Epoch { number: 3, first_index: 10, end_index: 99, began_at: at(0), ended_at: at(1) }
    }

    fn close(receipts: &[Receipt], opening: &[(&str, i64)], movements: &[(&str, i64)]) -> Closed {
        let opening = opening.iter().map(|(party, owed)| ((*party).to_owned(), *owed));
        let mut closing = Closing::begin(epoch(), opening);
        for (at, receipt) in receipts.iter().enumerate() {
            let operator = ["operator:a", "operator:b"][at % 2];
            closing.count(&Counted { leaf: Hash::leaf(&at.to_be_bytes()), operator, receipt });
        }
        for (party, nanocredits) in movements {
            let at = Microseconds::new(1);
            let movement = Movement { event: Uuid::nil(), at, kind: PAYOUT.to_owned(), nanocredits: *nanocredits };
            closing.move_money(party, movement);
        }
        closing.end("log.example", Hash([7; 32]))
    }

    #[test]
    fn a_payout_leaves_what_was_owed_and_the_next_epoch_goes_on_from_there() {
        let receipts = [receipt(1_000, 7), receipt(500, 0)];
        let closed = close(&receipts, &[("operator:a", 70), ("author:Gone", 5)], &[("operator:a", -60)]);
        let (statements, totals) = (&closed.statements, closed.epoch.totals);
        assert_eq!((totals.receipts, totals.income.get(), totals.paid_out.get()), (2, 1_500, 60));
        assert_eq!(closed.epoch.statements.len(), statements.len());
        let of = |party: &str| statements.iter().find(|statement| statement.party == party).unwrap();
        let earned = receipts[0].shares.as_ref().unwrap().operator.to_bigint();
        assert_eq!((of("operator:a").opening, of("operator:a").closing), (70, 10 + earned));
        assert_eq!((of("author:Gone").closing, of("author:Gone").receipts), (5, 0), "what nobody claims is kept");
        assert_eq!(of("gateway").receipts, 2);
        let days: Vec<&str> = of("gateway").lines.iter().map(|line| line.day.as_str()).collect();
        assert_eq!(days, ["1970-01-01", "1970-01-08"]);
    }

    #[test]
    fn a_statement_that_does_not_add_up_is_found_out() {
        let good = close(&[receipt(1_000, 0)], &[], &[]).statements.remove(0);
        assert_eq!(good.check(), Ok(()));
        let more = Statement { closing: good.closing + 1, ..good.clone() };
        assert!(matches!(more.check(), Err(Wrong::Closing { .. })));
        let fewer = Statement { receipts: 0, ..good.clone() };
        assert!(matches!(fewer.check(), Err(Wrong::Receipts { .. })));
        let mut twice = good.clone();
        twice.lines.push(Line { share: Nanocredits::ZERO, receipts: 0, ..good.lines[0].clone() });
        assert_eq!(twice.check(), Err(Wrong::Order));
        assert_eq!(Statement { v: 2, ..good }.check(), Err(Wrong::Version(2)));
    }

    #[test]
    fn the_node_of_an_operator_who_is_gone_works_for_the_gateway() {
        let receipt = receipt(1_000, 0);
        let mut closing = Closing::begin(epoch(), []);
        closing.count(&Counted { leaf: Hash([1; 32]), operator: GATEWAY, receipt: &receipt });
        let closed = closing.end("log.example", Hash([7; 32]));
        let of_gateway = closed.statements.iter().find(|statement| statement.party == GATEWAY).unwrap();
        let shares = receipt.shares.unwrap();
        assert_eq!(of_gateway.closing, (shares.operator + shares.gateway).to_bigint());
        assert_eq!((of_gateway.receipts, closed.epoch.nodes[&Uuid::nil()].as_str()), (1, GATEWAY));
    }

    proptest! {
        #[test]
        fn every_nanocredit_of_income_is_somebody_s_and_the_same_receipts_make_the_same_statements(
            given in prop::collection::vec((0_u64..1_000_000, 0_u64..20), 0..30)) {
            let receipts: Vec<Receipt> = given.iter().map(|(cost, day)| receipt(*cost, *day)).collect();
            let closed = close(&receipts, &[], &[]);
            prop_assert_eq!(&closed, &close(&receipts, &[], &[]));
            let (statements, totals) = (closed.statements, closed.epoch.totals);
            let income: u64 = receipts.iter().map(|receipt| receipt.nanocredits.get()).sum();
            let closing: i64 = statements.iter().map(|statement| statement.closing).sum();
            prop_assert_eq!(u64::try_from(closing).unwrap(), income);
            for statement in &statements {
                prop_assert_eq!(statement.check(), Ok(()));
                let read: Statement = serde_json::from_str(&statement.to_document()).unwrap();
                prop_assert_eq!(&read, statement);
            }
            prop_assert_eq!((totals.income.get(), totals.receipts), (income, receipts.len() as u64));
            let operators = statements.iter().filter(|statement| statement.party.starts_with("operator:"));
            let joules: u64 = operators.flat_map(|operator| &operator.lines).map(|line| line.microjoules.get()).sum();
            let taken: u64 = receipts.iter().filter_map(|receipt| receipt.energy.as_ref()).map(|energy| energy.microjoules.get()).sum();
            prop_assert_eq!(joules, taken, "every joule once");
        }
    }
}
