//! Every request has one row, and the row says what was delivered.

use std::collections::{HashMap, HashSet};

use openapi::price::{BilledTokens, Price};
use uuid::Uuid;

use super::Row;
use crate::Database;
use crate::load::Seen;
use crate::mock::Fact;

const BY_ID: &str =
    "select r.id, r.outcome, r.status, r.prompt_tokens, r.cached_tokens, r.completion_tokens, r.nanocredits,
        count(a.request_id) as attempts, coalesce(sum(a.overclaimed_tokens), 0)::bigint as overclaimed_tokens
    from requests r left join attempts a on a.request_id = r.id group by r.id order by r.id";

/// Outcomes that nobody pays for, whatever the client got.
const FREE: [&str; 4] = ["gateway_failed", "node_failed", "no_node", "refused"];

#[expect(clippy::disallowed_methods, reason = "what a test asks the database is asked nowhere else")]
pub(super) async fn read(database: &Database) -> Vec<Row> {
    sqlx::query_as(BY_ID).fetch_all(&database.pool).await.expect("the rows")
}

/// Says what does not fit, and how many answers were settled whole and did not reach their client to the end. Each id
/// stands once: it is the table's key.
pub(super) fn compare(rows: &[Row], seen: &[Seen], facts: &[Fact], price: Price) -> (Vec<String>, u64) {
    let by_client: HashMap<Uuid, &Seen> = seen.iter().filter_map(|seen| Some((seen.request?, seen))).collect();
    let mut by_node: HashMap<Uuid, Vec<&Fact>> = HashMap::new();
    for fact in facts {
        by_node.entry(fact.request).or_default().push(fact);
    }
    let mut wrong: Vec<String> = missing(rows, seen, facts);
    let mut undelivered = 0;
    for row in rows {
        let (seen, facts) = (by_client.get(&row.id).copied(), by_node.get(&row.id).map_or(&[][..], Vec::as_slice));
        let unfinished = row.outcome == "completed" && !seen.is_some_and(|seen| seen.done) && computed(row, facts);
        undelivered += u64::from(unfinished);
        let complaint = cost(row, price).or_else(|| delivered(row, seen, facts).filter(|_| !unfinished));
        wrong.extend(complaint.map(|complaint| format!("{complaint}: {row:?}; {}; {facts:?}", told(seen))));
    }
    (wrong, undelivered)
}

/// True when the row says what the node sent as a whole answer.
fn computed(row: &Row, facts: &[&Fact]) -> bool {
    let counts = (row.prompt_tokens, row.completion_tokens);
    facts.iter().any(|fact| fact.whole && counts == (fact.prompt_tokens.cast_signed(), fact.tokens.cast_signed()))
}

/// Requests that were answered or reached a node, and have no row.
fn missing(rows: &[Row], seen: &[Seen], facts: &[Fact]) -> Vec<String> {
    let written: HashSet<Uuid> = rows.iter().map(|row| row.id).collect();
    let answered = seen.iter().filter(|seen| !seen.refused()).filter_map(|seen| seen.request);
    let admitted: HashSet<Uuid> = answered.chain(facts.iter().map(|fact| fact.request)).collect();
    admitted.difference(&written).map(|id| format!("no row for {id}")).collect()
}

/// What was paid is tokens times price, and nothing for what nobody answers for.
fn cost(row: &Row, price: Price) -> Option<String> {
    let count = |tokens: i64| u64::try_from(tokens).expect("no negative counts");
    let tokens = BilledTokens {
        prompt: count(row.prompt_tokens),
        cached: count(row.cached_tokens),
        completion: count(row.completion_tokens),
    };
    if FREE.contains(&row.outcome.as_str()) {
        return (row.nanocredits != 0).then(|| "a failure is paid for".to_owned());
    }
    let cost = price.cost(&tokens).get();
    (row.nanocredits != cost.cast_signed()).then(|| format!("it costs {cost}"))
}

/// What the row says was delivered is what was delivered.
fn delivered(row: &Row, seen: Option<&Seen>, facts: &[&Fact]) -> Option<String> {
    let Some(seen) = seen else {
        // Its client never learned its id: it has received nothing.
        return (row.completion_tokens != 0 || row.nanocredits != 0).then(|| "paid for and never delivered".to_owned());
    };
    if seen.done {
        if FREE.contains(&row.outcome.as_str()) {
            return Some("delivered whole and given away".to_owned());
        }
        let whole = facts.iter().filter(|fact| fact.whole).max_by_key(|fact| fact.attempt);
        let Some(fact) = whole else { return Some("delivered and never computed".to_owned()) };
        let (row, node) =
            ((row.prompt_tokens, row.completion_tokens), (fact.prompt_tokens.cast_signed(), fact.tokens.cast_signed()));
        return (row != node || row.1 != seen.tokens.cast_signed()).then(|| "three different counts".to_owned());
    }
    if row.outcome == "gateway_failed" || seen.refused() {
        return (row.nanocredits != 0).then(|| "paid for and failed".to_owned());
    }
    (row.completion_tokens != seen.tokens.cast_signed()).then(|| "paid and delivered differ".to_owned())
}

