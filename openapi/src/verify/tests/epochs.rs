//! An epoch as a whole.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::book::{Book, Changes, SECOND, more, payout, receipt, share};
use super::*;
use crate::log::policy::Policy;
use crate::verify::epoch::{Auditor, Sample};

/// What is found when a log's entries and documents are these.
fn audit_of(
    book: &Book,
    entries: impl IntoIterator<Item = (Vec<u8>, Option<String>)>,
    sample: Option<Sample>,
) -> Verdict {
    let mut auditor = Auditor::begin(&book.epochs[1].to_document(), None, sample).unwrap();
    for (entry, document) in entries {
        auditor.take(&entry, document.as_deref());
    }
    auditor.end(&book.checkpoint(), &Policy::read(policy().as_bytes()).unwrap())
}

fn entries(book: &Book) -> Vec<(Vec<u8>, Option<String>)> {
    book.entries.iter().map(|(entry, document)| (entry.to_string().into_bytes(), Some(document.clone()))).collect()
}

fn audit(book: &Book) -> Verdict {
    audit_of(book, entries(book), None)
}

#[test]
fn an_epoch_of_hundreds_of_receipts_holds() {
    let book = Book::new(300, 20, &Changes::default());
    let verdict = audit(&book);
    assert!(verdict.holds && verdict.findings.iter().all(|finding| finding.holds == Some(true)), "{verdict:#?}");
    assert_eq!((verdict.epoch, verdict.summary.as_str()), (Some(2), "13 hold, 0 do not: this epoch holds."));
    let totals = says(&verdict, What::Totals);
    assert!(totals.starts_with("300 receipts, 100 of them signed by the gateway alone;"), "{totals}");
    assert!(totals.contains("0.000003 paid out"), "{totals}");
}

#[test]
fn the_first_epoch_holds_too_and_what_was_owed_before_it_is_said() {
    for (owed_before, said) in [(&[][..], Some(true)), (&[("operator:a", 70), ("author:Gone", 5)], None)] {
        let book = Book::new(30, 0, &Changes { owed_before, ..Changes::default() });
        let mut auditor = Auditor::begin(&book.epochs[0].to_document(), Some(keys().as_bytes()), None).unwrap();
        entries(&book).iter().for_each(|(entry, document)| auditor.take(entry, document.as_deref()));
        let verdict = auditor.end(&book.checkpoint(), &Policy::read(policy().as_bytes()).unwrap());
        assert!(verdict.holds && holds(&verdict, What::Openings) == said, "{verdict:#?}");
        let says = says(&verdict, What::Openings);
        assert!(said.is_some() || says.contains("2 parties were owed 75 nanocredits before"), "{says}");
        assert!(audit(&book).holds, "the second goes on from there");
    }
}

/// What is otherwise, what doesn't hold then, and words that are said.
type Case = (Changes, &'static [What], &'static str);

/// In what is logged.
fn logged_otherwise() -> Vec<Case> {
    let changes = Changes::default();
    vec![
        (Changes { logged: |logged| more(&mut logged[5].nanocredits), ..changes }, &[What::Receipts], "the cost is"),
        (
            Changes { logged: |logged| logged.push(logged[2].clone()), ..changes },
            &[What::Receipts],
            "is in the epoch twice",
        ),
        (Changes { split_late: true, ..changes }, &[What::Splits], "its split, 2, was not logged before it"),
        (
            Changes { logged: |logged| share(&mut logged[99], 1), ..changes },
            &[What::Splits],
            "it is shared by split 1, and split 2 was in force",
        ),
        (
            Changes { logged: |logged| logged[1].price_version = Some(9), ..changes },
            &[What::Prices],
            "version 9, was not logged before it",
        ),
        (
            Changes {
                logged: |logged| {
                    // A server that signs nothing can be said to have charged anything.
                    let receipt = &mut logged[1];
                    more(&mut receipt.price.prompt);
                    receipt.nanocredits += Nanocredits::new(receipt.prompt_tokens - receipt.cached_tokens);
                    share(receipt, 1);
                },
                ..changes
            },
            &[What::Prices],
            "its price is 101,25,400 nanocredits per token, and price 4 is logged as 100,25,400",
        ),
    ]
}

