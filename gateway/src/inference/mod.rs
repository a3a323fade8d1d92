//! One inference request, from the body to the last byte. Start reading here.

mod attempt;

mod attempts;

mod call;

mod count;

pub mod described;

pub mod estimate;

mod forward;

mod heard;

pub mod hedging;

mod market;

mod meter;

pub mod record;

mod profile;

mod race;

mod relay;

mod request;

mod route;

pub mod running;

mod said;

pub mod ship;

mod terms;

pub mod typical;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use openapi::error::ApiError;
use openapi::model::ModelKind;
use openapi::trace::TraceContext;
use openapi::units::Nanocredits;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::admission::{Hold, Refusal};
use crate::app::App;
use crate::auth::{self, Caller};
use crate::error::Failure;
use crate::nodes::Node;
use crate::nodes::preference::Preference;
use crate::prices::PriceVersion;
use market::View;
use meter::{Admission, Meter};
use record::{OpenRequest, Outcome};
pub use request::Endpoint;
use request::Request;
use terms::Terms;

/// A request's own id, and that of the request in whose name it is billed: another one when it is computed again under an
/// `Idempotency-Key`.
#[derive(Clone, Debug)]
pub struct Named {
    pub id: Uuid,
    pub billed_as: Uuid,
    /// Its client's span.
    pub caller: Option<TraceContext>,
    /// What its client calls it.
    pub client_request: Option<String>,
}

impl Named {
    /// A request that is billed in its own name.
    pub fn of(id: Uuid) -> Self {
        Self { id, billed_as: id, caller: None, client_request: None }
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
    let routing = caller.key.routing.clone();
    serve_with(app, caller, named, (endpoint, body), &routing).await
}

/// The same, with `routing` for what the body does not ask of nodes.
///
/// # Errors
/// What the client has to know, in OpenAI's shape.
pub async fn serve_with(
    app: &App,
    caller: Caller,
    named: Named,
    (endpoint, body): (Endpoint, Bytes),
    routing: &Preference,
) -> Result<Response, Failure> {
    let (arrived, trace) = (Instant::now(), app.traces.begin(named.id, named.caller));
    let mut request = Request::read(endpoint, body, routing)?.meant(|name| app.aliases.stands_for(name))?;
    if app.partners.asks_as(caller.key.account) {
        // Or two gateways would hand it to each other.
        request.preference.partners = Some(false);
    }
    let request = Arc::new(request);
    if !request.models.iter().any(|model| app.nodes.is_known(model)) {
        return Err(ApiError::model_not_found(request.model()).into());
    }
    request.models.iter().try_for_each(|model| caller.key.limits.check_model(model))?;
    check_kind(app, &request)?;
    let revoked = caller.revoked();
    attempts::await_one(app, &request).await;
    let mut meter = match admit(app, caller, named, &request).await {
        Ok(meter) => meter.since(arrived, trace),
        Err(refusal) => {
            let response = refusal.into_response();
            app.traces.refused(trace, request.endpoint.word(), response.status().as_u16());
            return Ok(response);
        }
    };
    let answer = tokio::select! {
        () = revoked.cancelled() => Err((Outcome::KeyRevoked, auth::revoked())),
        answer = attempts::begin(app, &mut meter, &request) => answer,
    };
    match answer {
        Ok(answer) if request.stream => Ok(relay::stream(app, request, answer, meter, revoked)),
        Ok(answer) => relay::whole(answer, meter).await,
        Err((outcome, error)) => {
            meter.end(outcome, error.status);
            meter.finish().await;
            Err(error.into())
        }
    }
}

/// Refuses a request that its models are not made for, as far as there are nodes that serve them.
fn check_kind(app: &App, request: &Request) -> Result<(), ApiError> {
    let wanted = request.endpoint.kind();
    let other = |model: &String| {
        let shelf = app.nodes.shelf(model);
        let mut kinds = shelf.nodes().iter().filter_map(|node| Some(node.model_named(model)?.kind));
        let first = kinds.next()?;
        (first != wanted && kinds.all(|kind| kind != wanted)).then_some(first)
    };
    let known = request.models.iter().filter(|model| app.nodes.is_known(model));
    let others: Option<Vec<ModelKind>> = known.map(other).collect();
    match others.as_deref() {
        Some([first, ..]) => Err(first.refusal(request.model())),
        _ => Ok(()),
    }
}

/// Lets a request in: holds what it may cost at most, notes it in the journal, and opens its meter.
async fn admit(app: &App, caller: Caller, named: Named, request: &Request) -> Result<Box<Meter>, Refusal> {
    let Named { id, billed_as, client_request, .. } = named;
    let started_at = OffsetDateTime::now_utc();
    let context = context_length(app, request);
    let terms = Terms::of(request, context, started_at);
    let open = OpenRequest {
        id,
        billed_as: (billed_as != id).then_some(billed_as),
        account_id: caller.key.account,
        user_id: caller.key.created_by,
        key_id: caller.key.id,
        endpoint: request.endpoint.word().to_owned(),
        model: request.model().to_owned(),
        streamed: request.stream,
        started_at,
        client_request,
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
    let microjoules = app.typicals.microjoules_per_token(request.model());
    loop {
        let cost = dearest(app, request, &terms);
        match app.admissions.hold(&caller.key, terms.amounts(cost, microjoules)).await {
            Ok(hold) => return Ok((hold, terms)),
            Err(refusal) if refusal.is_a_matter_of_size() => terms = terms.smaller().ok_or(refusal)?,
            Err(refusal) => return Err(refusal),
        }
    }
}

/// The longest context that any of the models is offered with.
fn context_length(app: &App, request: &Request) -> u64 {
    request.models.iter().map(|model| app.nodes.context_length(model)).max().unwrap_or_default()
}

/// What the request costs at most on the nodes that may get it.
fn dearest(app: &App, request: &Request, terms: &Terms) -> Nanocredits {
    let of = |model: &String| View { app, request, terms, model, shelf: &app.nodes.shelf(model) }.dearest();
    request.models.iter().map(of).max().unwrap_or_default()
}

/// The price under which a node serves a request that was let in at this time.
fn price(app: &App, node: &Node, model: &str, at: OffsetDateTime) -> Option<PriceVersion> {
    app.prices.of(node.id, &node.model_named(model)?.id, at)
}

/// No node could give the answer.
pub(crate) fn node_failed() -> ApiError {
    ApiError::new(
        502,
        "server_error",
        Some("node_failed"),
        "The node that computed this answer failed before it was complete. Try again.",
    )
}
