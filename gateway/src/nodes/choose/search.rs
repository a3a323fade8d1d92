//! From all nodes of a model to the one that gets a request: whom the request names, or a few that suit, or the last one
//! that is left. Pure: what there is to know of the nodes is asked of a [`Market`].

use std::sync::Arc;
use std::time::Instant;

use super::super::preference::{Name, Sort};
use super::super::skip::Skip;
use super::shortlist::{COMPARED, DRAWN, Room, Shortlist, at_random, shortlist};
use super::{Ask, Candidate, Choice, Reason, choose};

/// The nodes of a model as one request sees them, each at its place.
pub trait Market {
    /// How many there are.
    fn count(&self) -> usize;

    /// What room there is for the request.
    ///
    /// # Errors
    /// Why it can't go there.
    fn look(&self, place: usize) -> Result<Room, Skip>;

    /// What is compared. None when the place is nobody's.
    fn candidate(&self, place: usize) -> Option<Candidate>;

    /// When a node that rests is back.
    fn rests_until(&self, place: usize) -> Option<Instant>;

    /// All places, roughly in the order of what the request puts first.
    fn order(&self, sort: Sort) -> Arc<[u32]>;

    /// Places of those that a name may mean.
    fn named(&self, name: &Name) -> Vec<u32>;
}

/// Nobody can take the request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// Who suits has no room: it is worth waiting.
    Full,
    /// Nobody suits; the reason of the one that came nearest.
    Unsuited(Option<Skip>),
}

/// A place that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen<T> {
    pub taken: T,
    pub reason: Reason,
    /// Places of those that would have done too.
    pub outdone: Vec<usize>,
}

/// Those among which is chosen: the first in the request's `order` who has a free slot, or else a few of all who have one.
/// When nobody has, the same for places ahead.
pub fn few(market: &impl Market, ask: &Ask) -> Shortlist {
    let named = named(market, ask);
    if named.as_ref().is_some_and(|found| !found.ahead) {
        return named.unwrap_or_default();
    }
    let found = of_all(market, ask);
    named.filter(|_| found.ahead || found.fit.is_empty()).unwrap_or(found)
}

/// The first in the request's `order` with a free slot, or with a place ahead.
fn named(market: &impl Market, ask: &Ask) -> Option<Shortlist> {
    let mut waits = None;
    for (number, name) in ask.preference.order.iter().enumerate() {
        let places = market.named(name);
        let places = at_random(places.len(), ask.random).filter_map(|at| places.get(at).map(|place| *place as usize));
        let found = shortlist(places, enough(ask), |place| market.look(place));
        let found = Some(Shortlist { named: Some(number), ..found }).filter(|found| !found.fit.is_empty());
        match found {
            Some(found) if !found.ahead => return Some(found),
            found => waits = waits.or(found),
        }
    }
    waits
}

fn enough(ask: &Ask) -> usize {
    if ask.preference.sort.is_some() { COMPARED } else { DRAWN }
}

fn of_all(market: &impl Market, ask: &Ask) -> Shortlist {
    let look = |place| market.look(place);
    match ask.preference.sort.map(|sort| market.order(sort)) {
        Some(order) => shortlist(order.iter().map(|place| *place as usize), enough(ask), look),
        None => shortlist(at_random(market.count(), ask.random), enough(ask), look),
    }
}

/// Takes the best of a few; the next best when another request has just taken the one chance of a node that comes back.
pub fn best_of<T>(
    mut few: Vec<(usize, Candidate)>,
    ask: &Ask,
    mut take: impl FnMut(usize) -> Option<T>,
) -> Option<Chosen<T>> {
    loop {
        let Choice { node, reason } = choose(few.iter().map(|(_, candidate)| *candidate), ask).ok()?;
        let at = few.iter().position(|(_, candidate)| candidate.node == node)?;
        let (place, _) = few.swap_remove(at);
        if let Some(taken) = take(place) {
            return Some(Chosen { taken, reason, outdone: few.into_iter().map(|(place, _)| place).collect() });
        }
    }
}

/// When everybody who suits rests after failures, the one that is back first: the last one is never shut out.
///
/// # Errors
/// When it is for something else that nobody was found.
pub fn last_resort(market: &impl Market, found: &Shortlist) -> Result<usize, Nobody> {
    if found.full {
        return Err(Nobody::Full);
    }
    let rest = (0..market.count()).filter(|place| market.look(*place) == Err(Skip::Resting));
    let first = rest.min_by_key(|place| market.rests_until(*place));
    first.filter(|_| found.nearest == Some(Skip::Resting)).ok_or(Nobody::Unsuited(found.nearest))
}

