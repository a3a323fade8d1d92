//! Every target over its corpus and some ten thousand mutations of it, in a few seconds.

#![expect(clippy::unwrap_used, reason = "a target that is not there fails its test")]

use std::path::Path;

use fuzz::{jws, replay, target};
use gateway::nodes::greeting;

fn smoke(name: &str, mutations: usize) {
    replay::replay(name, mutations, target(name).unwrap());
}

#[test]
fn admissions_in_the_journal_are_read_as_they_were_written() {
    smoke("admission", 10_000);
}

#[test]
fn nobody_enrols_with_a_key_that_has_not_signed() {
    smoke("enrolment", 10_000);
}

#[test]
fn figures_follow_from_what_a_node_claims() {
    smoke("figures", 10_000);
}

#[test]
fn what_a_node_says_of_its_answer_fits_the_books() {
    smoke("frame", 10_000);
}

/// What is never accepted would never be looked at.
#[test]
fn a_greeting_that_is_signed_is_accepted() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/greeting");
    let word = std::fs::read_to_string(corpus.join("signed")).unwrap();
    let (head, claims) = word.split_once('\n').unwrap();
    let signed = jws::signed(head.as_bytes(), claims.as_bytes());
    assert!(greeting::proven(&signed, jws::public_key()).is_some_and(|greeting| greeting.iat == 1_800_000_000));
}

#[test]
fn a_greeting_is_the_node_s_own() {
    smoke("greeting", 10_000);
}

#[test]
fn a_damaged_journal_yields_nothing_that_was_not_written() {
    smoke("journal", 200);
}

#[test]
fn a_key_is_changed_by_both_keys() {
    smoke("key_change", 10_000);
}

#[test]
fn an_offer_is_read_as_it_was_meant() {
    smoke("offer", 10_000);
}

#[test]
fn a_receipt_is_what_was_signed_or_none() {
    smoke("receipt", 10_000);
}

#[test]
fn a_report_is_the_node_s_own() {
    smoke("report", 10_000);
}

#[test]
fn a_body_is_read_or_refused_with_a_sentence() {
    smoke("request", 10_000);
}

#[test]
fn a_stream_is_relayed_as_it_came_however_it_was_cut() {
    smoke("sse", 10_000);
}

#[test]
fn a_trace_is_written_as_it_was_read() {
    smoke("trace", 10_000);
}

#[test]
fn a_url_has_one_host() {
    smoke("url", 10_000);
}

#[test]
fn no_report_confuses_the_judge() {
    smoke("windows", 10_000);
}
