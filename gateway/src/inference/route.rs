//! Which node gets a request: a look at those that serve its models, a few that suit, the best of these.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openapi::error::ApiError;
use openapi::price::Price;
use openapi::units::Nanocredits;
use time::OffsetDateTime;
use uuid::Uuid;

use super::attempts::Tried;
use super::meter::Meter;
use super::profile::{profile, stand_in, work};
use super::request::Request;
use super::terms::Terms;
use crate::app::App;
use crate::nodes::affinity::{Prefix, may_take};
use crate::nodes::choose::{Ask, COMPARED, Candidate, Choice, DRAWN, NoChoice, Shortlist, choose, shortlist};
use crate::nodes::preference::{Attributes, Exclusion};
use crate::nodes::skip::Skip;
use crate::nodes::{Found, Node, ServedModel, Shelf, occupied, off_duty};

/// Work gathers on busy nodes for as long as their first bytes usually come within this time.
const LATENCY_OBJECTIVE: Duration = Duration::from_secs(2);
/// Nodes whose load stands for that of all.
const LOADS: usize = 64;

/// What the node has to be able to do.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// Begin the answer.
    Begin,
    /// Go on with it: the same model, and, where the text must stay the same to the letter, the same build.
    GoOn { model: ServedModel, same_build: bool },
}

impl Task {
    fn suits(&self, model: &ServedModel) -> bool {
        match self {
            Self::Begin => true,
            Self::GoOn { model: begun, same_build } => {
                model.continues && model.id == begun.id && (!same_build || model.fingerprint == begun.fingerprint)
            }
        }
    }
}

/// A search for a node, which can be made again as long as the request waits.
pub(super) struct Search {
    app: App,
    request: Arc<Request>,
    terms: Terms,
    /// Tokens that the answer may have, and what was held for them.
    limit: u64,
    held: Option<Nanocredits>,
    tried: Tried,
    task: Task,
    prefix: Prefix,
}

/// Nobody can take the request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoNode {
    /// Who suits has no room: it is worth waiting.
    Full,
    /// Nobody suits; the reason of the one that came nearest.
    Unsuited(Option<Skip>),
}

impl Search {
    pub(super) fn new(app: &App, meter: &Meter, request: &Arc<Request>, tried: &Tried, task: Task) -> Self {
        // Hashing a prompt takes time, and helps only where somebody keeps it.
        let prefix = match app.nodes.shelf(request.model()).caches_prefixes() {
            true => Prefix::of(&app.secrets.prefixes, meter.account(), request.model(), &request.body),
            false => Prefix::default(),
        };
        Self {
            app: app.clone(),
            request: Arc::clone(request),
            terms: *meter.terms(),
            limit: meter.limit(),
            held: meter.held(),
            tried: tried.clone(),
            task,
            prefix,
        }
    }

