//! What becomes of a node's work, for its operator: through the management API, and for the node itself, which greets as
//! it does to open a tunnel.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use openapi::node::{Offer, STANDING_PATH};
use openapi::region::Region;
use openapi::standing::{Maintenance, ModelPrice, Standing};
use serde::Serialize;
use sqlx::types::Json as SqlJson;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;
use uuid::Uuid;

use super::advice::{Situation, advice};
use super::registry::{self, Registered};
use super::{Node, greeting};
use crate::app::App;
use crate::body::Json;
use crate::error::Failure;
use crate::prices::table;

/// What becomes of a node's work. Counts and speeds are those of the replica that answers, since it first saw the node
/// connected; another replica has others.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Work {
    /// Its operator wants it to get no new work.
    paused: bool,
    /// When two machines were last found with its key, as `2027-01-31T00:00:00Z`, if that was within a day.
    #[schema(format = DateTime)]
    copied_key_at: Option<String>,
    /// The maintenance that goes on, or else the next.
    maintenance: Option<Maintenance>,
    /// Requests that it got.
    chosen: u64,
    /// How often it was passed over, by the reason.
    #[schema(value_type = BTreeMap<String, u64>)]
    skipped: BTreeMap<&'static str, u64>,
    /// Requests on it, those that wait among them. Once a paused node has none, it can be switched off.
    running: u32,
    /// Requests that it computes at once.
    slots: u32,
    /// What its models cost now.
    prices: Vec<ModelPrice>,
    /// Of one answer; null while it is not known.
    tokens_per_second: Option<u32>,
    /// From a request to the first byte of its answer, usually; null while it is not known.
    first_byte_microseconds: Option<u64>,
    /// How honest its counts have been, in millionths; null while it is not connected.
    honesty_ppm: Option<u32>,
    /// Where it says it is.
    region: Option<Region>,
    /// Its operator's word that nothing of what is sent to it is kept.
    denies_data_collection: bool,
    /// What can be done to get work, the most effective first.
    advice: Vec<String>,
}

/// A node, and what becomes of its work.
pub struct Seen {
    pub registered: Arc<Registered>,
    pub connected: bool,
    pub work: Work,
}

