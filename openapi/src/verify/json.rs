//! The verifier for a caller that speaks JSON, such as a page in a browser.

use serde::{Deserialize, Serialize};

use super::{Evidence, Input, Unreadable, Verdict};

/// A question: every file as text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    receipt: String,
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

/// Answers a question about a receipt.
pub fn answer(question: &[u8]) -> String {
    match serde_json::from_slice(question) {
        Ok(question) => written(verify(&question)),
        Err(error) => write(&Answer::Unreadable { input: None, why: format!("the question is no question: {error}") }),
    }
}

/// What was found, as JSON.
pub fn written(found: Result<Verdict, Unreadable>) -> String {
    write(&match found {
        Ok(verdict) => Answer::Verdict(verdict),
        Err(Unreadable { input, why }) => Answer::Unreadable { input: Some(input), why },
    })
}

fn write(answer: &Answer) -> String {
    // Names and texts alone, which can always be written.
    serde_json::to_string(answer).unwrap_or_default()
}

fn verify(question: &Question) -> Result<Verdict, Unreadable> {
    fn bytes(text: &Option<String>) -> Option<&[u8]> {
        text.as_deref().map(str::as_bytes)
    }
    let evidence = Evidence {
        receipt: question.receipt.as_bytes(),
        keys: bytes(&question.keys),
        policy: bytes(&question.policy),
        proof: bytes(&question.proof),
        request: bytes(&question.request),
        answer: bytes(&question.answer),
    };
    super::receipt(&evidence)
}