impl Shortlist {
    /// They with what is compared.
    pub fn candidates(&self, market: &impl Market) -> Vec<(usize, Candidate)> {
        self.fit.iter().filter_map(|place| Some((*place, market.candidate(*place)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use openapi::units::Nanocredits;
    use serde_json::json;
    use uuid::Uuid;

    use super::super::super::marginal::tests::H100;
    use super::super::super::marginal::{HONEST, State, Work};
    use super::super::super::preference::Preference;
    use super::*;

    /// Nodes that are called by their places, and how often one was looked at.
    struct Nodes {
        looks: Vec<Result<Room, Skip>>,
        looked: Cell<usize>,
    }

    impl Nodes {
        fn new(looks: impl IntoIterator<Item = Result<Room, Skip>>) -> Self {
            Self { looks: looks.into_iter().collect(), looked: Cell::new(0) }
        }
    }

    impl Market for Nodes {
        fn count(&self) -> usize {
            self.looks.len()
        }

        fn look(&self, place: usize) -> Result<Room, Skip> {
            self.looked.set(self.looked.get() + 1);
            self.looks[place]
        }

        fn candidate(&self, place: usize) -> Option<Candidate> {
            let state = State { running: 0, slots: 1, typical_first_byte: Duration::ZERO, handicap_ppm: HONEST };
            Some(Candidate {
                node: Uuid::from_u128(place as u128),
                profile: None,
                state,
                price: Nanocredits::new(place as u64),
                tokens_per_second: 1,
                first_byte: None,
            })
        }

        fn rests_until(&self, place: usize) -> Option<Instant> {
            Some(Instant::now() + Duration::from_secs(100 - place as u64))
        }

        fn order(&self, _: Sort) -> Arc<[u32]> {
            (0..self.looks.len() as u32).collect()
        }

        fn named(&self, name: &Name) -> Vec<u32> {
            name.to_string().parse().into_iter().collect()
        }
    }

    fn ask(provider: &serde_json::Value) -> Ask {
        Ask {
            preference: Preference::read(Some(provider)).unwrap(),
            work: Work { prompt: 1, completion: 1 },
            latency_objective: Duration::from_secs(2),
            stand_in: H100,
            usual_first_byte: Duration::ZERO,
            random: 7,
        }
    }

    const FREE: Result<Room, Skip> = Ok(Room::Free);
    const AHEAD: Result<Room, Skip> = Ok(Room::Ahead);

    #[test]
    fn who_is_named_is_found_without_a_look_at_all_others() {
        let nodes = Nodes::new((0..10_000).map(|place| if place == 9_000 { Err(Skip::Full) } else { FREE }));
        let found = few(&nodes, &ask(&json!({"order": ["9000", "9999", "1"]})));
        assert_eq!((found.fit, found.named, nodes.looked.get()), (vec![9_999], Some(1), 2));
    }

    #[test]
    fn whoever_has_a_free_slot_goes_before_a_named_one_that_is_busy() {
        let order = ask(&json!({"order": ["0", "1"], "sort": "price"}));
        let found = |looks: [Result<Room, Skip>; 4]| {
            let found = few(&Nodes::new(looks), &order);
            (found.fit, found.named)
        };
        assert_eq!(found([AHEAD, FREE, FREE, FREE]), (vec![1], Some(1)));
        assert_eq!(found([AHEAD, AHEAD, Err(Skip::Full), FREE]), (vec![3], None));
        assert_eq!(found([AHEAD, AHEAD, Err(Skip::Full), AHEAD]), (vec![0], Some(0)), "all wait");
        assert_eq!(found([Err(Skip::Full), Err(Skip::Paused), AHEAD, AHEAD]), (vec![2, 3], None));
    }

    #[test]
    fn the_next_best_is_taken_when_the_best_was_taken_by_another() {
        let (nodes, ask) = (Nodes::new([FREE; 4]), ask(&json!({"sort": "price"})));
        let candidates = few(&nodes, &ask).candidates(&nodes);
        let chosen = best_of(candidates.clone(), &ask, |place| (place > 1).then_some(place)).unwrap();
        assert_eq!((chosen.taken, chosen.outdone), (2, vec![3]));
        assert_eq!(best_of(candidates, &ask, |_| None::<()>), None);
    }

    #[test]
    fn the_last_one_is_never_shut_out_but_nobody_who_does_not_suit_is_sent_there() {
        let refused = Err(Skip::Paused);
        let last = |looks: [Result<Room, Skip>; 3]| {
            let nodes = Nodes::new(looks);
            last_resort(&nodes, &few(&nodes, &ask(&json!({}))))
        };
        assert_eq!(last([Err(Skip::Resting), refused, Err(Skip::Resting)]), Ok(2), "it is back first");
        assert_eq!(last([Err(Skip::Resting), Err(Skip::Full), refused]), Err(Nobody::Full));
        assert_eq!(last([refused; 3]), Err(Nobody::Unsuited(Some(Skip::Paused))));
    }
}
