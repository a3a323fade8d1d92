//! A few good candidates out of very many nodes, without a look at all of them.
//!
//! Without an order, nodes are looked at in a random one, until enough suit: two are as good as all (Mitzenmacher 2001).
//! With an order, from the best one on: what is exact about it is then decided among those that were found.

use super::super::skip::Skip;

/// Nodes that are compared exactly when the request says what comes first.
pub const COMPARED: usize = 16;
/// Nodes of which the less loaded one is taken when it does not.
pub const DRAWN: usize = 2;
/// A node is sent one request ahead for so many slots, and at least one.
const SLOTS_AHEAD: u32 = 8;
/// After a look at so many that suit and are busy, a place ahead will do: hardly anybody has a free slot.
const BUSY: usize = 4_000;

/// What room a node has for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// A slot is free.
    Free,
    /// The request may wait there until a slot is free.
    Ahead,
}

impl Room {
    /// With so many requests on a node that lets so many wait. It is sent one ahead for every eight slots, and at least one,
    /// so that none of its slots is idle while the next request is on its way.
    pub fn of(running: u32, slots: u32, queue: u32) -> Option<Self> {
        let ahead = (slots / SLOTS_AHEAD).max(1).min(queue);
        let has_ahead = running < slots.saturating_add(ahead);
        if running < slots { Some(Self::Free) } else { has_ahead.then_some(Self::Ahead) }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shortlist {
    /// Places of nodes that suit and have room: those with a free slot, or, when there is none, with a place ahead.
    pub fit: Vec<usize>,
    /// They are places ahead.
    pub ahead: bool,
    /// Nobody who suits has room, and some would have sufficed otherwise.
    pub full: bool,
    /// The reason of the one that came nearest, if none suits.
    pub nearest: Option<Skip>,
    /// Which of the names in the request's `order` they bear, from 0.
    pub named: Option<usize>,
}

/// Looks at nodes, one place after the other, until `enough` suit and have a free slot, or all were looked at.
pub fn shortlist(
    places: impl IntoIterator<Item = usize>,
    enough: usize,
    mut look: impl FnMut(usize) -> Result<Room, Skip>,
) -> Shortlist {
    let (mut found, mut ahead, mut busy) = (Shortlist::default(), Vec::new(), 0);
    for place in places {
        match look(place) {
            Ok(Room::Free) => found.fit.push(place),
            Ok(Room::Ahead) => {
                busy += 1;
                if ahead.len() < enough {
                    ahead.push(place);
                }
            }
            Err(skip) => {
                busy += usize::from(skip == Skip::Full);
                found.full |= skip == Skip::Full;
                found.nearest = found.nearest.max(Some(skip));
            }
        }
        if found.fit.len() == enough || busy >= BUSY && !(found.fit.is_empty() && ahead.is_empty()) {
            break;
        }
    }
    if found.fit.is_empty() {
        (found.ahead, found.fit) = (!ahead.is_empty(), ahead);
    }
    found.full &= found.fit.is_empty();
    found
}

/// Every place below `count` once, from a random one on and with a random step.
pub fn at_random(count: usize, random: u64) -> impl Iterator<Item = usize> {
    let size = count.max(1) as u64;
    let (start, mut step) = (random % size, (random >> 32) % size);
    while greatest_common_divisor(step, size) != 1 {
        step = (step + 1) % size;
    }
    (0..count as u64).map(move |turn| ((start + turn * step) % size) as usize)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn enough_are_enough() {
        let mut looks = 0;
        let found = shortlist(at_random(10_000, 99), DRAWN, |_| {
            looks += 1;
            Ok(Room::Free)
        });
        assert_eq!((found.fit.len(), looks), (2, 2));
        let even = |place| if place % 2 == 0 { Ok(Room::Free) } else { Err(Skip::Full) };
        let found = shortlist((0..100).rev(), 3, even);
        assert_eq!(found.fit, [98, 96, 94]);
        assert!(!found.full, "somebody has room");
    }

    #[test]
    fn a_slot_is_free_until_all_are_taken_and_then_few_may_wait() {
        let rooms = |slots, queue| (0..=slots + 2).map(|running| Room::of(running, slots, queue)).collect::<Vec<_>>();
        let (free, ahead) = (Some(Room::Free), Some(Room::Ahead));
        assert_eq!(rooms(2, 9), [free, free, ahead, None, None]);
        assert_eq!(rooms(1, 0), [free, None, None, None]);
        assert_eq!((Room::of(17, 16, 9), Room::of(18, 16, 9), Room::of(17, 16, 1)), (ahead, None, None));
    }

    #[test]
    fn a_free_slot_is_found_behind_any_number_of_places_ahead() {
        let idle = |place| Ok(if place == 2 { Room::Free } else { Room::Ahead });
        assert_eq!(shortlist(0..3, DRAWN, idle).fit, [2]);
        assert_eq!(shortlist((0..BUSY).rev(), DRAWN, idle).fit, [2]);
        let nobody = shortlist(0..9, DRAWN, |_| Ok(Room::Ahead));
        assert_eq!((nobody.fit, nobody.full), (vec![0, 1], false), "then the places ahead");
    }

    #[test]
    fn among_very_many_that_are_busy_the_search_has_an_end() {
        let mut looks = 0;
        let found = shortlist(at_random(100_000, 7), DRAWN, |_| {
            looks += 1;
            if looks == 500 { Ok(Room::Ahead) } else { Err(Skip::Full) }
        });
        assert_eq!((found.fit.len(), looks), (1, BUSY));
        let found = shortlist(0..100_000, DRAWN, |place| if place < 99_999 { Err(Skip::Full) } else { Ok(Room::Free) });
        assert_eq!(found.fit, [99_999], "as long as nobody has room at all, everybody is looked at");
    }

    #[test]
    fn pairs_are_drawn_evenly() {
        let mut times = [0_u32; 20];
        for _ in 0..20_000 {
            for place in shortlist(at_random(20, fastrand::u64(..)), DRAWN, |_| Ok(Room::Free)).fit {
                times[place] += 1;
            }
        }
        assert!(times.iter().all(|times| (1_700..2_300).contains(times)), "{times:?}");
    }

    proptest! {
        #[test]
        fn everybody_is_looked_at_once_when_nobody_suits(count in 0_usize..300, random in any::<u64>()) {
            let mut seen = BTreeSet::new();
            let found = shortlist(at_random(count, random), 2, |place| {
                assert!(seen.insert(place));
                Err(if place == 0 { Skip::Full } else { Skip::Paused })
            });
            prop_assert_eq!(seen.len(), count);
            prop_assert_eq!((found.full, found.nearest), (count > 0, (count > 0).then_some(Skip::Full)));
        }

        #[test]
        fn nobody_is_sent_to_wait_while_a_slot_is_free(rooms in prop::collection::vec(0..3, 0..300), random in any::<u64>()) {
            let room = |place: usize| match rooms[place] { 0 => Err(Skip::Full), 1 => Ok(Room::Ahead), _ => Ok(Room::Free) };
            let found = shortlist(at_random(rooms.len(), random), DRAWN, room);
            let best = rooms.iter().copied().max().unwrap_or_default();
            prop_assert!(found.fit.iter().all(|place| rooms[*place] == best));
            prop_assert_eq!(found.fit.is_empty(), best == 0);
        }
    }
}
