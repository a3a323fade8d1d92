//! Which node gets a request: a look at those that serve its models, a few that suit, the best of these.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use openapi::error::ApiError;
use openapi::units::Nanocredits;
use time::OffsetDateTime;
use uuid::Uuid;

use super::attempts::Tried;
use super::market::View;
use super::meter::Meter;
use super::request::Request;
use super::terms::Terms;
use crate::app::App;
use crate::nodes::affinity::{Prefix, may_take};
use crate::nodes::choose::{
    Ask, Candidate, Chosen, Market, Nobody, Reason, Room, Shortlist, at_random, best_of, choose, few, last_resort,
    shortlist,
};
use crate::nodes::preference::{Name, Sort};
use crate::nodes::skip::Skip;
use crate::nodes::{Found, Node, ServedModel, Shelf, off_duty, room};

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

impl Search {
    pub(super) fn new(app: &App, meter: &Meter, request: &Arc<Request>, tried: &Tried, task: Task) -> Self {
        // Hashing a prompt takes time, and helps only where somebody keeps it.
        let prefix = match app.nodes.shelf(request.model()).caches_prefixes() {
            true => Prefix::of(&app.secrets.newest.prefixes, meter.account(), request.model(), &request.body),
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
    pub(super) fn find(&self) -> Result<Found, Nobody> {
        let (mut full, mut nearest) = (false, None);
        for model in &self.request.models {
            match self.find_for(model) {
                Ok(found) => return Ok(found),
                Err(Nobody::Full) => full = true,
                Err(Nobody::Unsuited(skip)) => nearest = nearest.max(skip),
            }
        }
        Err(if full { Nobody::Full } else { Nobody::Unsuited(nearest) })
    }

    /// Takes a place for a second try at the same time, for this model: only where a slot is free, and not on the node that
    /// was asked first, whichever connection that has by now.
    pub(super) fn find_beside(&self, first: Uuid, model: &str) -> Option<Found> {
        let shelf = self.app.nodes.shelf(model);
        let now = (Instant::now(), OffsetDateTime::now_utc());
        let view = self.view(model, &shelf);
        let ask = view.ask();
        let look = Look { search: self, view: &view, ask: &ask, now, beside: Some(first) };
        self.best(&look, &few(&look, &ask))
    }

    /// The same on one node alone.
    ///
    /// # Errors
    /// When it does not suit, or has no room.
    pub(super) fn find_at(&self, node: Uuid) -> Result<Found, Nobody> {
        let now = (Instant::now(), OffsetDateTime::now_utc());
        let node = self.app.nodes.get(node).ok_or(Nobody::Full)?;
        // Cheaper than whether it suits, and mostly the answer.
        room(&node, now.0).map_err(|_| Nobody::Full)?;
        for model in self.request.models.iter().filter(|model| node.model_named(model).is_some()) {
            let shelf = self.app.nodes.shelf(model);
            let view = self.view(model, &shelf);
            let ask = view.ask();
            let look = Look { search: self, view: &view, ask: &ask, now, beside: None };
            if look.unsuited(&node).is_none() {
                let choice = choose([view.candidate(&node)], &ask).map_err(|_| Nobody::Full)?;
                let named = ask.preference.order.iter().position(|name| view.is_called(&node, name));
                return self.take(&view, &node, (now.0, self.reason(choice.reason, named))).ok_or(Nobody::Full);
            }
        }
        Err(Nobody::Unsuited(None))
    }

    fn find_for(&self, model: &str) -> Result<Found, Nobody> {
        let shelf = self.app.nodes.shelf(model);
        let now = (Instant::now(), OffsetDateTime::now_utc());
        let view = self.view(model, &shelf);
        let ask = view.ask();
        let look = Look { search: self, view: &view, ask: &ask, now, beside: None };
        if let Some(found) = self.where_it_was(&look) {
            return Ok(found);
        }
        let few = few(&look, &ask);
        if few.fit.is_empty() {
            let place = last_resort(&look, &few)?;
            let node = shelf.nodes().get(place).ok_or(Nobody::Full)?;
            let reason = "the last one, in spite of its failures".to_owned();
            return Ok(Found { lease: self.app.nodes.take_anyway(node, now.0), model: model.to_owned(), reason });
        }
        self.best(&look, &few).ok_or(Nobody::Full)
    }

    /// A place on the best of a few.
    fn best(&self, look: &Look<'_>, few: &Shortlist) -> Option<Found> {
        let take = |place: usize| self.take(look.view, look.node(place)?, (look.now.0, String::new()));
        let Chosen { taken, reason, outdone } = best_of(few.candidates(look), look.ask, take)?;
        let outdone = outdone.into_iter().filter_map(|place| look.node(place));
        outdone.for_each(|other| other.skips.skipped(Skip::Outdone));
        Some(Found { reason: self.reason(reason, few.named), ..taken })
    }

    fn reason(&self, reason: Reason, named: Option<usize>) -> String {
        match named {
            Some(number) => format!("order: number {}", number + 1),
            None if self.request.preference.order.is_empty() => reason.to_string(),
            None => format!("none of 'provider.order'; {reason}"),
        }
    }

    /// The node that has computed the beginning of the prompt, unless that would make it too busy.
    fn where_it_was(&self, look: &Look<'_>) -> Option<Found> {
        let preference = &self.request.preference;
        if preference.sort.is_some() || !preference.order.is_empty() {
            return None;
        }
        let found = self.app.nodes.memory.find(&self.prefix, look.now.0)?;
        let node = self.app.nodes.get(found.node)?;
        if look.unsuited(&node).is_some() || room(&node, look.now.0).is_err() {
            return None;
        }
        let loads = look.view.shelf.nodes().iter().take(LOADS).map(|node| node.state().0.load());
        if !may_take(node.state().0.load(), loads) {
            return None;
        }
        let reason = format!("prefix: {} bytes of the prompt were computed there", found.bytes);
        self.take(look.view, &node, (look.now.0, reason))
    }

    /// Takes a place. None when another request has just taken the one chance of a node that comes back.
    fn take(&self, view: &View<'_>, node: &Arc<Node>, (now, reason): (Instant, String)) -> Option<Found> {
        let lease = self.app.nodes.take(node, now)?;
        if node.model_named(view.model).is_some_and(|model| model.caches_prefixes) {
            self.app.nodes.memory.remember(&self.prefix, node.id, now);
        }
        Some(Found { lease, model: view.model.to_owned(), reason })
    }

    fn view<'a>(&'a self, model: &'a str, shelf: &'a Shelf) -> View<'a> {
        View { app: &self.app, request: &self.request, terms: &self.terms, model, shelf }
    }

