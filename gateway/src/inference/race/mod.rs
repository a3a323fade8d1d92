//! Asks a node, and a second one when the first does not begin to answer in time, where the request wants that: whoever
//! begins first goes on, and the other one is dropped at once, which resets its stream. What bounds this is in
//! [`hedging`](super::hedging).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, select_all};
use tokio::time::Instant;
use uuid::Uuid;

use super::attempts::Tried;
use super::call::call;
use super::forward::{Beginning, Events, Fault};
use super::meter::Meter;
use super::price;
use super::record::Outcome;
use super::request::Request;
use super::route::{Search, Task};
use crate::app::App;
use crate::nodes::preference::Hedge;
use crate::nodes::{Found, ServedModel};

/// The answer of the node that has begun.
pub(super) struct Begun {
    pub(super) model: Arc<ServedModel>,
    pub(super) events: Box<Events>,
}

/// One node that was asked.
struct Trial {
    number: u32,
    model: Arc<ServedModel>,
    /// Another node had begun this answer.
    goes_on: bool,
    state: State,
}

enum State {
    /// It has not even acknowledged the request.
    Called(BoxFuture<'static, Result<Box<Events>, Fault>>),
    Listens(Box<Events>),
}

impl Trial {
    /// Asks the leased node.
    fn begin(app: &App, meter: &mut Meter, found: Found, request: &Request) -> Result<Self, Fault> {
        let node = found.lease.node();
        let withdrawn = || Fault::Node("it withdrew the model".to_owned());
        let model = node.model_named(&found.model).ok_or_else(withdrawn)?;
        let price = price(app, &node, &found.model, meter.terms().at).ok_or_else(withdrawn)?;
        let body = request.body_for(&found.model).map_err(|error| Fault::Node(error.to_string()))?;
        let attempt = meter.begin_attempt(found, (price, &model), &body);
        let number = attempt.attempt;
        let goes_on = meter.said().model().is_some();
        let called = call(app, meter.said(), node, (request, body), attempt);
        Ok(Self { number, model, goes_on, state: State::Called(called) })
    }

    /// What the node does next. Nothing is lost when this is dropped half way.
    async fn next(&mut self) -> Result<Beginning, Fault> {
        loop {
            match &mut self.state {
                State::Called(called) => self.state = State::Listens(called.await?),
                State::Listens(events) => {
                    return events.beginning().await.map_err(|broken| broken.fault(self.goes_on));
                }
            }
        }
    }

    fn begun(self) -> Result<Begun, Fault> {
        match self.state {
            State::Listens(events) => Ok(Begun { model: self.model, events }),
            State::Called(_) => Err(Fault::Node("it did not answer".to_owned())),
        }
    }
}

/// Asks the leased node, and perhaps another one, until one begins to answer; that one is the meter's.
pub(super) async fn race(
    app: &App,
    meter: &mut Meter,
    found: Found,
    request: &Arc<Request>,
    tried: &mut Tried,
) -> Result<Begun, Fault> {
    let mut second = Second::of(app, meter, request, &found);
    let mut trials = vec![Trial::begin(app, meter, found, request)?];
    loop {
        let (at, step) = tokio::select! {
            step = next_of(&mut trials) => step,
            () = due(second.as_ref()) => {
                let found = second.take().and_then(|second| second.find(app, meter, request, tried));
                trials.extend(found.and_then(|found| Trial::begin(app, meter, found, request).ok()));
                continue;
            }
        };
        let number = trials[at].number;
        match step {
            Ok(Beginning::Used(frame)) => {
                meter.uses(number, frame);
                // Who says much does not keep the other one from being heard.
                trials.rotate_left(1);
            }
            Ok(Beginning::Begun) => {
                let winner = trials.swap_remove(at);
                drop(trials);
                meter.begins(number);
                return winner.begun();
            }
            Err(fault) => {
                drop(trials.swap_remove(at));
                fails(meter, number, &fault);
                // What is wrong for one is wrong for all.
                if trials.is_empty() || matches!(fault, Fault::Client(_)) {
                    drop(trials);
                    meter.outdo();
                    return Err(fault);
                }
            }
        }
    }
}

/// What one of them does next, and which.
async fn next_of(trials: &mut [Trial]) -> (usize, Result<Beginning, Fault>) {
    let (step, at, _) = select_all(trials.iter_mut().map(|trial| Box::pin(trial.next()))).await;
    (at, step)
}

async fn due(second: Option<&Second>) {
    match second {
        Some(second) => tokio::time::sleep_until(second.at).await,
        None => std::future::pending().await,
    }
}

/// The node will not answer, and this is what is known of it.
fn fails(meter: &mut Meter, number: u32, fault: &Fault) {
    let outcome = match fault {
        Fault::Client(_) => Outcome::Refused,
        Fault::Busy(busy) => {
            meter.is_refused(number, busy.retry_after.map(|seconds| Duration::from_secs(seconds.into())));
            Outcome::Refused
        }
        Fault::Node(reason) => {
            let node = meter.asked(number).map(|attempt| attempt.lease.node_id());
            tracing::warn!(request = %meter.id(), ?node, reason, "an attempt failed");
            Outcome::NodeFailed
        }
    };
    meter.gives_up(number, outcome);
}

/// A second node that is to be asked when the first is late.
struct Second {
    at: Instant,
    after: Duration,
    /// The first one.
    beside: Uuid,
    model: String,
}

impl Second {
    /// None where the request does not want it, or nobody knows yet when the model is late. An answer that another node had
    /// begun is not hedged: who goes on with it computes again what is known, which takes its time everywhere.
    fn of(app: &App, meter: &Meter, request: &Request, first: &Found) -> Option<Self> {
        let hedge = request.preference.hedge.filter(|_| request.preference.may_fall_back())?;
        if !meter.said().is_nothing() {
            return None;
        }
        let node = first.lease.node();
        let after = match hedge {
            Hedge::After(time) => time,
            Hedge::Auto => app.hedging.usual(&node.model_named(&first.model)?.id)?,
            Hedge::Off => return None,
        };
        Some(Self { at: Instant::now() + after, after, beside: node.id, model: first.model.clone() })
    }

    /// Takes a place on another node that has a free slot; nobody who waits in line is passed.
    fn find(self, app: &App, meter: &Meter, request: &Arc<Request>, tried: &mut Tried) -> Option<Found> {
        if !app.nodes.queue.is_empty() || !app.hedging.spend() {
            return None;
        }
        let Some(found) = Search::new(app, meter, request, tried, Task::Begin).find_beside(self.beside, &self.model)
        else {
            app.hedging.give_back();
            return None;
        };
        tried.push(&found.lease.node());
        let late = format!("hedge: node {} had not begun after {} ms", self.beside, self.after.as_millis());
        Some(Found { reason: format!("{late}; {}", found.reason), ..found })
    }
}

#[cfg(test)]
mod tests;
