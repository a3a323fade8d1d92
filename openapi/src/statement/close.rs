//! Makes the statements of an epoch of its receipts.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{Epoch, Line, Movement, Statement, VERSION};
use crate::log::hash::Hash;
use crate::log::tree::Frontier;
use crate::receipt::Receipt;
use crate::units::{Microseconds, Nanocredits};

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
        let party = |opening| Party { opening, ..Party::default() };
        let parties = opening.into_iter().filter(|(_, owed)| *owed != 0).map(|(name, owed)| (name, party(owed)));
        Self { epoch, parties: parties.collect() }
    }

    /// Counts a receipt, in the order of the log. Everybody whose work or model it was has it in their statement, paid or not.
    pub fn count(&mut self, counted: &Counted<'_>) {
        let receipt = counted.receipt;
        let none = Nanocredits::ZERO;
        let shares = receipt.shares.as_ref();
        let mut of: BTreeMap<String, Nanocredits> = BTreeMap::new();
        of.insert(counted.operator.to_owned(), shares.map_or(none, |shares| shares.operator));
        of.insert("gateway".to_owned(), shares.map_or(none, |shares| shares.gateway));
        of.insert("audit_fund".to_owned(), shares.map_or(none, |shares| shares.audit_fund));
        for author in shares.into_iter().flat_map(|shares| &shares.authors) {
            *of.entry(format!("author:{}", author.author)).or_default() += author.nanocredits;
        }
        let tier = receipt.energy.as_ref().map_or("", |energy| energy.tier.letter());
        let kind = (receipt.model.clone(), day(receipt.started_at), tier.to_owned());
        for (party, share) in of {
            let party = self.parties.entry(party).or_default();
            party.receipts.push(counted.leaf, |_, _| ());
            party.lines.entry(kind.clone()).or_insert_with(|| empty(&kind)).add(receipt, share);
        }
    }

    /// Counts money that came or went otherwise, in the order of time.
    pub fn move_money(&mut self, party: &str, movement: Movement) {
        self.parties.entry(party.to_owned()).or_default().movements.push(movement);
    }

    /// The statements, by party.
    pub fn end(self) -> Vec<Statement> {
        let epoch = self.epoch;
        let statement = |(party, of): (String, Party)| {
            let lines: Vec<Line> = of.lines.into_values().collect();
            let shares: i64 = lines.iter().map(|line| line.share.to_bigint()).sum();
            let moved: i64 = of.movements.iter().map(|movement| movement.nanocredits).sum();
            let head = of.receipts.head();
            Statement {
                v: VERSION,
                epoch,
                party,
                opening: of.opening,
                lines,
                movements: of.movements,
                closing: of.opening + shares + moved,
                receipts: head.size,
                root: head.root.to_hex(),
            }
        };
        self.parties.into_iter().map(statement).collect()
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

    fn close(receipts: &[Receipt], opening: &[(&str, i64)], movements: &[(&str, i64)]) -> Vec<Statement> {
        let opening = opening.iter().map(|(party, owed)| ((*party).to_owned(), *owed));
        let mut closing = Closing::begin(epoch(), opening);
        for (at, receipt) in receipts.iter().enumerate() {
            let operator = ["operator:a", "operator:b"][at % 2];
            closing.count(&Counted { leaf: Hash::leaf(&at.to_be_bytes()), operator, receipt });
        }
        for (party, nanocredits) in movements {
            let movement = Movement {
                at: Microseconds::new(1),
                kind: "payout".to_owned(),
                nanocredits: *nanocredits,
                reason: None,
            };
            closing.move_money(party, movement);
        }
        closing.end()
    }

    #[test]
    fn a_payout_leaves_what_was_owed_and_the_next_epoch_goes_on_from_there() {
        let receipts = [receipt(1_000, 7), receipt(500, 0)];
        let statements = close(&receipts, &[("operator:a", 70), ("author:Gone", 5)], &[("operator:a", -60)]);
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
        let [good, ..] =
            close(&[receipt(1_000, 0)], &[], &[]).try_into().unwrap_or_else(|all: Vec<Statement>| [all[0].clone()]);
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

    proptest! {
        #[test]
        fn every_nanocredit_of_income_is_somebody_s_and_the_same_receipts_make_the_same_statements(
            given in prop::collection::vec((0_u64..1_000_000, 0_u64..20), 0..30)) {
            let receipts: Vec<Receipt> = given.iter().map(|(cost, day)| receipt(*cost, *day)).collect();
            let statements = close(&receipts, &[], &[]);
            prop_assert_eq!(&statements, &close(&receipts, &[], &[]));
            let income: u64 = receipts.iter().map(|receipt| receipt.nanocredits.get()).sum();
            let closing: i64 = statements.iter().map(|statement| statement.closing).sum();
            prop_assert_eq!(u64::try_from(closing).unwrap(), income);
            for statement in &statements {
                prop_assert_eq!(statement.check(), Ok(()));
            }
            let operators = statements.iter().filter(|statement| statement.party.starts_with("operator:"));
            let joules: u64 = operators.flat_map(|operator| &operator.lines).map(|line| line.microjoules.get()).sum();
            let taken: u64 = receipts.iter().filter_map(|receipt| receipt.energy.as_ref()).map(|energy| energy.microjoules.get()).sum();
            prop_assert_eq!(joules, taken, "every joule once");
        }
    }
}
