//! A party's statement.

use super::book::{Book, Changes, more};
use super::*;
use crate::statement::Statement;
use crate::verify::statement::{StatementEvidence, statement};

const A: &str = "operator:a";

/// A statement with all that proves it.
struct Good {
    book: Book,
    document: String,
    proof: String,
    receipts: String,
    keys: String,
    policy: String,
}

impl Good {
    fn of(party: &str, is_theirs: fn(&Receipt) -> bool) -> Self {
        let book = Book::new(30, 0, &Changes::default());
        let document = book.statement(party).to_document();
        let (proof, receipts) = (book.proof(&document), book.receipts(is_theirs));
        Self { book, document, proof, receipts, keys: keys(), policy: policy() }
    }

    fn evidence(&self) -> StatementEvidence<'_> {
        StatementEvidence {
            statement: self.document.as_bytes(),
            proof: Some(self.proof.as_bytes()),
            policy: Some(self.policy.as_bytes()),
            receipts: Some(self.receipts.as_bytes()),
            keys: Some(self.keys.as_bytes()),
        }
    }
}

fn of_a() -> Good {
    Good::of(A, |receipt| receipt.alone.is_none())
}

#[test]
fn a_statement_with_everything_at_hand_holds() {
    for good in [of_a(), Good::of("author:HuggingFaceTB", |_| true), Good::of("audit_fund", |_| true)] {
        let verdict = statement(&good.evidence()).unwrap();
        assert!(verdict.holds && verdict.findings.iter().all(|finding| finding.holds == Some(true)), "{verdict:#?}");
        let ended = format!("{}\n", good.document);
        assert!(statement(&StatementEvidence { statement: ended.as_bytes(), ..good.evidence() }).unwrap().holds);
    }
    let verdict = statement(&of_a().evidence()).unwrap();
    assert_eq!(verdict.summary, "8 hold, 0 do not: this statement holds (operator:a, epoch 2).");
    assert!(says(&verdict, What::Sums).contains("by 20 receipts − 3000 moved otherwise"), "{verdict:#?}");
}

#[test]
fn the_gateway_s_shares_are_not_told_by_receipts_alone() {
    let good = Good::of("gateway", |_| true);
    let verdict = statement(&good.evidence()).unwrap();
    assert!(verdict.holds && holds(&verdict, What::Lines) == Some(true), "no node was its own: {verdict:#?}");
    let mut own = good.book.statement("gateway").clone();
    own.lines[0].share += Nanocredits::new(5);
    own.closing += 5;
    let document = own.to_document();
    let evidence = StatementEvidence { statement: document.as_bytes(), proof: None, ..good.evidence() };
    assert_eq!(holds(&statement(&evidence).unwrap(), What::Lines), None);
}

#[test]
fn a_statement_alone_is_not_proven_and_says_where_its_proof_is() {
    let good = of_a();
    let alone = StatementEvidence { statement: good.document.as_bytes(), ..StatementEvidence::default() };
    let verdict = statement(&alone).unwrap();
    assert!(!verdict.holds && failing(&verdict).is_empty(), "{verdict:#?}");
    let asked = statement(&StatementEvidence { policy: Some(good.policy.as_bytes()), ..alone }).unwrap();
    assert_eq!(failing(&asked), [What::Log]);
    assert!(says(&asked, What::Log).contains("The gateway has it at /log/proof/"), "{asked:#?}");
}

