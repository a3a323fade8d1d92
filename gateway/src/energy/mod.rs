//! What is known of each node's energy: under which terms its joules become the site's and carbon, what its steps cost, and
//! whether it is believed.
//!
//! The replica that has a node's tunnel reads its reports ([`follow`]) and keeps them ([`table`]); every replica reads from
//! there what it needs for its own requests ([`Energies`]). What nodes claim is brought before a judge ([`court`],
//! [`honesty`]). Once a day each node's day is closed ([`day`]).

pub mod court;

pub mod day;

pub mod follow;

pub mod honesty;

pub mod sample;

pub mod table;

#[cfg(test)]
mod database_tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use openapi::energy::{EnergyOffer, EnergyTerms, Grid, IdlePolicy, StepCosts, Tier};
use openapi::grid::{self, sci};
use openapi::units::{Microjoules, Microseconds};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::App;
use crate::nodes::Node;

/// A node's live figure of its grid is good for this long; then the year's average counts again.
const GRID_FRESH: time::Duration = time::Duration::hours(2);
/// No site adds more than this to its machines.
const MOST_PUE_MILLI: u32 = 3_000;
const REFRESH: Duration = Duration::from_secs(5);

/// What one node's reports say.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Of the last 24 hours.
    pub attributed_microjoules: u64,
    pub idle_microjoules: u64,
    pub busy_microseconds: u64,
    pub costs: StepCosts,
    /// What the node says of its grid, and when.
    pub grid: Option<Grid>,
    pub reported_at: Option<OffsetDateTime>,
    pub believed: bool,
    /// No figure of it counts for better than this.
    pub tier_cap: Tier,
}

/// All nodes'.
#[derive(Default)]
pub struct Energies(ArcSwap<HashMap<Uuid, Arc<Known>>>);

impl Energies {
    /// What is known of a node.
    pub fn of(&self, node: Uuid) -> Option<Arc<Known>> {
        self.0.load().get(&node).cloned()
    }

    /// The terms under which a request runs on a node that begins now.
    pub fn terms(&self, node: &Node) -> EnergyTerms {
        terms(&node.best().offer().energy, self.of(node.id).as_deref(), OffsetDateTime::now_utc())
    }

    /// Reads everything anew.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh(&self, database: &PgPool) -> Result<(), sqlx::Error> {
        let known = table::known(database).await?;
        self.0.store(Arc::new(known.into_iter().map(|(node, known)| (node, Arc::new(known))).collect()));
        Ok(())
    }
}

/// Keeps a replica's view up to date until it closes. While the database is away, what is known goes on counting.
pub async fn stay_current(app: App) {
    loop {
        if let Err(error) = app.energies.refresh(&app.database).await {
            tracing::debug!(%error, "what is known of the nodes' energy could not be read again");
        }
        tokio::select! {
            () = app.closing.cancelled() => return,
            () = tokio::time::sleep(REFRESH) => {}
        }
    }
}

fn terms(offer: &EnergyOffer, known: Option<&Known>, now: OffsetDateTime) -> EnergyTerms {
    let shares_idle = offer.idle_policy == IdlePolicy::Dedicated;
    EnergyTerms {
        grid: grid_of(offer, known, now),
        pue_milli: offer.pue_milli.clamp(1_000, MOST_PUE_MILLI),
        idle_ppm: known
            .filter(|_| shares_idle)
            .map_or(0, |known| ppm(known.idle_microjoules, known.attributed_microjoules)),
        embodied_nanograms_per_joule: offer.embodied.and_then(|embodied| embodied_per_joule(&embodied, known?)),
        believed: known.is_none_or(|known| known.believed),
        tier_cap: known.map_or(Tier::A, |known| known.tier_cap),
    }
}

