//! One inference request, from the body to the last byte. Start reading here.

mod count;

pub mod estimate;

mod forward;

mod meter;

pub mod record;

mod relay;

mod request;

mod route;

pub mod running;

pub mod ship;

mod terms;

pub mod typical;

use std::sync::Arc;

use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use openapi::error::ApiError;
use openapi::price::Price;
use openapi::units::Nanocredits;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::admission::{Hold, Refusal};
use crate::app::App;
use crate::auth::{self, Caller};
use crate::error::Failure;
use crate::nodes::preference::Preference;
use crate::nodes::{Lease, NoNode, Node};
use crate::prices::PriceVersion;
use forward::{Fault, forward};
use meter::{Admission, Meter};
use record::{OpenRequest, Outcome};
pub use request::Endpoint;
use request::Request;
use terms::Terms;

/// Tries of one request on different nodes, as long as the client has seen nothing of it.
const MOST_ATTEMPTS: usize = 3;
/// A node that asks for more than so many times the best offer gets no work, and makes nobody's hold dearer.
const DEAREST: u64 = 2;

/// A request's own id, and that of the request in whose name it is billed: another one when it is computed again under an
/// `Idempotency-Key`.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    pub id: Uuid,
    pub billed_as: Uuid,
}

impl Named {
    /// A request that is billed in its own name.
    pub fn of(id: Uuid) -> Self {
        Self { id, billed_as: id }
    }
}

/// Serves one request. Each step takes what the step before it gave; whatever happens, the meter settles it.
///
/// # Errors
/// What the client has to know, in OpenAI's shape.
pub async fn serve(
    app: &App,
    caller: Caller,
    named: Named,
    endpoint: Endpoint,
    body: Bytes,
) -> Result<Response, Failure> {
    let request = Request::read(endpoint, body)?;
    if !app.nodes.is_known(&request.model) {
        return Err(ApiError::model_not_found(&request.model).into());
    }
    caller.key.limits.check_model(&request.model)?;
    let revoked = caller.revoked();
    app.nodes.await_one(&request.model).await;
    let mut meter = match admit(app, caller, named, &request).await {
        Ok(meter) => meter,
        Err(refusal) => return Ok(refusal.into_response()),
    };
    let answer = tokio::select! {
        () = revoked.cancelled() => Err((Outcome::KeyRevoked, auth::revoked())),
        answer = attempt(app, &mut meter, &request) => answer,
    };
    match answer {
        Ok(answer) if request.stream => Ok(relay::stream(answer, meter, revoked)),
        Ok(answer) => relay::whole(answer, meter).await,
        Err((outcome, error)) => {
            meter.end(outcome, error.status);
            meter.finish().await;
            Err(error.into())
        }
    }
}

/// Lets a request in: holds what it may cost at most, notes it in the journal, and opens its meter.
async fn admit(app: &App, caller: Caller, Named { id, billed_as }: Named, request: &Request) -> Result<Meter, Refusal> {
    let started_at = OffsetDateTime::now_utc();
    let context = app.nodes.context_length(&request.model);
    let terms = Terms::of(request, context, started_at);
    let open = OpenRequest {
        id,
        billed_as: (billed_as != id).then_some(billed_as),
        account_id: caller.key.account,
        user_id: caller.key.created_by,
        key_id: caller.key.id,
        endpoint: request.endpoint.word().to_owned(),
        model: request.model.clone(),
        streamed: request.stream,
        started_at,
    };
    let (hold, terms) = if app.metering {
        app.journal.may_admit().map_err(|_| Refusal::Full)?;
        let (hold, terms) = hold(app, &caller, request, terms).await?;
        app.journal.admit(id, &open.to_bytes()).await.map_err(|_| Refusal::Full)?;
        (Some(hold), terms)
    } else {
        (None, terms)
    };
    let entry = app.running.enter(id, caller.key.account);
    Ok(Meter::open(Admission { app: app.clone(), _caller: caller, entry, hold, request: open, terms }))
}

/// Holds for the whole answer, or, where its length is open, for as long a beginning as can be afforded.
async fn hold(app: &App, caller: &Caller, request: &Request, mut terms: Terms) -> Result<(Hold, Terms), Refusal> {
    let microjoules = app.typicals.microjoules_per_token(&request.model);
    loop {
        let cost = dearest(app, &request.model, &terms);
        match app.admissions.hold(&caller.key, terms.amounts(cost, microjoules)).await {
            Ok(hold) => return Ok((hold, terms)),
            Err(refusal) if refusal.is_a_matter_of_size() => terms = terms.smaller().ok_or(refusal)?,
            Err(refusal) => return Err(refusal),
        }
    }
}