#[test]
fn whatever_a_statement_says_otherwise_is_named() {
    let good = of_a();
    type Change = fn(&mut Statement);
    let cases: [(Change, &[What]); 6] = [
        (|statement| statement.closing += 1, &[What::Sums, What::Log]),
        (|statement| statement.receipts += 1, &[What::Sums, What::Log, What::Receipts]),
        (|statement| statement.root = "00".repeat(32), &[What::Log, What::Receipts]),
        (|statement| statement.lines[0].prompt_tokens += 1, &[What::Log, What::Lines]),
        (|statement| more(&mut statement.lines[0].income), &[What::Log, What::Lines]),
        (|statement| statement.v = 2, &[What::Statement, What::Sums, What::Log]),
    ];
    for (change, what) in cases {
        let mut changed = good.book.statement(A).clone();
        change(&mut changed);
        let document = changed.to_document();
        let verdict = statement(&StatementEvidence { statement: document.as_bytes(), ..good.evidence() }).unwrap();
        assert_eq!(failing(&verdict), what, "{verdict:#?}");
    }
}

#[test]
fn receipts_that_are_others_are_named() {
    let good = of_a();
    let lines: Vec<&str> = good.receipts.lines().collect();
    let verdict = |receipts: &[&str]| {
        let receipts = receipts.join("\n");
        statement(&StatementEvidence { receipts: Some(receipts.as_bytes()), ..good.evidence() }).unwrap()
    };
    assert_eq!(failing(&verdict(&lines[1..])), [What::Receipts, What::Lines]);
    let turned: Vec<&str> = lines.iter().rev().copied().collect();
    assert_eq!(failing(&verdict(&turned)), [What::Receipts]);
    assert_eq!(failing(&verdict(&[])), [What::Receipts, What::Lines]);
    let stranger = signer(5).sign(&paid()).unwrap();
    assert!(failing(&verdict(&[&lines[..], &[&stranger]].concat())).contains(&What::Signature));
    let wrong = sign(&Receipt { nanocredits: Nanocredits::new(1), ..paid() });
    let found = verdict(&[&lines[..], &[&wrong]].concat());
    assert!(
        failing(&found).contains(&What::Cost) && says(&found, What::Cost).starts_with("Line 21, receipt"),
        "{found:#?}"
    );
}

#[test]
fn what_is_no_statement_is_refused() {
    let good = of_a();
    let pretty = serde_json::to_string_pretty(good.book.statement(A)).unwrap();
    let more = good.document.replacen('{', "{\"more\":1,", 1);
    for (document, why) in
        [("", "EOF"), (pretty.as_str(), "another way"), (&more, "unknown field"), ("{}", "missing field")]
    {
        let refused = statement(&StatementEvidence { statement: document.as_bytes(), ..good.evidence() }).unwrap_err();
        assert!(refused.input == Input::Statement && refused.why.contains(why), "{refused}");
    }
    let receipts = format!("{}\nx", good.receipts.trim_end());
    let refused = statement(&StatementEvidence { receipts: Some(receipts.as_bytes()), ..good.evidence() }).unwrap_err();
    assert!(refused.to_string().starts_with("the receipts: line 21: it is not three parts"), "{refused}");
}

#[test]
fn a_caller_that_speaks_json_gets_the_same_of_a_statement() {
    let good = of_a();
    let question = serde_json::json!({
        "statement": good.document, "receipts": good.receipts, "keys": good.keys, "policy": good.policy, "proof": good.proof,
    });
    let answer: serde_json::Value = serde_json::from_str(&json::answer(question.to_string().as_bytes())).unwrap();
    assert_eq!(answer["verdict"]["statement"], "operator:a, epoch 2", "{answer}");
    assert_eq!(answer["verdict"]["holds"], true, "{answer}");
    let both = json::answer(br#"{"receipt": "a.b", "statement": "{}"}"#);
    assert!(both.starts_with(r#"{"unreadable":{"input":null"#), "{both}");
}

#[test]
fn no_byte_of_a_statement_may_change() {
    let good = of_a();
    let document = good.document.as_bytes();
    for at in 0..document.len() {
        let mut flipped = document.to_vec();
        flipped[at] ^= 1 << (at % 8);
        let evidence = StatementEvidence { statement: &flipped, receipts: None, ..good.evidence() };
        assert!(!statement(&evidence).is_ok_and(|verdict| verdict.holds), "byte {at}");
    }
}
