//! Tries nodes until one answers, and again when the node of an answer is lost: another one goes on with it.

use std::sync::Arc;
use std::time::Duration;

use openapi::error::ApiError;
use tokio::time::Instant;
use uuid::Uuid;

use super::forward::{Answer, Fault, forward};
use super::meter::Meter;
use super::node_failed;
use super::record::Outcome;
use super::request::Request;
use super::route::{Search, Task};
use crate::app::App;
use crate::nodes::choose::Nobody;
use crate::nodes::queue::{self, Chance, Waiter};
use crate::nodes::{Found, Node};
use crate::traces::Step;

/// Tries before the client is told that it failed.
const MOST_IN_A_ROW: usize = 3;
/// Tries of one request altogether. Each was lost after it had begun, so that many are many accidents.
const MOST: usize = 20;
/// A stream whose node was lost waits so long for one that goes on with it: a node that restarts needs as much.
const GOES_ON_WITHIN: Duration = Duration::from_secs(30);

/// Why there is no answer: what becomes of the request, and what its client hears.
pub(super) type Failed = (Outcome, ApiError);

/// Tries nodes until one begins to answer.
pub(super) async fn begin(app: &App, meter: &mut Meter, request: &Arc<Request>) -> Result<Answer, Failed> {
    app.hedging.earn();
    let mut tried = Tried::default();
    match attempt(app, meter, request, &mut tried).await {
        // An answer in one piece, of which the gateway knows a part.
        Err((Outcome::NodeFailed, _)) if meter.said().model().is_some() => go_on(app, meter, request, tried).await,
        answer => answer,
    }
}

/// Tries nodes until one goes on with an answer whose node was lost, and waits for one if need be.
/// `tried` is the node that was lost.
pub(super) async fn go_on(
    app: &App,
    meter: &mut Meter,
    request: &Arc<Request>,
    mut tried: Tried,
) -> Result<Answer, Failed> {
    let deadline = Instant::now() + GOES_ON_WITHIN;
    loop {
        let failed = match attempt(app, meter, request, &mut tried).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        // One that merely stood still may go on with it as well as any other.
        tried = Tried::default();
        let may_come_back = meter.said().model().is_none_or(|model| model.continues);
        let is_worth_waiting = matches!(failed.0, Outcome::NodeFailed | Outcome::NoNode) && meter.tries() < MOST;
        if !may_come_back || !is_worth_waiting || !app.nodes.change_before(deadline).await {
            return Err((Outcome::NodeFailed, node_failed()));
        }
    }
}

/// Nodes that failed, each with its connection: one that dials in again is worth another try.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Tried(Vec<(Uuid, Uuid)>);

impl Tried {
    pub(super) fn push(&mut self, node: &Node) {
        self.0.push((node.id, node.best().connection));
    }

    pub(super) fn has(&self, node: &Node) -> bool {
        self.0.iter().any(|(id, connection)| *id == node.id && *connection == node.best().connection)
    }
}

async fn attempt(app: &App, meter: &mut Meter, request: &Arc<Request>, tried: &mut Tried) -> Result<Answer, Failed> {
    let most = if request.preference.may_fall_back() { MOST_IN_A_ROW * request.models.len() } else { 1 };
    let mut in_a_row = 0;
    loop {
        await_one(app, request).await;
        let since = std::time::Instant::now();
        let found = find(app, meter, request, tried).await;
        meter.passed(Step::Route, since);
        let found = match found {
            Ok(found) => found,
            Err(_) if meter.has_failed() => return Err((Outcome::NodeFailed, node_failed())),
            Err(refused) => return Err((Outcome::NoNode, refused)),
        };
        in_a_row += 1;
        match forward(app, meter, found, request, tried).await {
            Ok(answer) => return Ok(answer),
            Err(Fault::Client(error)) => return Err((Outcome::Refused, error)),
            Err(Fault::Busy(error)) if in_a_row == most => return Err((Outcome::NoNode, error)),
            Err(Fault::Node(_)) if in_a_row == most => return Err((Outcome::NodeFailed, node_failed())),
            Err(Fault::Busy(_) | Fault::Node(_)) => {}
        }
    }
}

/// Waits a moment when no node is connected that serves any of the models.
pub(super) async fn await_one(app: &App, request: &Request) {
    let serve = request.models.iter().map(|model| Box::pin(app.nodes.await_one(model)));
    futures_util::future::select_all(serve).await;
}

/// Finds a place for what is left to do. An answer goes on at a node of the same build, where its text will be the same, or
/// else at one with the same model; one that its client has not seen may begin anew anywhere.
async fn find(app: &App, meter: &mut Meter, request: &Arc<Request>, tried: &Tried) -> Result<Found, ApiError> {
    if let Some(begun) = meter.said().model().cloned() {
        let same_build = Task::GoOn { model: begun.clone(), same_build: true };
        if let Ok(found) = Search::new(app, meter, request, tried, same_build).find() {
            return Ok(found);
        }
        let same_model = Search::new(app, meter, request, tried, Task::GoOn { model: begun, same_build: false });
        match place(app, meter, request, same_model).await {
            Err(_) if meter.said().is_unseen() => meter.forget_what_was_said(),
            found => return found,
        }
    }
    let search = Search::new(app, meter, request, tried, Task::Begin);
    place(app, meter, request, search).await
}

/// Takes a place, or waits in line for one.
async fn place(app: &App, meter: &mut Meter, request: &Request, search: Search) -> Result<Found, ApiError> {
    let queue = &app.nodes.queue;
    if queue.is_empty() {
        match search.find() {
            Ok(found) => return Ok(found),
            Err(Nobody::Unsuited(nearest)) => return Err(search.refusal(nearest)),
            Err(Nobody::Full) => {}
        }
    } else if let Err(nearest) = search.check() {
        // In line it would wait in vain.
        return Err(search.refusal(nearest));
    }
    let waiter = Waiter {
        account: meter.account(),
        priority: request.priority,
        bytes: request.body.len(),
        kind: search.kind(),
        deadline: Instant::now() + app.queue_patience,
    };
    let take = move |chance| match chance {
        Chance::At(node) => match search.find_at(node) {
            Ok(found) => queue::Tried::Got(found),
            Err(Nobody::Full) => queue::Tried::NoMore,
            Err(Nobody::Unsuited(_)) => queue::Tried::Nothing,
        },
        Chance::Anywhere | Chance::Round(_) => search.find().ok().into(),
    };
    let waiting = queue.enter(waiter, take).map_err(|full| full_up(&full.to_string(), full.retry_after))?;
    let since = std::time::Instant::now();
    let found = waiting.await;
    meter.passed(Step::Queue, since);
    found.map_err(|passed| full_up("all nodes that suit are busy", passed.retry_after))
}

fn full_up(why: &str, retry_after: Duration) -> ApiError {
    let seconds = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX).max(1);
    ApiError::overloaded(format!("All nodes that serve this model are busy: {why}."), seconds)
}