fn told(seen: Option<&Seen>) -> String {
    let told = |seen: &Seen| {
        let Seen { status, code, tokens, done, left, .. } = seen;
        format!("seen: status {status}, code {code:?}, {tokens} tokens, done {done}, left {left}")
    };
    seen.map_or_else(|| "seen by nobody".to_owned(), told)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::LIST_PRICE;
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);
    const COST: i64 = 20 * 100 + 8 * 400;

    /// A request of 20 and 8 tokens that went well.
    fn right() -> (Row, Seen, Fact) {
        let row = Row {
            id: ID,
            outcome: "completed".to_owned(),
            status: 200,
            prompt_tokens: 20,
            cached_tokens: 0,
            completion_tokens: 8,
            nanocredits: COST,
            attempts: 1,
            overclaimed_tokens: 0,
        };
        let seen = Seen {
            request: Some(ID),
            status: 200,
            streamed: true,
            code: None,
            retry_after: None,
            tokens: 8,
            done: true,
            left: false,
            first_byte: None,
            total: Duration::ZERO,
            gaps: Vec::new(),
            body: Vec::new(),
        };
        let fact =
            Fact { request: ID, attempt: 1, prompt_tokens: 20, tokens: 8, whole: true, began_us: 0, ended_us: 1 };
        (row, seen, fact)
    }

    /// How many complaints there are when one thing is changed, and how many answers count as undelivered.
    fn found(change: impl FnOnce(&mut Row, &mut Seen, &mut Fact)) -> (usize, u64) {
        let (mut row, mut seen, mut fact) = right();
        change(&mut row, &mut seen, &mut fact);
        let (wrong, undelivered) = compare(&[row], &[seen], &[fact], LIST_PRICE);
        (wrong.len(), undelivered)
    }

    #[test]
    fn what_went_well_is_right() {
        assert_eq!(found(|_, _, _| {}), (0, 0));
    }

    #[test]
    fn each_wrong_figure_is_found() {
        assert_eq!(found(|row, _, _| row.nanocredits -= 1).0, 1, "a wrong cost");
        assert_eq!(found(|_, seen, _| seen.tokens = 7).0, 1, "a token that did not arrive");
        assert_eq!(found(|_, _, fact| fact.tokens = 9).0, 1, "a token that was not counted");
        assert_eq!(found(|_, _, fact| fact.prompt_tokens = 21).0, 1, "another prompt");
        assert_eq!(found(|_, _, fact| fact.whole = false).0, 1, "an end that nobody computed");
        let given_away = |row: &mut Row, _: &mut Seen, _: &mut Fact| {
            (row.outcome, row.nanocredits) = ("node_failed".to_owned(), 0);
        };
        assert_eq!(found(given_away).0, 1, "a whole answer for nothing");
        let paid_failure = |row: &mut Row, seen: &mut Seen, _: &mut Fact| {
            (row.outcome, seen.done) = ("gateway_failed".to_owned(), false);
        };
        assert_eq!(found(paid_failure).0, 1, "a failure that is paid for");
        let too_many = |row: &mut Row, seen: &mut Seen, _: &mut Fact| {
            (row.outcome, seen.done, seen.left, seen.tokens) = ("client_left".to_owned(), false, true, 7);
        };
        assert_eq!(found(too_many).0, 1, "who left pays for more than was received");
    }

    #[test]
    fn an_answer_whose_end_nobody_got_is_counted_and_its_cost_is_checked() {
        assert_eq!(found(|_, seen, _| seen.done = false), (0, 1));
        let dear = |row: &mut Row, seen: &mut Seen, _: &mut Fact| (row.nanocredits, seen.done) = (COST + 1, false);
        assert_eq!(found(dear), (1, 1));
    }

    #[test]
    fn what_has_no_row_is_missed() {
        let (_, seen, fact) = right();
        assert_eq!(compare(&[], &[seen], &[], LIST_PRICE).0.len(), 1, "answered");
        assert_eq!(compare(&[], &[], &[fact], LIST_PRICE).0.len(), 1, "computed");
    }
}