/// In statements.
fn stated_otherwise() -> Vec<Case> {
    let changes = Changes::default();
    vec![
        (
            Changes { stated: |stated| drop(stated.remove(7)), ..changes },
            &[What::Statements, What::Totals],
            "29 receipts, and the log has 30",
        ),
        (
            Changes { stated: |stated| stated.push(receipt(SECOND, 77)), ..changes },
            &[What::Statements, What::Totals],
            "31 receipts, and the log has 30",
        ),
        (Changes { stated: |stated| stated.swap(3, 4), ..changes }, &[What::Statements], "the root of its receipts is"),
        (
            Changes { statements: |statements| more(&mut statements[0].lines[0].share), ..changes },
            &[What::Statements],
            "nanocredits of share, and the receipts come to",
        ),
        (
            Changes { statements: |statements| statements[0].lines[0].microjoules = Microjoules::new(1), ..changes },
            &[What::Statements],
            "says 1 microjoules, and the receipts come to",
        ),
        (
            Changes {
                statements: |statements| {
                    statements[0].opening += 1;
                    statements[0].closing += 1;
                },
                ..changes
            },
            &[What::Openings, What::Statements],
            "and the one before closed with",
        ),
        (
            Changes { movements: |movements| movements.push(payout("operator:a", 3_000)), ..changes },
            &[What::Movements],
            "is stated twice",
        ),
    ]
}

/// In the epoch's document.
fn closed_otherwise() -> Vec<Case> {
    let changes = Changes::default();
    vec![
        (
            Changes { epoch: |epoch| epoch.totals.microjoules = Microjoules::new(1), ..changes },
            &[What::Totals],
            "It says 1 microjoules, and the receipts come to",
        ),
        (
            Changes { epoch: |epoch| epoch.totals.paid_out = Nanocredits::ZERO, ..changes },
            &[What::Totals],
            "It says 0 nanocredits paid out, and the receipts come to 3000",
        ),
        (
            Changes { epoch: |epoch| epoch.root = "00".repeat(32), ..changes },
            &[What::Log],
            "The epoch states the root 00",
        ),
        (
            Changes { epoch: |epoch| epoch.nodes.retain(|_, account| account != "operator:b"), ..changes },
            &[What::Nodes],
            "doesn't say who operates node",
        ),
        (
            Changes { epoch: |epoch| drop(epoch.statements.remove("gateway")), ..changes },
            &[What::Openings, What::Statements],
            "and they have no statement",
        ),
        (
            Changes { epoch: |epoch| epoch.epoch.first_index += 1, ..changes },
            &[What::Epoch, What::Openings, What::Statements, What::Totals],
            "It begins with entry",
        ),
    ]
}

#[test]
fn whatever_is_otherwise_is_found_and_named() {
    for (changes, what, words) in [logged_otherwise(), stated_otherwise(), closed_otherwise()].concat() {
        // By then the second split is in force.
        let receipts = if what.contains(&What::Splits) { 100 } else { 30 };
        let verdict = audit(&Book::new(receipts, 0, &changes));
        assert_eq!((failing(&verdict).as_slice(), verdict.holds), (what, false), "{words}: {verdict:#?}");
        assert!(verdict.findings.iter().any(|finding| finding.says.contains(words)), "{words}: {verdict:#?}");
    }
}

#[test]
fn an_entry_with_another_document_and_one_without_are_named() {
    let book = Book::new(30, 0, &Changes::default());
    let of = usize::try_from(book.epochs[1].epoch.first_index).unwrap() + 20;
    let mut other = entries(&book);
    other[of].1 = other[of + 1].1.clone();
    let verdict = audit_of(&book, other, None);
    assert_eq!(failing(&verdict), [What::Documents], "{verdict:#?}");
    assert!(says(&verdict, What::Documents).contains(&format!("ntry {of}: it is receipt sha256:")), "{verdict:#?}");
    let mut gone = entries(&book);
    gone[of].1 = None;
    let verdict = audit_of(&book, gone, None);
    assert!(!verdict.holds && failing(&verdict).is_empty(), "{verdict:#?}");
    assert!(verdict.summary.ends_with("so it is not proven."), "{}", verdict.summary);
    assert!(says(&verdict, What::Documents).starts_with("1 of 30 receipts are not published"), "{verdict:#?}");
}

