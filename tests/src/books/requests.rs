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
        if row.outcome == "completed" && !seen.is_some_and(|seen| seen.done) && computed(row, facts) {
            undelivered += 1;
            continue;
        }
        let complaint = cost(row, price).or_else(|| delivered(row, seen, facts));
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