/// Says how the node that calls stands, and what its operator can do to get work.
#[utoipa::path(get, path = STANDING_PATH, tag = "Nodes", responses((status = 200, body = Standing), Failure))]
pub async fn show(app: App, headers: HeaderMap) -> Result<Json<Standing>, Failure> {
    let node = greeting::who(&app, &headers).await?.id;
    let offer = sqlx::query_scalar!(r#"select offer as "offer: SqlJson<Offer>" from nodes where id = $1"#, node);
    let offer = offer.fetch_optional(&app.database).await?.flatten().map(|SqlJson(offer)| offer);
    let seen = see(&app, node, offer).await?.ok_or_else(greeting::unknown_node)?;
    let Seen { registered, connected, work } = seen;
    Ok(Json(Standing {
        node,
        name: registered.name.clone(),
        connected,
        paused: work.paused,
        copied_key_at: work.copied_key_at,
        maintenance: ahead(&registered, OffsetDateTime::now_utc()).collect(),
        prices: work.prices,
        chosen: work.chosen,
        skipped: work.skipped.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
        advice: work.advice,
    }))
}

/// Looks at a node. `offered` is what it offered last, for when it is not connected. None when it was removed.
///
/// # Errors
/// When the database fails.
pub async fn see(app: &App, id: Uuid, offered: Option<Offer>) -> Result<Option<Seen>, sqlx::Error> {
    // From the database, since another replica may have just changed it.
    let Some(registered) = registry::read(&app.database, Some(id)).await?.remove(&id) else { return Ok(None) };
    let live = app.nodes.get(id);
    let offer = live.as_deref().map(Node::offer).or_else(|| offered.map(Arc::new)).unwrap_or_default();
    let prices = prices(app, id, &offer).await?;
    let copied_key_at = app.nodes.copies.of(id).and_then(|at| at.format(&Rfc3339).ok());
    let work = Work::of(live.as_deref(), &registered, &offer, prices, copied_key_at);
    Ok(Some(Seen { registered, connected: live.is_some(), work }))
}

impl Work {
    fn of(
        live: Option<&Node>,
        registered: &Registered,
        offer: &Offer,
        prices: Vec<ModelPrice>,
        copied_key_at: Option<String>,
    ) -> Self {
        let now = OffsetDateTime::now_utc();
        let state = live.map(Node::state);
        let known = |(state, speed): &(super::marginal::State, u32)| (state.typical_first_byte, *speed);
        let (first_byte, speed) = state.as_ref().map(known).unwrap_or_default();
        let situation = Situation {
            connected: live.is_some(),
            copied_key: copied_key_at.is_some(),
            paused: registered.paused,
            maintenance_until: ahead(registered, now)
                .next()
                .filter(|_| is_under_way(registered, now))
                .map(|one| one.until),
            region: offer.region,
            chosen: live.map_or(0, |node| node.skips.times_chosen()),
            skipped: live.map(|node| node.skips.counts().collect()).unwrap_or_default(),
        };
        Self {
            paused: registered.paused,
            copied_key_at,
            maintenance: ahead(registered, now).next(),
            chosen: situation.chosen,
            skipped: live.map(|node| node.skips.by_reason()).unwrap_or_default(),
            running: state.map_or(0, |(state, _)| state.running),
            slots: offer.slots,
            prices,
            tokens_per_second: Some(speed).filter(|speed| *speed > 0),
            first_byte_microseconds: u64::try_from(first_byte.as_micros()).ok().filter(|time| *time > 0),
            honesty_ppm: live.map(Node::honesty_ppm),
            region: offer.region,
            denies_data_collection: offer.denies_data_collection,
            advice: advice(&situation),
        }
    }
}

/// What the models of an offer cost now.
async fn prices(app: &App, id: Uuid, offer: &Offer) -> Result<Vec<ModelPrice>, sqlx::Error> {
    let now = OffsetDateTime::now_utc();
    let offered: Vec<String> = offer.models.iter().map(|model| model.manifest.id()).collect();
    let rows = table::list(&app.database, Some(id), Some(&offered)).await?;
    let in_force = rows.into_iter().filter(|row| row.effective_from <= now);
    Ok(in_force.map(|row| ModelPrice { model: row.model, price: row.price }).collect())
}

/// The maintenance that is not over, what began first first.
fn ahead(registered: &Registered, now: OffsetDateTime) -> impl Iterator<Item = Maintenance> {
    let text = |at: &OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    let ahead = registered.maintenance.iter().filter(move |(_, until)| *until > now);
    ahead.map(move |(from, until)| Maintenance { from: text(from), until: text(until) })
}

fn is_under_way(registered: &Registered, now: OffsetDateTime) -> bool {
    registered.maintenance.iter().any(|(from, until)| (*from..*until).contains(&now))
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::super::Nodes;
    use super::super::scripted::Scripted;
    use super::super::skip::Skip;
    use super::*;

    fn registered(hours: &[(i64, i64)]) -> Registered {
        let now = OffsetDateTime::now_utc();
        let time = |(from, until): &(i64, i64)| (now + Duration::hours(*from), now + Duration::hours(*until));
        Registered { name: "one".to_owned(), maintenance: hours.iter().map(time).collect(), ..Registered::default() }
    }

    #[test]
    fn a_node_that_is_away_shows_what_it_offered_and_that_it_is_away() {
        let offer = Scripted::offer();
        let work = Work::of(None, &registered(&[]), &offer, Vec::new(), None);
        assert_eq!((work.slots, work.running, work.chosen, work.honesty_ppm), (offer.slots, 0, 0, None));
        assert_eq!((work.tokens_per_second, work.first_byte_microseconds), (None, None));
        assert!(work.advice[0].starts_with("The node is not connected"));
    }

    #[test]
    fn maintenance_counts_as_such_only_while_it_goes_on() {
        let shown = |hours: &[(i64, i64)]| {
            let work = Work::of(None, &registered(hours), &Offer::default(), Vec::new(), None);
            (work.maintenance.is_some(), work.advice.iter().any(|sentence| sentence.starts_with("Maintenance")))
        };
        assert_eq!(shown(&[(-1, 1), (2, 3)]), (true, true));
        assert_eq!(shown(&[(2, 3)]), (true, false), "to come");
        assert_eq!(shown(&[(-3, -2)]), (false, false), "over");
    }

    #[tokio::test]
    async fn a_live_node_shows_its_counts_and_what_runs() {
        let (nodes, scripted) = (Nodes::default(), Scripted::new());
        let (way, _open) = scripted.dial().await;
        nodes.add(scripted.id, way);
        let node = nodes.get(scripted.id).unwrap();
        node.skips.skipped(Skip::AboveHold);
        let held = nodes.take_anyway(&node, std::time::Instant::now());
        held.answered(std::time::Duration::from_millis(20), 100);
        let work = Work::of(Some(&node), &registered(&[]), &node.offer(), Vec::new(), None);
        assert_eq!((work.running, work.chosen, work.skipped), (1, 1, BTreeMap::from([("above_hold", 1)])));
        assert!(work.advice[0].starts_with("Your price") && work.honesty_ppm.is_some());
        assert!(work.first_byte_microseconds.is_some());
        drop(held);
        assert_eq!(Work::of(Some(&node), &registered(&[]), &node.offer(), Vec::new(), None).running, 0, "drained");
    }
}
