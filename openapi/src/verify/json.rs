//! The verifier for a caller that speaks JSON, such as a page in a browser.

use serde::{Deserialize, Serialize};

use super::statement::{self, StatementEvidence};
use super::{Evidence, Input, Unreadable, Verdict};

/// A question: every file as text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// Either this or a statement.
    receipt: Option<String>,
    statement: Option<String>,
    /// The statement's.
    receipts: Option<String>,
    keys: Option<String>,
    policy: Option<String>,
    proof: Option<String>,
    request: Option<String>,
    answer: Option<String>,
}

/// What is answered: one of the two.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Verdict(Verdict),
    Unreadable { input: Option<Input>, why: String },
}

const NOT_ONE: &str = "it has neither a receipt nor a statement, or both";

/// Answers a question about a receipt or a statement.
pub fn answer(question: &[u8]) -> String {
    match serde_json::from_slice(question) {
        Ok(question) => verify(&question).map_or_else(|| no_question(&NOT_ONE), written),
        Err(error) => no_question(&error),
    }
}

/// What was found, as JSON.
pub fn written(found: Result<Verdict, Unreadable>) -> String {
    write(&match found {
        Ok(verdict) => Answer::Verdict(verdict),
        Err(Unreadable { input, why }) => Answer::Unreadable { input: Some(input), why },
    })
}

fn no_question(why: &impl std::fmt::Display) -> String {
    write(&Answer::Unreadable { input: None, why: format!("the question is no question: {why}") })
}

fn write(answer: &Answer) -> String {
    // Names and texts alone, which can always be written.
    serde_json::to_string(answer).unwrap_or_default()
}

/// None where it is not about one thing.
fn verify(question: &Question) -> Option<Result<Verdict, Unreadable>> {
    fn bytes(text: &Option<String>) -> Option<&[u8]> {
        text.as_deref().map(str::as_bytes)
    }
    let [keys, policy, proof] = [&question.keys, &question.policy, &question.proof].map(bytes);
    match (bytes(&question.receipt), bytes(&question.statement)) {
        (Some(receipt), None) => {
            let (request, answer) = (bytes(&question.request), bytes(&question.answer));
            Some(super::receipt(&Evidence { receipt, keys, policy, proof, request, answer }))
        }
        (None, Some(statement)) => {
            let receipts = bytes(&question.receipts);
            Some(statement::statement(&StatementEvidence { statement, proof, policy, receipts, keys }))
        }
        _ => None,
    }
}
