//! Requests for which a second node is asked, on nodes that do what they are told. Once all is connected, time jumps.

use std::sync::Mutex;
use std::time::Duration;

use axum::body::Bytes;
use clap::Parser;
use openapi::chat::FinishReason;
use openapi::energy::{Boundary, Energy, Tier};
use openapi::frame::{USAGE_EVENT, UsageFrame, WAITING};
use openapi::price::{BilledTokens, Price};
use openapi::sse;
use openapi::units::Microjoules;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::attempts::{self, Failed};
use super::super::forward::Answer;
use super::super::record::RequestRecord;
use super::super::{Endpoint, Named, admit};
use super::*;
use crate::accounting::Accounting;
use crate::auth::key::{Fresh, NewKey, Scope, create};
use crate::auth::user::{self, NewUser};
use crate::auth::{self, Caller};
use crate::config::ServeConfig;
use crate::nodes::preference::Preference;
use crate::nodes::scripted::{Call, MODEL, Scripted};
use crate::secrets::Secrets;
use crate::serve::build;

const HEDGE: Duration = Duration::from_millis(800);
/// Far longer than a hedge takes, and no node is given up yet.
const LATER: Duration = Duration::from_secs(3);
const PROMPT: u64 = 9;
/// Of a stage.
const MOST_REQUESTS: usize = 8;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    config: ServeConfig,
}

/// A gateway without accounting, and its nodes.
struct Stage {
    app: App,
    callers: Mutex<Vec<Caller>>,
    nodes: Vec<Scripted>,
    _open: Vec<CancellationToken>,
}

async fn stage(database: &PgPool, count: u8) -> Stage {
    let data = std::env::temp_dir().join(format!("hedging-{}", Uuid::now_v7()));
    let folder = data.display().to_string();
    let line = ["gateway", "--database-url", "postgres://unused", "--data", &folder, "--metering", "off"];
    let config = Line::parse_from(line).config;
    let secrets = Arc::new(Secrets::derive(&[1; 32]).unwrap());
    let accounting = Accounting::open(&config, database, None).await.unwrap();
    let app = build(&config, secrets, database.clone(), &accounting, CancellationToken::new()).await.unwrap();
    accounting.close().await.unwrap();
    std::fs::remove_dir_all(data).unwrap();

    let new = NewUser { email: "a@example.com", name: "A", password_hash: "-", is_admin: false };
    let user = user::create(database, new).await.unwrap().unwrap();
    let account = user::find(database, user).await.unwrap().unwrap().account_id;
    let fresh = Fresh::draw(&app.secrets).unwrap();
    create(database, (account, user), NewKey::unlimited("test", Scope::Inference), &fresh).await.unwrap();
    let (mut nodes, mut open) = (Vec::new(), Vec::new());
    for number in 0..count {
        let (node, public_key) = (Scripted::new(), [number; 32]);
        sqlx::query!(
            "insert into nodes (id, account_id, name, public_key) values ($1, $2, 'n', $3)",
            node.id,
            account,
            public_key.as_slice()
        )
        .execute(database)
        .await
        .unwrap();
        app.prices.welcome(database, node.id, &Scripted::offer()).await.unwrap();
        let (way, broken) = node.dial().await;
        app.nodes.add(node.id, way);
        nodes.push(node);
        open.push(broken);
    }
    let (key, mut callers) = (fresh.into_text(), Vec::new());
    for _ in 0..MOST_REQUESTS {
        callers.push(Caller::within(&app, &key).await.unwrap());
    }
    // Nobody asks the database any more: its answers take real time.
    tokio::time::pause();
    Stage { app, callers: callers.into(), nodes, _open: open }
}

/// What came of a request.
type Came = (Result<Answer, Failed>, Box<Meter>);

/// A request under way.
struct Asking {
    task: JoinHandle<Came>,
    revoke: oneshot::Sender<()>,
}

impl Asking {
    async fn answer(self) -> (Answer, Box<Meter>) {
        let (answer, meter) = self.task.await.unwrap();
        (answer.ok().unwrap(), meter)
    }
}

impl Stage {
    async fn ask(&self, provider: Value) -> Asking {
        let body = json!({"model": MODEL, "messages": [], "stream": true, "max_tokens": 50, "provider": provider});
        let body = Bytes::from(body.to_string());
        let request = Arc::new(Request::read(Endpoint::ChatCompletions, body, &Preference::default()).unwrap());
        let caller = self.callers.lock().unwrap().pop().unwrap();
        let mut meter = admit(&self.app, caller, Named::of(Uuid::now_v7()), &request).await.ok().unwrap();
        let (app, (revoke, revoked)) = (self.app.clone(), oneshot::channel());
        let task = tokio::spawn(async move {
            let answer = tokio::select! {
                _ = revoked => Err((Outcome::KeyRevoked, auth::revoked())),
                answer = attempts::begin(&app, &mut meter, &request) => answer,
            };
            (answer, meter)
        });
        Asking { task, revoke }
    }

