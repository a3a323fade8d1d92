//! What the search sees of the simulated nodes: as `inference/` shows it the real ones, and with the same names.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openapi::energy::Tier;
use openapi::price::{BilledTokens, Price};
use openapi::units::Microjoules;
use uuid::Uuid;

use super::demand::USUAL_ANSWER;
use super::world::{Request, World};
use crate::nodes::choose::{
    Ask, Candidate, Chosen, Market, NoChoice, Nobody, Room, at_random, best_of, choose, dearest, few, last_resort,
    shortlist,
};
use crate::nodes::health::Passage;
use crate::nodes::marginal::{Profile, Work};
use crate::nodes::preference::{Exclusion, Name, Preference, Sort};
use crate::nodes::skip::Skip;

/// As in `inference/market.rs`.
const LATENCY_OBJECTIVE: Duration = Duration::from_secs(2);
/// What a node is taken for that says nothing of its energy: about the worst tenth of this fleet.
const STAND_IN: Profile = Profile {
    fixed_microjoules_per_step: Microjoules::new(7_000_000),
    decode_microjoules_per_token: Microjoules::new(240_000),
    prefill_microjoules_per_token: Microjoules::new(100_000),
    wake_microjoules: Microjoules::ZERO,
    tier: Tier::E,
    pue_milli: 1_500,
    mg_per_kwh: Some(660_000),
    believed: false,
};

/// The nodes of a model as a request sees them.
struct Look<'a> {
    world: &'a World,
    request: usize,
    model: usize,
    ask: &'a Ask,
}

impl Look<'_> {
    fn node(&self, place: usize) -> Option<usize> {
        self.world.shelves[self.model].nodes.get(place).copied()
    }
}

impl Market for Look<'_> {
    fn count(&self) -> usize {
        self.world.shelves[self.model].nodes.len()
    }

    fn look(&self, place: usize) -> Result<Room, Skip> {
        let node = self.node(place).ok_or(Skip::Unreachable)?;
        self.world.unsuited(self.request, node, self.ask).map_or_else(|| self.world.room(node), Err)
    }

    fn candidate(&self, place: usize) -> Option<Candidate> {
        self.node(place).map(|node| self.world.candidate(node, self.ask))
    }

    fn rests_until(&self, place: usize) -> Option<Instant> {
        self.world.nodes[self.node(place)?].health.until()
    }

    fn order(&self, sort: Sort) -> Arc<[u32]> {
        let figure = |node| self.ask.figure(&self.world.candidate(node, self.ask));
        self.world.shelves[self.model].order(sort, self.world.now, figure)
    }

    fn named(&self, name: &Name) -> Vec<u32> {
        let mut places = self.world.shelves[self.model].names(&self.world.nodes).of(name);
        let is_it = |node: usize| name.is(&self.world.nodes[node].attributes());
        places.retain(|place| self.node(*place as usize).is_some_and(is_it));
        places
    }
}

impl World {
    /// Takes a place on the best node.
    pub(super) fn find(&mut self, request: usize) -> Result<usize, Nobody> {
        let began = Instant::now();
        let (ask, model) = (self.ask(request), self.requests[request].model);
        let look = Look { world: self, request, model, ask: &ask };
        let few = few(&look, &ask);
        let candidates = few.candidates(&look);
        if candidates.is_empty() {
            let place = last_resort(&look, &few)?;
            let node = look.node(place).ok_or(Nobody::Full)?;
            self.figures.last_resorts += 1;
            let passage = self.passage(node);
            self.hold(request, node, passage);
            return Ok(node);
        }
        let place = |place: usize| self.take_one(model, place);
        let Chosen { taken: (node, passage), .. } = best_of(candidates, &ask, place).ok_or(Nobody::Full)?;
        self.decisions.0 += 1;
        self.decisions.1 += began.elapsed();
        self.compare(request, node, &ask);
        self.hold(request, node, passage);
        Ok(node)
    }

    /// The same on one node alone.
    pub(super) fn find_at(&mut self, request: usize, id: Uuid) -> Result<usize, Nobody> {
        let node = *self.by_id.get(&id).ok_or(Nobody::Full)?;
        self.room(node).map_err(|_| Nobody::Full)?;
        if !self.nodes[node].connected || self.nodes[node].model != self.requests[request].model {
            return Err(Nobody::Unsuited(None));
        }
        let ask = self.ask(request);
        if self.unsuited(request, node, &ask).is_some() || choose([self.candidate(node, &ask)], &ask).is_err() {
            return Err(Nobody::Unsuited(None));
        }
        let passage = self.passage(node);
        if passage == Passage::Barred {
            return Err(Nobody::Full);
        }
        self.hold(request, node, passage);
        Ok(node)
    }

    fn take_one(&mut self, model: usize, place: usize) -> Option<(usize, Passage)> {
        let node = *self.shelves[model].nodes.get(place)?;
        let passage = self.passage(node);
        (passage != Passage::Barred).then_some((node, passage))
    }

