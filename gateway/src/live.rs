//! What happens on the nodes at this moment, for whoever is signed in and watches: attempts as they begin and end, without a
//! word on whose they are. Energy is rounded as wherever that of one request is shown, in the sums too: so no difference
//! between two of them tells more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openapi::energy::{Tier, rounded};
use openapi::region::Region;
use openapi::sse;
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use uuid::Uuid;

use crate::inference::record::{AttemptRecord, Outcome};
use crate::metrics::Spent;

/// A viewer who is further behind than this misses what came first.
const MOST_BEHIND: usize = 1_024;
/// Viewers at the same time, and of these those of one user.
const MOST_VIEWERS: usize = 256;
const MOST_OF_A_USER: usize = 8;

/// What goes on, in the words that every viewer gets.
pub struct Live {
    news: broadcast::Sender<Arc<str>>,
    began: AtomicU64,
    ended: AtomicU64,
    tokens: AtomicU64,
    microjoules: AtomicU64,
    micrograms_co2e: AtomicU64,
    /// How often each user watches.
    viewers: Mutex<HashMap<Uuid, usize>>,
}

/// What came together since this replica began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    began: u64,
    ended: u64,
    tokens: u64,
    microjoules: u64,
    micrograms_co2e: u64,
}

#[derive(Serialize)]
struct Began<'a> {
    attempt: u64,
    model: &'a str,
    node: Uuid,
    region: Option<Region>,
}

#[derive(Serialize)]
struct Ended<'a> {
    attempt: u64,
    model: &'a str,
    node: Uuid,
    tokens: u64,
    /// None of tier X.
    microjoules: Option<u64>,
    tier: Tier,
    outcome: Outcome,
    milliseconds: u64,
}

#[derive(Serialize)]
struct Missed {
    count: u64,
}

/// Nobody else can watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    #[error("You watch {MOST_OF_A_USER} times already. Close another view first.")]
    OfOne,
    #[error("{MOST_VIEWERS} people watch already. Try again later.")]
    OfAll,
}

/// Someone who watches; the place is free again when this is dropped.
pub struct Viewer {
    live: Arc<Live>,
    user: Uuid,
    news: broadcast::Receiver<Arc<str>>,
}

impl Default for Live {
    fn default() -> Self {
        let [began, ended, tokens, microjoules, micrograms_co2e] = std::array::from_fn(|_| AtomicU64::new(0));
        let (news, viewers) = (broadcast::Sender::new(MOST_BEHIND), Mutex::default());
        Self { news, began, ended, tokens, microjoules, micrograms_co2e, viewers }
    }
}

impl Live {
    /// An attempt begins; its number is this view's alone, and leads nowhere else.
    pub fn began(&self, model: &str, node: Uuid, region: Option<Region>) -> u64 {
        let attempt = self.began.fetch_add(1, Ordering::Relaxed) + 1;
        self.tell("began", || Began { attempt, model, node, region });
        attempt
    }

    /// It is over, and its client has got so many tokens of it.
    pub fn ended(&self, attempt: u64, model: &str, tokens: u64, record: &AttemptRecord) {
        let spent = Spent::from(record);
        let tier_cap = record.energy.as_ref().map_or(Tier::X, |energy| energy.tier_cap);
        let tier = spent.tier.max(tier_cap);
        let known = |count: u64| Some(rounded(count)).filter(|_| tier != Tier::X);
        let microjoules = known(spent.microjoules.get());
        let carbon = spent.micrograms_co2e.and_then(known);
        for (total, count) in [
            (&self.ended, 1),
            (&self.tokens, tokens),
            (&self.microjoules, microjoules.unwrap_or_default()),
            (&self.micrograms_co2e, carbon.unwrap_or_default()),
        ] {
            total.fetch_add(count, Ordering::Relaxed);
        }
        let milliseconds = record.duration_microseconds.get() / 1_000;
        let (node, outcome) = (record.node_id, record.outcome);
        self.tell("ended", || Ended { attempt, model, node, tokens, microjoules, tier, outcome, milliseconds });
    }

    /// Says it to everybody who watches; nothing is written when nobody does.
    fn tell<T: Serialize>(&self, event: &str, say: impl FnOnce() -> T) {
        if self.news.receiver_count() == 0 {
            return;
        }
        if let Ok(text) = sse::named(event, &say()) {
            // The last one may have left in between.
            let _ = self.news.send(text.into());
        }
    }

    /// What came together so far.
    pub fn totals(&self) -> Totals {
        let of = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Totals {
            began: of(&self.began),
            ended: of(&self.ended),
            tokens: of(&self.tokens),
            microjoules: of(&self.microjoules),
            micrograms_co2e: of(&self.micrograms_co2e),
        }
    }

    /// A user begins to watch.
    ///
    /// # Errors
    /// When there are as many viewers as there may be.
    pub fn watch(self: &Arc<Self>, user: Uuid) -> Result<Viewer, TooMany> {
        let mut viewers = self.viewers();
        if viewers.values().sum::<usize>() >= MOST_VIEWERS {
            return Err(TooMany::OfAll);
        }
        let own = viewers.entry(user).or_default();
        if *own >= MOST_OF_A_USER {
            return Err(TooMany::OfOne);
        }
        *own += 1;
        Ok(Viewer { live: Arc::clone(self), user, news: self.news.subscribe() })
    }