    /// The next node that is asked, and what for.
    async fn called(&self) -> (Uuid, Call) {
        let called = self.nodes.iter().map(|node| Box::pin(async { (node.id, node.called().await) }));
        select_all(called).await.0
    }

    /// True when nobody is asked for a long time.
    async fn is_quiet(&self) -> bool {
        tokio::time::timeout(LATER, self.called()).await.is_err()
    }

    /// A hedged request, and the two nodes that are asked for it.
    async fn hedged(&self) -> (Asking, (Uuid, Call), (Uuid, Call)) {
        let since = Instant::now();
        let asking = self.ask(json!({"hedge_after_ms": 800})).await;
        let first = self.called().await;
        assert!(since.elapsed() < HEDGE);
        let second = self.called().await;
        assert!((HEDGE..HEDGE * 2).contains(&since.elapsed()), "{:?}", since.elapsed());
        assert_ne!(first.0, second.0);
        (asking, first, second)
    }
}

fn frame(prompt_tokens: u64, token_ids: &[u32], so_far: u64, finish_reason: Option<FinishReason>) -> Bytes {
    let energy = Energy::exact(Microjoules::new(1000), (Tier::B, Boundary::NodeDc), "test/1");
    let token_ids = token_ids.to_vec();
    let frame = UsageFrame { prompt_tokens, completion_tokens: so_far, token_ids, choice: 0, energy, finish_reason };
    sse::named(USAGE_EVENT, &frame).unwrap().into()
}

fn piece(text: &str) -> Bytes {
    sse::data(&json!({"model": MODEL, "choices": [{"delta": {"content": text}}]})).unwrap().into()
}

/// A node answers with two tokens.
async fn answers(call: &Call) {
    let end = frame(PROMPT, &[6], 2, Some(FinishReason::Stop));
    for bytes in [frame(PROMPT, &[5], 1, None), piece("a"), end, piece("b"), "data: [DONE]\n\n".into()] {
        call.answer.send(bytes).await.unwrap();
    }
}

/// The client gets the answer: how it is recorded.
async fn delivered((mut answer, mut meter): (Answer, Box<Meter>)) -> RequestRecord {
    meter.deliver(&answer.first);
    loop {
        let event = answer.events.next(&mut meter).await.unwrap().unwrap();
        if event.data() == Some("[DONE]") {
            meter.seal(&event);
            break;
        }
        meter.deliver(&event);
    }
    meter.complete();
    let summary: Value = serde_json::from_str(&meter.summary()).unwrap();
    let record = meter.record();
    assert_eq!(summary["attempts"], record.attempts.len());
    let price: Price = "100,25,400".parse().unwrap();
    let cost = price.cost(&BilledTokens { prompt: PROMPT, cached: 0, completion: 2 });
    assert_eq!((record.outcome, record.nanocredits), (Outcome::Completed, cost), "one answer is billed");
    assert_eq!((record.prompt_tokens, record.completion_tokens), (PROMPT, 2));
    record
}