/// What the node says of its grid at this moment, if that can be true; else the year's average of its zone.
fn grid_of(offer: &EnergyOffer, known: Option<&Known>, now: OffsetDateTime) -> Option<Grid> {
    let code = offer.zone.as_deref()?;
    let zone = grid::zone(code)?;
    let live = known.and_then(|known| {
        let fresh = known.reported_at.is_some_and(|at| now - at < GRID_FRESH);
        known.grid.as_ref().filter(|grid| fresh && zone.within_sanity(grid.mg_per_kwh))
    });
    Some(live.map_or_else(|| zone.grid(), |live| Grid { zone: zone.grid().zone, ..live.clone() }))
}

fn ppm(part: u64, whole: u64) -> u64 {
    let ppm = u128::from(part) * 1_000_000 / u128::from(whole.max(1));
    if whole == 0 { 0 } else { u64::try_from(ppm).unwrap_or(u64::MAX) }
}

/// Making the machine is shared by its busy time, and within a day by attributed energy, so that the day's sum is right.
fn embodied_per_joule(embodied: &sci::Embodied, known: &Known) -> Option<u64> {
    let micrograms = embodied.micrograms(Microseconds::new(known.busy_microseconds), 1, 1)?;
    sci::embodied_nanograms_per_joule(micrograms, Microjoules::new(known.attributed_microjoules))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> EnergyOffer {
        EnergyOffer { zone: Some("DE".to_owned()), pue_milli: 1_200, ..EnergyOffer::default() }
    }

    fn known() -> Known {
        Known {
            attributed_microjoules: 4_000_000,
            idle_microjoules: 1_000_000,
            busy_microseconds: 2_000_000,
            costs: StepCosts::default(),
            grid: None,
            reported_at: None,
            believed: true,
            tier_cap: Tier::A,
        }
    }

    #[test]
    fn terms_come_from_the_offer_and_from_what_was_reported() {
        let now = OffsetDateTime::now_utc();
        let new = terms(&offer(), None, now);
        assert_eq!((new.idle_ppm, new.pue_milli, new.believed), (0, 1_200, true));
        assert_eq!(new.grid, grid::zone("DE").map(|zone| zone.grid()));
        let embodied =
            Some(sci::Embodied { total_milligrams: 500_000_000, lifespan: Microseconds::new(100_000_000_000_000) });
        let reported = terms(&EnergyOffer { embodied, ..offer() }, Some(&known()), now);
        assert_eq!(reported.idle_ppm, 250_000);
        assert_eq!(reported.embodied_nanograms_per_joule, Some(2_500_000), "5 mg a busy second, 2 s for 4 J");
        let at_home = EnergyOffer { idle_policy: IdlePolicy::Opportunistic, ..offer() };
        assert_eq!(terms(&at_home, Some(&known()), now).idle_ppm, 0);
        let nowhere = EnergyOffer { zone: None, ..offer() };
        assert_eq!(terms(&nowhere, Some(&known()), now).grid, None);
        let disbelieved = Known { believed: false, ..known() };
        assert!(!terms(&offer(), Some(&disbelieved), now).believed);
    }

    #[test]
    fn a_live_figure_counts_while_it_is_fresh_and_can_be_true() {
        let now = OffsetDateTime::now_utc();
        let zone = grid::zone("DE").unwrap();
        let live = |mg_per_kwh, age| Known {
            grid: Some(Grid { zone: "US-WY".to_owned(), mg_per_kwh, source: "live".to_owned(), basis: "b".to_owned() }),
            reported_at: Some(now - age),
            ..known()
        };
        let found = |known: &Known| terms(&offer(), Some(known), now).grid.unwrap();
        let good = found(&live(zone.mg_per_kwh / 2, time::Duration::minutes(5)));
        assert_eq!((good.source.as_str(), good.zone.as_str()), ("live", "DE"), "the zone stays the operator's");
        assert_eq!(found(&live(zone.mg_per_kwh / 2, time::Duration::hours(3))), zone.grid());
        assert_eq!(found(&live(1, time::Duration::minutes(5))), zone.grid(), "nobody's grid is that clean");
    }
}