    fn viewers(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Viewer {
    /// The next event as it stands on the wire; one called `missed` in place of those that came too fast. None at the end.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        match self.news.recv().await {
            Ok(news) => Some(news),
            Err(RecvError::Lagged(count)) => sse::named("missed", &Missed { count }).ok().map(Arc::from),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut viewers = self.live.viewers();
        if let Some(own) = viewers.get_mut(&self.user) {
            *own -= 1;
        }
        viewers.retain(|_, own| *own > 0);
    }
}

#[cfg(test)]
mod tests {
    use openapi::energy::{Boundary, Energy, EnergyTerms, Grid};
    use openapi::units::{Microjoules, Microseconds};
    use serde_json::{Value, json};

    use super::*;
    use crate::inference::record::AttemptEnergy;

    const NODE: Uuid = Uuid::from_u128(7);
    const USER: Uuid = Uuid::from_u128(9);

    fn record(microjoules: u64, believed: bool) -> AttemptRecord {
        let energy = Energy::exact(Microjoules::new(microjoules), (Tier::B, Boundary::NodeDc), "test/1");
        let (zone, source, basis) = ("DE".to_owned(), "s".to_owned(), "b".to_owned());
        let grid = Some(Grid { zone, mg_per_kwh: 334_100, source, basis });
        let terms = EnergyTerms { grid, believed, tier_cap: Tier::D, ..EnergyTerms::default() };
        AttemptRecord {
            request_id: Uuid::from_u128(3),
            attempt: 1,
            node_id: NODE,
            outcome: Outcome::Completed,
            choice: Some("price".to_owned()),
            prompt_tokens: 8,
            completion_tokens: 4,
            overclaimed_tokens: 0,
            microjoules: energy.microjoules,
            duration_microseconds: Microseconds::new(1_234_567),
            energy: Some(AttemptEnergy::new(&energy, &terms, true)),
            noted: None,
        }
    }

    /// Name and data of what a viewer hears next.
    async fn heard(viewer: &mut Viewer) -> (String, Value) {
        let text = viewer.next().await.unwrap();
        let event = text.strip_prefix("event: ").and_then(|text| text.strip_suffix("\n\n")).unwrap();
        let (name, data) = event.split_once("\ndata: ").unwrap();
        (name.to_owned(), serde_json::from_str(data).unwrap())
    }

    #[tokio::test]
    async fn a_viewer_hears_what_begins_and_ends_and_not_whose_it_is() {
        let live = Arc::new(Live::default());
        let mut viewer = live.watch(USER).unwrap();
        let region = Some("DE".parse().unwrap());
        let attempt = live.began("m\nodel", NODE, region);
        live.ended(attempt, "m\nodel", 40, &record(9_747_126, true));
        let began = json!({"attempt": 1, "model": "m\nodel", "node": NODE, "region": "DE"});
        assert_eq!(heard(&mut viewer).await, ("began".to_owned(), began));
        let ended = json!({"attempt": 1, "model": "m\nodel", "node": NODE, "tokens": 40, "microjoules": 9_750_000,
            "tier": "D", "outcome": "completed", "milliseconds": 1_234});
        assert_eq!(heard(&mut viewer).await, ("ended".to_owned(), ended));
    }

    #[tokio::test]
    async fn what_is_not_believed_has_no_figure() {
        let live = Arc::new(Live::default());
        let mut viewer = live.watch(USER).unwrap();
        live.ended(1, "m", 0, &record(9_747_126, false));
        live.ended(2, "m", 0, &AttemptRecord { energy: None, ..record(0, true) });
        for _ in 0..2 {
            let (_, ended) = heard(&mut viewer).await;
            assert_eq!((&ended["microjoules"], &ended["tier"]), (&Value::Null, &json!("X")));
        }
        assert_eq!(live.totals(), Totals { ended: 2, ..Totals::default() });
    }

    #[test]
    fn sums_are_of_rounded_figures_and_go_on_when_nobody_watches() {
        let live = Live::default();
        for microjoules in [1_234_567, 7_654_321] {
            let attempt = live.began("m", NODE, None);
            live.ended(attempt, "m", 5, &record(microjoules, true));
        }
        let sums =
            Totals { began: 2, ended: 2, tokens: 10, microjoules: 1_230_000 + 7_650_000, micrograms_co2e: 114 + 710 };
        assert_eq!(live.totals(), sums);
    }

    #[tokio::test]
    async fn who_is_too_slow_hears_how_much_was_missed() {
        let live = Arc::new(Live::default());
        let mut viewer = live.watch(USER).unwrap();
        for _ in 0..MOST_BEHIND + 3 {
            live.began("m", NODE, None);
        }
        assert_eq!(heard(&mut viewer).await, ("missed".to_owned(), json!({"count": 3})));
        assert_eq!(heard(&mut viewer).await.1["attempt"], 4);
    }

    #[test]
    fn places_are_few_and_free_again_when_somebody_leaves() {
        let live = Arc::new(Live::default());
        let mut own: Vec<Viewer> = (0..MOST_OF_A_USER).map(|_| live.watch(USER).unwrap()).collect();
        assert_eq!(live.watch(USER).err(), Some(TooMany::OfOne));
        let others: Vec<Viewer> = (own.len()..MOST_VIEWERS).map(|_| live.watch(Uuid::now_v7()).unwrap()).collect();
        assert_eq!(live.watch(Uuid::now_v7()).err(), Some(TooMany::OfAll));
        own.pop();
        assert!(live.watch(USER).is_ok());
        drop((own, others));
        assert!(live.viewers().is_empty() && live.news.receiver_count() == 0);
    }
}