/// Number, node and outcome of each attempt.
fn attempts(record: &RequestRecord) -> Vec<(u32, Uuid, Outcome)> {
    let mut all: Vec<_> =
        record.attempts.iter().map(|attempt| (attempt.attempt, attempt.node_id, attempt.outcome)).collect();
    all.sort_unstable_by_key(|attempt| attempt.0);
    all
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn nobody_else_is_asked_while_the_first_begins_in_time(database: PgPool) {
    let stage = stage(&database, 2).await;
    let asking = stage.ask(json!({"hedge_after_ms": 800})).await;
    let (first, call) = stage.called().await;
    call.answer.send(sse::comment(WAITING).into()).await.unwrap();
    tokio::time::sleep(HEDGE - Duration::from_millis(1)).await;
    call.answer.send(frame(PROMPT, &[5], 1, None)).await.unwrap();
    assert!(stage.is_quiet().await, "it has begun, although its client has nothing yet");
    drop(call);
    let (second, call) = stage.called().await;
    assert_ne!(first, second, "a node that is lost is another matter");
    answers(&call).await;
    let record = delivered(asking.answer().await).await;
    assert_eq!(attempts(&record), [(1, first, Outcome::NodeFailed), (2, second, Outcome::Completed)]);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_second_goes_on_when_it_begins_first(database: PgPool) {
    let stage = stage(&database, 3).await;
    let (asking, (first, slow), (second, fast)) = stage.hedged().await;
    // What the first has used of its prompt is its own matter.
    slow.answer.send(frame(77, &[], 0, None)).await.unwrap();
    assert!(stage.is_quiet().await, "there is no third");
    answers(&fast).await;
    let (answer, meter) = asking.answer().await;
    tokio::time::timeout(LATER, slow.answer.closed()).await.expect("the loser's stream is reset");
    assert!(!fast.answer.is_closed());
    assert_eq!(stage.app.nodes.get(first).unwrap().in_flight(), 0, "its place is free");
    let choice = meter.choice().unwrap();
    assert!(choice.starts_with(&format!("hedge: node {first} had not begun after 800 ms; load")), "{choice}");
    let record = delivered((answer, meter)).await;
    assert_eq!(attempts(&record), [(1, first, Outcome::Outdone), (2, second, Outcome::Completed)]);
    let lost = record.attempts.iter().find(|attempt| attempt.node_id == first).unwrap();
    assert_eq!((lost.prompt_tokens, lost.completion_tokens, lost.microjoules.get()), (77, 0, 1000));
    assert!(lost.energy.as_ref().is_some_and(|energy| !energy.delivered));
    assert_eq!(record.node_id, Some(second));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_first_goes_on_when_it_begins_first_after_all(database: PgPool) {
    let stage = stage(&database, 2).await;
    let (asking, (first, late), (second, later)) = stage.hedged().await;
    answers(&late).await;
    let (answer, meter) = asking.answer().await;
    tokio::time::timeout(LATER, later.answer.closed()).await.expect("the loser's stream is reset");
    assert!(meter.choice().unwrap().starts_with("load"));
    let record = delivered((answer, meter)).await;
    assert_eq!(attempts(&record), [(1, first, Outcome::Completed), (2, second, Outcome::Outdone)]);
    assert_eq!(record.node_id, Some(first), "who is paid");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn one_that_fails_leaves_it_to_the_other_and_after_both_comes_a_third(database: PgPool) {
    let stage = stage(&database, 3).await;
    let (asking, (first, fails), (second, answering)) = stage.hedged().await;
    drop(fails);
    assert!(stage.is_quiet().await, "the second is waited for");
    answers(&answering).await;
    let record = delivered(asking.answer().await).await;
    assert_eq!(attempts(&record), [(1, first, Outcome::NodeFailed), (2, second, Outcome::Completed)]);
    drop(answering);

    let (asking, (first, fails), (second, fails_too)) = stage.hedged().await;
    drop((fails, fails_too));
    let (third, answering) = stage.called().await;
    answers(&answering).await;
    let record = delivered(asking.answer().await).await;
    let failed = |number, node| (number, node, Outcome::NodeFailed);
    assert_eq!(attempts(&record), [failed(1, first), failed(2, second), (3, third, Outcome::Completed)]);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_is_wrong_for_one_is_wrong_for_both(database: PgPool) {
    let stage = stage(&database, 2).await;
    let (asking, (first, refuses), (second, other)) = stage.hedged().await;
    let error = json!({"error": {"message": "m", "type": "invalid_request_error", "param": null, "code": null}});
    refuses.answer.send(sse::named("error", &error).unwrap().into()).await.unwrap();
    let (answer, mut meter) = asking.task.await.unwrap();
    assert_eq!(answer.err().map(|(outcome, error)| (outcome, error.status)), Some((Outcome::Refused, 400)));
    other.answer.closed().await;
    meter.end(Outcome::Refused, 400);
    let record = meter.record();
    assert_eq!(attempts(&record), [(1, first, Outcome::Refused), (2, second, Outcome::Outdone)]);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_request_that_is_gone_leaves_neither_behind(database: PgPool) {
    let stage = stage(&database, 2).await;
    let (asking, (first, one), (second, other)) = stage.hedged().await;
    asking.revoke.send(()).unwrap();
    let (_, mut meter) = asking.task.await.unwrap();
    tokio::join!(one.answer.closed(), other.answer.closed());
    meter.end(Outcome::KeyRevoked, 401);
    let record = meter.record();
    assert_eq!(attempts(&record), [(1, first, Outcome::KeyRevoked), (2, second, Outcome::KeyRevoked)]);
    assert_eq!(record.nanocredits.get(), 0);
    drop(meter);
    assert!(stage.nodes.iter().all(|node| stage.app.nodes.get(node.id).unwrap().in_flight() == 0));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn nobody_is_asked_beside_the_first_where_that_is_not_to_be(database: PgPool) {
    let stage = stage(&database, 2).await;
    let only = |first: Uuid| json!({"hedge_after_ms": 800, "only": [first.to_string()]});
    for provider in [
        json!({}),
        json!({"hedge_after_ms": "auto"}),
        json!({"hedge_after_ms": "off"}),
        json!({"hedge_after_ms": 800, "allow_fallbacks": false}),
        only(stage.nodes[0].id),
    ] {
        let asking = stage.ask(provider.clone()).await;
        let (_, call) = stage.called().await;
        assert!(stage.is_quiet().await, "{provider}");
        answers(&call).await;
        delivered(asking.answer().await).await;
    }

    let asking = stage.ask(json!({"hedge_after_ms": 800})).await;
    let (first, call) = stage.called().await;
    let busy = stage.app.nodes.lease(MODEL, |node| node.id != first).unwrap();
    assert!(stage.is_quiet().await, "the other one has no free slot");
    answers(&call).await;
    delivered(asking.answer().await).await;
    drop((busy, call));

    while stage.app.hedging.spend() {}
    let asking = stage.ask(json!({"hedge_after_ms": 800})).await;
    let (_, call) = stage.called().await;
    assert!(stage.is_quiet().await, "the budget is spent");
    answers(&call).await;
    delivered(asking.answer().await).await;
}