    /// Takes a place on the best node for the first of the request's models that anybody has room for.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find(&self) -> Result<Found, NoNode> {
        let (mut full, mut nearest) = (false, None);
        for model in &self.request.models {
            match self.find_for(model) {
                Ok(found) => return Ok(found),
                Err(NoNode::Full) => full = true,
                Err(NoNode::Unsuited(skip)) => nearest = nearest.max(skip),
            }
        }
        Err(if full { NoNode::Full } else { NoNode::Unsuited(nearest) })
    }

    /// Takes a place for a second try at the same time, for this model: only where a slot is free, and not on the node that
    /// was asked first, whichever connection that has by now.
    pub(super) fn find_beside(&self, first: Uuid, model: &str) -> Option<Found> {
        let shelf = self.app.nodes.shelf(model);
        let now = (Instant::now(), OffsetDateTime::now_utc());
        let ask = self.ask(&shelf, model);
        let look = |place: usize| {
            let node = shelf.nodes().get(place).ok_or(Skip::Unreachable)?;
            let is_free = node.id != first && !node.state().0.is_full();
            let skip = self.unsuited(node, model, &ask, now.1).or_else(|| occupied(node, now.0));
            skip.or_else(|| (!is_free).then_some(Skip::Full)).map_or(Ok(()), Err)
        };
        let found = self.shortlist(&shelf, model, &ask, look);
        self.best_of(&shelf, model, &ask, (found.fit, now.0))
    }

    fn find_for(&self, model: &str) -> Result<Found, NoNode> {
        let shelf = self.app.nodes.shelf(model);
        let now = (Instant::now(), OffsetDateTime::now_utc());
        let ask = self.ask(&shelf, model);
        if let Some(found) = self.where_it_was(&shelf, model, &ask, now) {
            return Ok(found);
        }
        let look = |place: usize| {
            let node = shelf.nodes().get(place).ok_or(Skip::Unreachable)?;
            let skip = self.unsuited(node, model, &ask, now.1).or_else(|| occupied(node, now.0));
            skip.map_or(Ok(()), |skip| {
                node.skips.skipped(skip);
                Err(skip)
            })
        };
        let found = self.shortlist(&shelf, model, &ask, look);
        if found.fit.is_empty() {
            return self.last_resort(&shelf, model, &ask, (&found, now));
        }
        self.best_of(&shelf, model, &ask, (found.fit, now.0)).ok_or(NoNode::Full)
    }

    /// The node that has computed the beginning of the prompt, unless that would make it too busy.
    fn where_it_was(
        &self,
        shelf: &Shelf,
        model: &str,
        ask: &Ask,
        (now, date): (Instant, OffsetDateTime),
    ) -> Option<Found> {
        let preference = &self.request.preference;
        if preference.sort.is_some() || !preference.order.is_empty() {
            return None;
        }
        let found = self.app.nodes.memory.find(&self.prefix, now)?;
        let node = shelf.nodes().iter().find(|node| node.id == found.node)?;
        if self.unsuited(node, model, ask, date).is_some() || occupied(node, now).is_some() {
            return None;
        }
        let loads = shelf.nodes().iter().take(LOADS).map(|node| node.state().0.load());
        if !may_take(node.state().0.load(), loads) {
            return None;
        }
        let reason = format!("prefix: {} bytes of the prompt were computed there", found.bytes);
        let lease = self.app.nodes.take(node, now)?;
        self.remember(node, model, now);
        Some(Found { lease, model: model.to_owned(), reason })
    }

    /// Those among which is chosen.
    fn shortlist(
        &self,
        shelf: &Shelf,
        model: &str,
        ask: &Ask,
        look: impl FnMut(usize) -> Result<(), Skip>,
    ) -> Shortlist {
        let (count, preference) = (shelf.nodes().len(), &self.request.preference);
        if !preference.order.is_empty() {
            let mut all = shortlist(count, None, (count, ask.random), look);
            let place = |at: &usize| shelf.nodes().get(*at).map_or(usize::MAX, |node| self.place(node, model));
            let first = all.fit.iter().map(place).min();
            all.fit.retain(|at| Some(place(at)) == first);
            return all;
        }
        let order = preference.sort.map(|sort| shelf.order(sort, |node| ask.figure(&self.candidate(node, model))));
        let enough = if order.is_some() { COMPARED } else { DRAWN };
        shortlist(count, order.as_deref(), (enough, ask.random), look)
    }

    /// The best of those that suit; the next best when another request has just taken the one chance of a node that comes
    /// back.
    fn best_of(&self, shelf: &Shelf, model: &str, ask: &Ask, (fit, now): (Vec<usize>, Instant)) -> Option<Found> {
        let mut nodes: Vec<&Arc<Node>> = fit.into_iter().filter_map(|place| shelf.nodes().get(place)).collect();
        loop {
            let candidates = nodes.iter().map(|node| self.candidate(node, model));
            let Choice { node: chosen, reason } = choose(candidates, ask).ok()?;
            let at = nodes.iter().position(|node| node.id == chosen)?;
            let node = nodes.swap_remove(at);
            if let Some(lease) = self.app.nodes.take(node, now) {
                nodes.iter().for_each(|other| other.skips.skipped(Skip::Outdone));
                self.remember(node, model, now);
                let reason = match self.place(node, model) {
                    _ if self.request.preference.order.is_empty() => reason.to_string(),
                    place if place < self.request.preference.order.len() => format!("order: number {}", place + 1),
                    _ => format!("none of 'provider.order'; {reason}"),
                };
                return Some(Found { lease, model: model.to_owned(), reason });
            }
        }
    }

    fn remember(&self, node: &Node, model: &str, now: Instant) {
        if node.model_named(model).is_some_and(|model| model.caches_prefixes) {
            self.app.nodes.memory.remember(&self.prefix, node.id, now);
        }
    }

    /// When everybody who suits rests after failures, the one that is back first: the last one is never shut out.
    fn last_resort(
        &self,
        shelf: &Shelf,
        model: &str,
        ask: &Ask,
        (found, now): (&Shortlist, (Instant, OffsetDateTime)),
    ) -> Result<Found, NoNode> {
        if found.full {
            return Err(NoNode::Full);
        }
        if found.nearest != Some(Skip::Resting) {
            return Err(NoNode::Unsuited(found.nearest));
        }
        let resting = shelf.nodes().iter().filter(|node| self.unsuited(node, model, ask, now.1).is_none());
        let node = resting.min_by_key(|node| node.rests_until()).ok_or(NoNode::Unsuited(found.nearest))?;
        let reason = "the last one, in spite of its failures".to_owned();
        Ok(Found { lease: self.app.nodes.take_anyway(node, now.0), model: model.to_owned(), reason })
    }

    /// Why a node is not for this request, whether it has room or not.
    fn unsuited(&self, node: &Node, model: &str, ask: &Ask, date: OffsetDateTime) -> Option<Skip> {
        if let Some(skip) = off_duty(node, date) {
            return Some(skip);
        }
        let Some(served) = node.model_named(model) else { return Some(Skip::Unreachable) };
        let price = self.price(node, &served);
        if self.tried.has(node) {
            return Some(Skip::Tried);
        }
        let is_too_dear = |price: &Price| self.held.is_some_and(|held| self.terms.cost_of(self.limit, price) > held);
        if price.as_ref().is_none_or(is_too_dear) {
            return Some(Skip::AboveHold);
        }
        if !self.task.suits(&served) {
            return Some(Skip::CannotGoOn);
        }
        self.excluded(node, (&served, price), ask).map(Skip::Preference)
    }

    fn excluded(&self, node: &Node, (served, price): (&ServedModel, Option<Price>), ask: &Ask) -> Option<Exclusion> {
        let preference = &self.request.preference;
        let exclusion = self.with_attributes(node, (served, price), |attributes| {
            preference.excludes(attributes, &self.request.parameters)
        });
        let energy = || match ask.excludes(&self.candidate_at(node, price))? {
            NoChoice::NoCandidate => None,
            NoChoice::TierTooLow => Some(Exclusion::TierTooLow),
            NoChoice::TooMuchCarbon => Some(Exclusion::TooMuchCarbon),
        };
        let asks_for_energy = preference.min_tier.is_some() || preference.max_micrograms_per_million_tokens.is_some();
        exclusion.or_else(|| asks_for_energy.then(energy).flatten())
    }

    fn place(&self, node: &Node, model: &str) -> usize {
        let preference = &self.request.preference;
        let Some(served) = node.model_named(model) else { return preference.order.len() };
        self.with_attributes(node, (&served, self.price(node, &served)), |attributes| preference.place(attributes))
    }

    fn price(&self, node: &Node, served: &ServedModel) -> Option<Price> {
        self.app.prices.of(node.id, &served.id, self.terms.at).map(|version| version.price)
    }

    fn with_attributes<T>(
        &self,
        node: &Node,
        (served, price): (&ServedModel, Option<Price>),
        ask: impl FnOnce(&Attributes<'_>) -> T,
    ) -> T {
        let (offer, registered) = (node.offer(), node.registered());
        ask(&Attributes {
            node: node.id,
            name: &registered.name,
            operator: registered.operator,
            region: offer.region.as_ref(),
            denies_data_collection: offer.denies_data_collection,
            quantisation: &served.quantisation,
            price,
            parameters: served.parameters.as_deref(),
        })
    }

    fn candidate(&self, node: &Node, model: &str) -> Candidate {
        self.candidate_at(node, node.model_named(model).and_then(|served| self.price(node, &served)))
    }

    fn candidate_at(&self, node: &Node, price: Option<Price>) -> Candidate {
        let (state, tokens_per_second) = node.state();
        Candidate {
            node: node.id,
            profile: profile(&self.app, node),
            state,
            price: price.map_or(Nanocredits::ZERO, |price| self.terms.cost(&price)),
            tokens_per_second,
        }
    }

    fn ask(&self, shelf: &Shelf, model: &str) -> Ask {
        Ask {
            preference: self.request.preference.clone(),
            work: work(&self.app, &self.request, model, &self.terms),
            latency_objective: LATENCY_OBJECTIVE,
            stand_in: shelf.stand_in(|nodes| stand_in(nodes.iter().filter_map(|node| profile(&self.app, node)))),
            random: fastrand::u64(..),
        }
    }

    /// Whether anybody suits, with room or without.
    ///
    /// # Errors
    /// The reason of the one that came nearest.
    pub(super) fn check(&self) -> Result<(), Option<Skip>> {
        let date = OffsetDateTime::now_utc();
        let mut nearest = None;
        for model in &self.request.models {
            let shelf = self.app.nodes.shelf(model);
            let ask = self.ask(&shelf, model);
            let look = |place: usize| match shelf.nodes().get(place) {
                Some(node) => self.unsuited(node, model, &ask, date).map_or(Ok(()), Err),
                None => Err(Skip::Unreachable),
            };
            let found = shortlist(shelf.nodes().len(), None, (1, ask.random), look);
            if !found.fit.is_empty() {
                return Ok(());
            }
            nearest = nearest.max(found.nearest);
        }
        Err(nearest)
    }

    /// What decides who suits: requests of one kind wait for the same nodes.
    pub(super) fn kind(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.request.models.hash(&mut hasher);
        self.request.parameters.hash(&mut hasher);
        self.request.preference.to_value().to_string().hash(&mut hasher);
        self.tried.hash(&mut hasher);
        if let Task::GoOn { model, same_build } = &self.task {
            (&model.id, same_build.then_some(&model.fingerprint)).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// For the client, when nobody suits: what it asked for is the reason, and asking for less helps.
    pub(super) fn refusal(&self, nearest: Option<Skip>) -> ApiError {
        const SECONDS: u32 = 30;
        let Some(Skip::Preference(exclusion)) = nearest else { return no_node(self.request.model()) };
        let asked = exclusion.sentence(&self.request.preference);
        ApiError::overloaded(
            format!("{asked}, and no node that serves this model can give that now. Ask for less, or try again later."),
            SECONDS,
        )
    }
}

/// For the client, when nobody is there.
pub(super) fn no_node(model: &str) -> ApiError {
    const SECONDS: u32 = 5;
    ApiError::overloaded(
        format!("No node can answer for the model '{model}' at the moment. Try again shortly."),
        SECONDS,
    )
}