    fn passage(&mut self, node: usize) -> Passage {
        let now = self.instant();
        self.nodes[node].health.begin(now)
    }

    /// Why a node is not for this request, whether it has room or not.
    pub(super) fn unsuited(&self, request: usize, node: usize, ask: &Ask) -> Option<Skip> {
        let (request, it) = (&self.requests[request], &self.nodes[node]);
        if request.tried.contains(&(node, it.connection)) {
            return Some(Skip::Tried);
        }
        if it.price.completion.get() > request.held {
            return Some(Skip::AboveHold);
        }
        if request.begun.is_some_and(|begun| begun != it.quantisation) {
            return Some(Skip::CannotGoOn);
        }
        self.excluded(node, ask).map(Skip::Preference)
    }

    /// What room a node that suits has at once.
    pub(super) fn room(&self, node: usize) -> Result<Room, Skip> {
        let (node, now) = (&self.nodes[node], self.instant());
        if !node.health.is_up(now) {
            return Err(Skip::Resting);
        }
        node.room().filter(|_| node.health.may_try(now)).ok_or(Skip::Full)
    }

    fn excluded(&self, node: usize, ask: &Ask) -> Option<Exclusion> {
        let preference = &ask.preference;
        let exclusion = preference.excludes(&self.nodes[node].attributes(), &[]);
        let energy = || match ask.excludes(&self.candidate(node, ask))? {
            NoChoice::NoCandidate => None,
            NoChoice::TierTooLow => Some(Exclusion::TierTooLow),
            NoChoice::TooMuchCarbon => Some(Exclusion::TooMuchCarbon),
        };
        let asks_for_energy = preference.min_tier.is_some() || preference.max_micrograms_per_million_tokens.is_some();
        exclusion.or_else(|| asks_for_energy.then(energy).flatten())
    }

    pub(super) fn candidate(&self, node: usize, ask: &Ask) -> Candidate {
        let (node, now) = (&self.nodes[node], self.instant());
        let (state, tokens_per_second) = node.state(now);
        let tokens = BilledTokens { prompt: ask.work.prompt, cached: 0, completion: ask.work.completion };
        Candidate {
            node: node.id,
            profile: node.profile,
            state,
            price: node.price.cost(&tokens),
            tokens_per_second,
            first_byte: node.health.expected_first_byte(ask.work.prompt, now),
        }
    }

    pub(super) fn ask(&mut self, request: usize) -> Ask {
        let request = &self.requests[request];
        let preference = self.preference(request).clone();
        let usual_first_byte = match preference.sort {
            Some(Sort::Latency) => {
                let expected =
                    |node: usize| self.nodes[node].health.expected_first_byte(request.prompt, self.instant());
                self.shelves[request.model].usual_first_byte(self.now, expected)
            }
            _ => Duration::ZERO,
        };
        Ask {
            preference,
            work: Work { prompt: request.prompt, completion: USUAL_ANSWER },
            latency_objective: LATENCY_OBJECTIVE,
            stand_in: STAND_IN,
            usual_first_byte,
            random: self.chance.u64(..),
        }
    }

    /// Nanocredits for a token of the answer that are held for a request: those of the dearest node that may get it.
    pub(super) fn held(&mut self, request: usize) -> u64 {
        let it = &self.requests[request];
        let (model, kind) = (it.model, (it.kind, it.denied));
        let ask = self.ask(request);
        let limited = ask.preference.max_price.is_some_and(|most| most.is_complete());
        self.shelves[model].dearest(kind, self.now, |nodes| {
            let suited = nodes.iter().filter(|node| self.excluded(**node, &ask).is_none());
            let offers: Vec<Price> = suited.map(|node| self.nodes[*node].price).collect();
            dearest(&offers, |price| price.completion, limited).map_or(0, |price| price.completion.get())
        })
    }

    pub(super) fn preference(&self, request: &Request) -> &Preference {
        &self.kinds[request.model].get(request.kind).preferences[usize::from(request.denied)]
    }

    /// Whether anybody suits, with room or without.
    pub(super) fn check(&mut self, request: usize) -> Result<(), Option<Skip>> {
        let ask = self.ask(request);
        let shelf = &self.shelves[self.requests[request].model];
        let look = |place: usize| self.unsuited(request, shelf.nodes[place], &ask).map_or(Ok(Room::Free), Err);
        let found = shortlist(at_random(shelf.nodes.len(), ask.random), 1, look);
        if found.fit.is_empty() { Err(found.nearest) } else { Ok(()) }
    }

    /// Requests of one kind wait for the same nodes.
    pub(super) fn kind(&self, request: usize) -> u64 {
        let request = &self.requests[request];
        let mut hasher = DefaultHasher::new();
        (request.model, request.kind, request.denied, &request.tried, request.begun).hash(&mut hasher);
        hasher.finish()
    }
}
