//! The federation at work, as it happens.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use openapi::energy::Tier;
use openapi::region::Region;
use openapi::sse;
use serde::Serialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use uuid::Uuid;

use crate::app::App;
use crate::auth::User;
use crate::error::Problem;
use crate::live::{TooMany, Totals, Viewer};

/// As long as an access token counts: whoever stays asks again, and is known or not.
const STAY: Duration = Duration::from_secs(15 * 60);
const SUMMARY_EVERY: Duration = Duration::from_secs(1);
/// All nodes are listed with one summary out of so many.
const NODES_EVERY: u64 = 10;
/// More are more than anybody looks at.
const MOST_NODES: usize = 1_000;

/// What one viewer is shown.
struct Show {
    app: App,
    viewer: Viewer,
    until: Instant,
    seconds: Interval,
    second: u64,
}

#[derive(Serialize)]
struct Summary {
    running: usize,
    nodes: usize,
    #[serde(flatten)]
    totals: Totals,
}

#[derive(Serialize)]
struct Nodes {
    data: Vec<ConnectedNode>,
}

#[derive(Serialize)]
struct ConnectedNode {
    node: Uuid,
    region: Option<Region>,
    slots: u32,
    /// Attempts of this replica on it.
    running: u32,
    tier: Tier,
}

impl From<TooMany> for Problem {
    fn from(why: TooMany) -> Self {
        let status = match why {
            TooMany::OfOne => StatusCode::TOO_MANY_REQUESTS,
            TooMany::OfAll => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::of(status, why.to_string())
    }
}

/// Shows what happens on all nodes, whoever asks of them, as it happens.
///
/// Server-sent events of the replica that answers, for 15 minutes. `nodes` lists those that are connected, now and again.
/// `began` is an attempt, with its model, node and region; `ended` says what became of it, in tokens, milliseconds and
/// microjoules. `summary` comes each second, with what is under way and the totals since the replica began. `missed` counts
/// events that came faster than they could be sent. Nothing says who asked, or what; energy is rounded to three digits.
#[utoipa::path(get, path = "/api/live", tag = "Nodes", security(("session" = [])),
    responses((status = 200, content((String = "text/event-stream"))),
        (status = 429, description = "You watch too often already"), Problem))]
pub async fn watch(app: App, user: User) -> Result<Response, Problem> {
    let viewer = app.live.watch(user.id)?;
    let mut seconds = interval(SUMMARY_EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let show = Show { app, viewer, until: Instant::now() + STAY, seconds, second: 0 };
    let events = futures_util::stream::unfold(show, |mut show| async {
        let next = show.next().await?;
        Some((Ok::<_, Infallible>(next), show))
    });
    Ok(([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response())
}

impl Show {
    async fn next(&mut self) -> Option<String> {
        tokio::select! {
            // Whatever happens on the nodes, a viewer goes when it is time, and the seconds count.
            biased;
            () = self.app.stop.cancelled() => None,
            () = sleep_until(self.until) => None,
            _ = self.seconds.tick() => self.summary(),
            news = self.viewer.next() => news.map(|news| news.to_string()),
        }
    }

    fn summary(&mut self) -> Option<String> {
        let all = self.app.nodes.all();
        let summary = Summary { running: self.app.running.count(), nodes: all.len(), totals: self.app.live.totals() };
        let mut text = sse::named("summary", &summary).ok()?;
        if self.second.is_multiple_of(NODES_EVERY) {
            let connected = all.iter().take(MOST_NODES).map(|node| {
                let (offer, running) = (node.offer(), node.in_flight());
                ConnectedNode {
                    node: node.id,
                    region: offer.region,
                    slots: offer.slots,
                    running,
                    tier: offer.energy.tier,
                }
            });
            text.insert_str(0, &sse::named("nodes", &Nodes { data: connected.collect() }).ok()?);
        }
        self.second += 1;
        Some(text)
    }
}
