//! Whether a request and an answer are those that the receipt is of.

use super::{Finding, What};
use crate::receipt::Receipt;
use crate::receipt::commitment::{Commitment, Salt};
use crate::sse::{Event, Scanner};

const NO_SALT: &str = "The receipt came without its salt, which only the customer gets: this can't be shown.";

/// What the customer has kept.
pub(super) struct Given<'a> {
    pub(super) salt: Option<Salt>,
    pub(super) request: Option<&'a [u8]>,
    pub(super) answer: Option<&'a [u8]>,
}

pub(super) fn findings(claims: &Receipt, given: &Given<'_>) -> [Finding; 2] {
    let request = match (given.request, given.salt) {
        (None, _) => Finding::unchecked(What::Request, "Not checked: no request was given."),
        (Some(_), None) => Finding::fails(What::Request, NO_SALT),
        (Some(request), Some(salt)) => is_request(claims, salt, request),
    };
    let answer = match (given.answer, given.salt, claims.answer_commitment) {
        (None, ..) => Finding::unchecked(What::Answer, "Not checked: no answer was given."),
        (Some(_), None, _) => Finding::fails(What::Answer, NO_SALT),
        (Some(_), Some(_), None) => {
            Finding::fails(What::Answer, "By the receipt nothing of an answer reached the client in this attempt.")
        }
        (Some(answer), Some(salt), Some(commitment)) => is_answer(salt, answer, commitment),
    };
    [request, answer]
}

fn is_request(claims: &Receipt, salt: Salt, request: &[u8]) -> Finding {
    if salt.request(request) == claims.request_commitment {
        Finding::holds(
            What::Request,
            format!("The request of {} bytes is the one that this is the receipt of.", request.len()),
        )
    } else {
        let says = "This is not the request that the node got. It has to be the same, byte for byte, as it was sent.";
        Finding::fails(What::Request, says)
    }
}

fn is_answer(salt: Salt, answer: &[u8], commitment: Commitment) -> Finding {
    let whole = || [answer, without_end(answer)].into_iter().any(|body| salt.whole_answer(body) == commitment);
    if whole() {
        return Finding::holds(What::Answer, "The answer is the one that this is the receipt of.");
    }
    let parts = parts(answer);
    let is_part = |part: &&Vec<Event>| {
        let events = |count: usize| part.iter().take(count).map(|event| event.raw.as_slice());
        // An error at the end of a stream is the gateway's.
        (part.len().saturating_sub(1)..=part.len()).any(|count| committed(salt, events(count)) == commitment)
    };
    let of = parts.len();
    match parts.iter().position(|part| is_part(&part)) {
        Some(_) if of == 1 => Finding::holds(What::Answer, "The answer is the one that this is the receipt of."),
        Some(at) => {
            let says = format!("Part {} of {of} of this stream is what the attempt delivered.", at + 1);
            Finding::holds(What::Answer, says)
        }
        None => Finding::fails(What::Answer, "This is not the answer that the receipt is of, or it has been changed."),
    }
}

/// The events of each attempt whose answer is in a stream: where another node has gone on, the gateway says so in a comment.
fn parts(answer: &[u8]) -> Vec<Vec<Event>> {
    // Nothing in it is longer than all of it, so neither call can fail.
    let mut scanner = Scanner::new(usize::MAX);
    let mut events = scanner.push(answer).unwrap_or_default();
    if !scanner.is_empty() {
        events.extend(scanner.push(b"\n\n").unwrap_or_default());
    }
    let mut parts = vec![Vec::new()];
    for event in events {
        if event.raw.starts_with(NEXT_NODE) {
            parts.push(Vec::new());
        } else if event.is_of_answer()
            && let Some(part) = parts.last_mut()
        {
            part.push(event);
        }
    }
    parts
}

/// What a stream says where its node was lost.
const NEXT_NODE: &[u8] = b": the node was lost";

fn committed<'a>(salt: Salt, events: impl Iterator<Item = &'a [u8]>) -> Commitment {
    let mut committing = salt.answer();
    events.for_each(|event| committing.push(event));
    committing.end()
}

/// What editors and pasting add behind the last byte.
fn without_end(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_end()
}
