//! Who has done what to the gateway: each call of the API that is to change something stands here before it is answered, done
//! or refused. With `table.rs` the only module that writes `audit_log`.

pub mod table;

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use uuid::Uuid;

use crate::app::App;
use crate::auth;
use crate::error::Problem;
use crate::router::RequestId;
use table::Act;

/// Whoever a request turns out to be from.
#[derive(Clone, Debug, Default)]
pub struct Actor(Arc<OnceLock<Who>>);

/// Somebody who acts.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    pub user: Uuid,
    pub account: Uuid,
    pub session: Option<Uuid>,
    /// A management key.
    pub key: Option<Uuid>,
}

impl Actor {
    /// It is from this one.
    pub(crate) fn is(&self, who: Who) {
        // Who it is from is found out once.
        let _ = self.0.set(who);
    }
}

/// Notes what is to change something. It is done to its end, and noted, even if its client does not wait.
pub(crate) async fn note(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let changes = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
    // Renewing a session is no act: whoever does it does nothing else.
    let is_act = request.uri().path().starts_with("/api/") && request.uri().path() != "/api/sessions/refresh";
    if !changes || !is_act {
        return next.run(request).await;
    }
    let actor = Actor::default();
    let act = format!("{} {}", request.method(), request.uri().path());
    let id = request.extensions().get::<RequestId>().map_or_else(Uuid::now_v7, |id| id.0);
    let address = auth::address_of(request.extensions(), request.headers(), &app);
    request.extensions_mut().insert(actor.clone());
    let tasks = app.tasks.clone();
    let work = async move {
        let response = next.run(request).await;
        let Some(who) = actor.0.get() else { return response };
        let (is_done, status) = (response.status().is_success(), response.status().as_u16());
        let act = Act { id, who: Some(*who), address: address.map(|address| address.to_string()), act, status };
        let database = app.database.clone();
        let noting = app.tasks.spawn(async move {
            if let Err(error) = table::add(&database, &act).await {
                tracing::error!(%error, ?act, "an act could not be noted");
            }
        });
        // How long a refusal takes must not tell whether there is such a user.
        if is_done && let Err(error) = noting.await {
            tracing::error!(%error, "an act could not be noted");
        }
        response
    };
    let done = tasks.spawn(work.instrument(tracing::Span::current()));
    done.await.unwrap_or_else(|error| {
        tracing::error!(%error, "an act was not done to its end");
        Problem::internal().into_response()
    })
}