    /// Whether anybody suits, with room or without.
    ///
    /// # Errors
    /// The reason of the one that came nearest.
    pub(super) fn check(&self) -> Result<(), Option<Skip>> {
        let now = (Instant::now(), OffsetDateTime::now_utc());
        let mut nearest = None;
        for model in &self.request.models {
            let shelf = self.app.nodes.shelf(model);
            let view = self.view(model, &shelf);
            let ask = view.ask();
            let look = Look { search: self, view: &view, ask: &ask, now, beside: None };
            let suits = |place: usize| match shelf.nodes().get(place) {
                Some(node) => look.unsuited(node).map_or(Ok(Room::Free), Err),
                None => Err(Skip::Unreachable),
            };
            let found = shortlist(at_random(shelf.nodes().len(), ask.random), 1, suits);
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
        self.request.endpoint.kind().hash(&mut hasher);
        self.request.parameters.hash(&mut hasher);
        self.request.preference.hash(&mut hasher);
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

/// The nodes of a model as a search sees them.
struct Look<'a> {
    search: &'a Search,
    view: &'a View<'a>,
    ask: &'a Ask,
    now: (Instant, OffsetDateTime),
    /// Set for a second try at the same time: the node of the first one.
    beside: Option<Uuid>,
}

impl Look<'_> {
    fn node(&self, place: usize) -> Option<&Arc<Node>> {
        self.view.shelf.nodes().get(place)
    }

    /// Why a node is not for this request, whether it has room or not.
    fn unsuited(&self, node: &Node) -> Option<Skip> {
        if let Some(skip) = off_duty(node, self.now.1) {
            return Some(skip);
        }
        let Some((served, price)) = self.view.served(node) else { return Some(Skip::Unreachable) };
        let search = self.search;
        if search.tried.has(node) {
            return Some(Skip::Tried);
        }
        let excluded = || self.view.excluded(node, (&served, price), self.ask).map(Skip::Preference);
        if price.is_none_or(|price| search.held.is_some_and(|held| search.terms.cost_of(search.limit, &price) > held)) {
            // Nothing was held for whom the request does not want.
            return excluded().or(Some(Skip::AboveHold));
        }
        if !search.task.suits(&served) {
            return Some(Skip::CannotGoOn);
        }
        excluded()
    }
}

impl Market for Look<'_> {
    fn count(&self) -> usize {
        self.view.shelf.nodes().len()
    }

    fn look(&self, place: usize) -> Result<Room, Skip> {
        let node = self.node(place).ok_or(Skip::Unreachable)?;
        let room = self.unsuited(node).map_or_else(|| room(node, self.now.0), Err);
        match self.beside {
            None => room.inspect_err(|skip| node.skips.skipped(*skip)),
            Some(first) if first == node.id => Err(Skip::Tried),
            Some(_) => room.and_then(|room| if room == Room::Free { Ok(room) } else { Err(Skip::Full) }),
        }
    }

    fn candidate(&self, place: usize) -> Option<Candidate> {
        self.node(place).map(|node| self.view.candidate(node))
    }

    fn rests_until(&self, place: usize) -> Option<Instant> {
        self.node(place)?.rests_until()
    }

    fn order(&self, sort: Sort) -> Arc<[u32]> {
        self.view.shelf.order(sort, |node| self.ask.figure(&self.view.candidate(node)))
    }

    fn named(&self, name: &Name) -> Vec<u32> {
        let mut places = self.view.shelf.named(name);
        places.retain(|place| self.node(*place as usize).is_some_and(|node| self.view.is_called(node, name)));
        places
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