/// What the request costs at most on the nodes that may get it.
fn dearest(app: &App, model: &str, terms: &Terms) -> Nanocredits {
    let prices = app.nodes.serving(model).into_iter().filter_map(|node| price(app, &node, model, terms.at));
    let costs: Vec<Nanocredits> = prices.map(|price| terms.cost(&price.price)).collect();
    let best = costs.iter().min().copied().unwrap_or_default();
    let bound = Nanocredits::new(best.get().saturating_mul(DEAREST));
    costs.into_iter().filter(|cost| *cost <= bound).max().unwrap_or_default()
}

/// The price under which a node serves a request that was let in at this time.
fn price(app: &App, node: &Node, model: &str, at: OffsetDateTime) -> Option<PriceVersion> {
    app.prices.of(node.id, &node.model_named(model)?.id, at)
}

/// Tries nodes until one begins to answer.
async fn attempt(app: &App, meter: &mut Meter, request: &Request) -> Result<forward::Answer, (Outcome, ApiError)> {
    let (mut tried, mut attempts) = (Vec::new(), 0);
    loop {
        if app.nodes.await_one(&request.model).await {
            tried.clear();
        }
        let (terms, held) = (*meter.terms(), meter.held());
        let suits = |node: &Node| {
            let price = price(app, node, &request.model, terms.at);
            let affordable = |price: &Price| held.is_none_or(|held| terms.cost(price) <= held);
            !tried.contains(&node.id) && price.is_some_and(|price| affordable(&price.price))
        };
        let lease = match lease(app, meter, request, suits) {
            Ok(lease) => lease,
            Err(_) if meter.has_failed() => return Err((Outcome::NodeFailed, node_failed())),
            Err(refused) => return Err((Outcome::NoNode, refused)),
        };
        tried.push(lease.node_id());
        attempts += 1;
        let Some(price) = price(app, &lease.node(), &request.model, terms.at) else { continue };
        match forward(app, meter, (lease, price), request).await {
            Ok(answer) => return Ok(answer),
            Err(Fault::Client(error)) => return Err((Outcome::Refused, error)),
            Err(Fault::Busy(error)) if attempts == MOST_ATTEMPTS => return Err((Outcome::NoNode, error)),
            Err(Fault::Node(_)) if attempts == MOST_ATTEMPTS => return Err((Outcome::NodeFailed, node_failed())),
            Err(Fault::Busy(_) | Fault::Node(_)) => {}
        }
    }
}

/// Leases the node that suits the request best, or, where it does not mind, the less loaded of two.
fn lease(app: &App, meter: &mut Meter, request: &Request, suits: impl Fn(&Node) -> bool) -> Result<Lease, ApiError> {
    if request.preference == Preference::default() {
        return app.nodes.lease(&request.model, suits).map_err(|NoNode| no_node(&request.model));
    }
    let terms = *meter.terms();
    let cost = |node: &Node| {
        price(app, node, &request.model, terms.at).map_or(Nanocredits::ZERO, |price| terms.cost(&price.price))
    };
    let mut refusal = None;
    let choose = |nodes: &[Arc<Node>]| match route::route(app, request, &terms, nodes, cost) {
        Ok(choice) => Some(choice),
        Err(none) => {
            refusal = route::none_suits(&request.preference, none);
            None
        }
    };
    match app.nodes.lease_chosen(&request.model, suits, choose) {
        Ok((lease, reason)) => {
            meter.chosen(reason.to_string());
            Ok(lease)
        }
        Err(NoNode) => Err(refusal.unwrap_or_else(|| no_node(&request.model))),
    }
}

fn no_node(model: &str) -> ApiError {
    const SECONDS: u32 = 5;
    ApiError::overloaded(
        format!("No node can answer for the model '{model}' at the moment. Try again shortly."),
        SECONDS,
    )
}

fn node_failed() -> ApiError {
    ApiError::new(
        502,
        "server_error",
        Some("node_failed"),
        "The node that computed this answer failed before it was complete. Try again.",
    )
}