#[test]
fn another_tree_another_log_and_another_epoch_are_named() {
    let book = Book::new(30, 0, &Changes::default());
    let mut cut = entries(&book);
    cut.pop();
    assert_eq!(failing(&audit_of(&book, cut, None)), [What::Log]);
    let stranger = Book::new(31, 0, &Changes::default());
    let mut auditor = Auditor::begin(&stranger.epochs[1].to_document(), None, None).unwrap();
    entries(&book).iter().for_each(|(entry, document)| auditor.take(entry, document.as_deref()));
    let verdict = auditor.end(&book.checkpoint(), &Policy::read(policy().as_bytes()).unwrap());
    assert!(failing(&verdict).contains(&What::Epoch), "{verdict:#?}");
    assert!(says(&verdict, What::Epoch).contains("the log has another epoch 2"), "{verdict:#?}");
    let unknown = policy().replace(making::ORIGIN, "log.example");
    let mut auditor = Auditor::begin(&book.epochs[1].to_document(), None, None).unwrap();
    entries(&book).iter().for_each(|(entry, document)| auditor.take(entry, document.as_deref()));
    let none = Policy::read(unknown.as_bytes());
    let verdict = none.map(|none| auditor.end(&book.checkpoint(), &none));
    assert!(verdict.is_err() || verdict.is_ok_and(|verdict| failing(&verdict) == [What::Witnesses]));
    let pretty = serde_json::to_string_pretty(&book.epochs[1]).unwrap();
    assert!(Auditor::begin(&pretty, None, None).unwrap_err().why.contains("another way"));
}

#[test]
fn a_sample_says_what_it_is_worth_and_finds_what_is_in_it() {
    let book = Book::new(90, 0, &Changes::default());
    let sample = |one_in| Sample::new(one_in, "seed");
    let verdict = audit_of(&book, entries(&book), sample(3));
    assert!(verdict.holds && failing(&verdict).is_empty(), "{verdict:#?}");
    assert!(verdict.summary.ends_with("what was looked at of this epoch holds."), "{}", verdict.summary);
    assert_eq!([What::Totals, What::Statements].map(|what| holds(&verdict, what)), [None, None]);
    assert!(
        says(&verdict, What::Sample).contains("of 90 receipts were read, one in 3 by the seed 'seed'"),
        "{verdict:#?}"
    );
    let changes = Changes::default();
    let overcharged =
        Changes { logged: |logged| logged.iter_mut().for_each(|one| more(&mut one.nanocredits)), ..changes };
    let book = Book::new(90, 0, &overcharged);
    assert_eq!(failing(&audit_of(&book, entries(&book), sample(3))), [What::Receipts]);
    let total = Changes { epoch: |epoch| epoch.totals.completion_tokens += 1, ..changes };
    let book = Book::new(90, 0, &total);
    assert_eq!(failing(&audit_of(&book, entries(&book), sample(1_000_000))), [What::Totals]);
    let left_out = Changes { stated: |stated| drop(stated.remove(7)), ..changes };
    let book = Book::new(90, 0, &left_out);
    assert_eq!(failing(&audit_of(&book, entries(&book), sample(50))), [What::Statements, What::Totals]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_byte_of_any_document_or_entry_may_change(at: prop::sample::Index, byte: prop::sample::Index, bit in 0_u8..7, entry: bool) {
        static BOOK: LazyLock<Book> = LazyLock::new(|| Book::new(12, 0, &Changes::default()));
        let book = &*BOOK;
        let mut changed = entries(book);
        // The last entry is none that the epoch is made of.
        let at = at.index(changed.len() - 1);
        let (bytes, document) = &mut changed[at];
        let is_verdict = book.entries[at].0.kind == crate::log::entry::Kind::Verdict;
        prop_assume!(!is_verdict);
        if entry {
            let byte = byte.index(bytes.len());
            bytes[byte] ^= 1 << bit;
        } else {
            let mut flipped = document.take().unwrap().into_bytes();
            let byte = byte.index(flipped.len());
            flipped[byte] ^= 1 << bit;
            *document = Some(String::from_utf8_lossy(&flipped).into_owned());
        }
        // Statements of the epoch before count only as openings, and its receipts not at all.
        let is_of_epoch = at as u64 >= book.epochs[1].epoch.first_index;
        let is_read = is_of_epoch || book.entries[at].0.kind != crate::log::entry::Kind::Receipt;
        let verdict = audit_of(book, changed, None);
        prop_assert_eq!(verdict.holds, !(entry || is_read), "entry {}: {:#?}", at, verdict);
    }
}
