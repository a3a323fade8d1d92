//! Which node had which beginning last.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashlink::LruCache;
use uuid::Uuid;

use super::prefix::Prefix;

/// Afterwards an engine has probably used the room for something else.
const LIFETIME: Duration = Duration::from_secs(600);
/// About 5 MiB, and the beginnings of some thousand conversations.
const ENTRIES: usize = 65_536;

/// The beginnings that nodes have computed in the last ten minutes, the latest ones if there are many.
pub struct Memory {
    known: Mutex<Known>,
}

/// A node that has a beginning of what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    pub node: Uuid,
    /// How many borders of the prefix lie in what it has.
    pub blocks: usize,
    /// How much of the conversation's JSON text it has.
    pub bytes: usize,
}

struct Known {
    places: LruCache<u64, Place>,
    /// When nodes were forgotten: what was remembered of them before that does not count.
    forgotten: HashMap<Uuid, Instant>,
}

#[derive(Clone, Copy)]
struct Place {
    node: Uuid,
    at: Instant,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(ENTRIES)
    }
}

impl Memory {
    /// An empty one. It holds so many borders; a conversation has up to 64.
    pub fn new(entries: usize) -> Self {
        Self { known: Mutex::new(Known { places: LruCache::new(entries), forgotten: HashMap::new() }) }
    }

    /// The node that has the longest beginning.
    pub fn find(&self, prefix: &Prefix, now: Instant) -> Option<Match> {
        let known = self.lock();
        prefix.borders().iter().rev().find_map(|border| {
            let place = known.places.peek(&border.hash).filter(|place| known.counts(place, now))?;
            Some(Match { node: place.node, blocks: border.blocks, bytes: border.bytes })
        })
    }

    /// Takes note that a node computes this.
    pub fn remember(&self, prefix: &Prefix, node: Uuid, now: Instant) {
        let mut known = self.lock();
        for border in prefix.borders() {
            known.places.insert(border.hash, Place { node, at: now });
        }
    }

    /// Takes note that a node has nothing computed any more, since it has left.
    pub fn forget(&self, node: Uuid, now: Instant) {
        let mut known = self.lock();
        known.forgotten.retain(|_, at| now.saturating_duration_since(*at) < LIFETIME);
        known.forgotten.insert(node, now);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn counts(&self, place: &Place, now: Instant) -> bool {
        let is_gone = self.forgotten.get(&place.node).is_some_and(|at| place.at <= *at);
        !is_gone && now.saturating_duration_since(place.at) < LIFETIME
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    /// A conversation of messages of 300 bytes, each of one letter.
    fn prefix(letters: &str) -> Prefix {
        let messages: Vec<_> = letters.chars().map(|letter| json!(letter.to_string().repeat(298))).collect();
        Prefix::of(&[7; 32], Uuid::nil(), "m", json!({"messages": messages}).to_string().as_bytes())
    }

    #[test]
    fn the_longest_beginning_wins() {
        let (memory, now) = (Memory::default(), Instant::now());
        assert_eq!(memory.find(&prefix("abc"), now), None);
        memory.remember(&prefix("ab"), ONE, now);
        memory.remember(&prefix("ax"), OTHER, now);
        // Borders lie at 256, 300, 512, 600 and 900.
        assert_eq!(memory.find(&prefix("abc"), now), Some(Match { node: ONE, blocks: 4, bytes: 600 }));
        assert_eq!(memory.find(&prefix("ay"), now), Some(Match { node: OTHER, blocks: 2, bytes: 300 }));
        assert_eq!(memory.find(&prefix("bab"), now), None);
        assert_eq!(memory.find(&Prefix::default(), now), None);
    }

    #[test]
    fn after_ten_minutes_nothing_counts() {
        let (memory, now) = (Memory::default(), Instant::now());
        memory.remember(&prefix("ab"), ONE, now);
        memory.remember(&prefix("a"), OTHER, now + LIFETIME / 2);
        assert_eq!(memory.find(&prefix("ab"), now + LIFETIME - Duration::from_nanos(1)).unwrap().node, ONE);
        assert_eq!(memory.find(&prefix("ab"), now + LIFETIME).unwrap().node, OTHER);
        assert_eq!(memory.find(&prefix("ab"), now + LIFETIME * 2), None);
    }

    #[test]
    fn a_node_that_left_has_nothing_until_it_computes_again() {
        let (memory, now) = (Memory::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        memory.remember(&prefix("a"), OTHER, now);
        memory.remember(&prefix("ab"), ONE, now);
        memory.remember(&prefix("x"), OTHER, now);
        memory.remember(&prefix("z"), ONE, after(1));
        memory.forget(ONE, after(1));
        assert_eq!(memory.find(&prefix("z"), after(1)), None);
        assert_eq!(memory.find(&prefix("ab"), after(2)), None);
        assert_eq!(memory.find(&prefix("x"), after(2)).unwrap().node, OTHER);
        memory.remember(&prefix("a"), ONE, after(3));
        assert_eq!(memory.find(&prefix("ab"), after(4)), Some(Match { node: ONE, blocks: 2, bytes: 300 }));
        memory.forget(OTHER, after(1) + LIFETIME);
        assert_eq!(memory.lock().forgotten.len(), 1, "what was before counts for nobody anyway");
    }

    #[test]
    fn the_latest_stay_when_there_are_many() {
        let (memory, now) = (Memory::new(6), Instant::now());
        for letters in ["a", "b", "c", "a", "d"] {
            memory.remember(&prefix(letters), ONE, now);
        }
        let kept = ["a", "b", "c", "d"].map(|letters| memory.find(&prefix(letters), now).is_some());
        assert_eq!(kept, [true, false, true, true]);
        assert_eq!(memory.lock().places.len(), 6);
    }
}
