//! Sums of integers by many hands, and tables of them that cannot grow without end.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A sum that only grows. It stays at the greatest number once it is there.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    pub(super) fn add(&self, count: u64) {
        // Cannot fail: there always is a next sum.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_add(count)));
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A sum of millionths as a decimal: the nearest to the exact one, however many parts it has.
    pub(super) fn millionths(&self) -> f64 {
        self.get() as f64 / 1e6
    }
}

/// How many more entries the tables that share it may have.
#[derive(Debug)]
pub(super) struct Room(AtomicUsize);

impl Room {
    pub(super) fn new(entries: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(entries)))
    }

    fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Values by their keys, as long as there is room.
pub(super) struct Bounded<K, V> {
    entries: RwLock<HashMap<K, Arc<V>>>,
    room: Arc<Room>,
}

impl<K: Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(room: &Arc<Room>) -> Self {
        Self { entries: RwLock::default(), room: Arc::clone(room) }
    }

    /// What is there.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// What is there, or is put there now. None when there is no room.
    pub(super) fn get_or_insert<Q>(&self, key: &Q, make: impl FnOnce() -> V) -> Option<Arc<V>>
    where
        Q: Eq + Hash + ToOwned + ?Sized,
        K: Borrow<Q> + From<Q::Owned>,
    {
        self.get(key).or_else(|| {
            // Looked at first, so that a full table costs no exclusive lock.
            if !self.room.is_left() {
                return None;
            }
            let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(there) = entries.get(key) {
                return Some(Arc::clone(there));
            }
            self.room
                .take()
                .then(|| Arc::clone(entries.entry(key.to_owned().into()).or_insert_with(|| Arc::new(make()))))
        })
    }

    /// Everything. The table is not locked while it is looked through.
    pub(super) fn all(&self) -> Vec<Arc<V>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_exact_and_does_not_wrap() {
        let tally = Tally::default();
        for _ in 0..10 {
            tally.add(100_000);
        }
        assert_eq!((tally.get(), tally.millionths()), (1_000_000, 1.0));
        tally.add(u64::MAX);
        assert_eq!(tally.get(), u64::MAX);
    }

    #[test]
    fn tables_share_their_room() {
        let room = Room::new(2);
        let (one, other) = (Bounded::<Box<str>, u8>::new(&room), Bounded::<Box<str>, u8>::new(&room));
        let value = |found: Option<Arc<u8>>| found.map(|value| *value);
        assert_eq!(value(one.get_or_insert("a", || 1)), Some(1));
        assert_eq!(value(other.get_or_insert("a", || 2)), Some(2));
        assert_eq!(value(one.get_or_insert("b", || 3)), None);
        assert_eq!(value(one.get_or_insert("a", || 4)), Some(1), "what is there stays");
        assert_eq!((one.all().len(), other.all().len()), (1, 1));
    }
}
