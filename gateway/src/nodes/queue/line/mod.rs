//! The order of those who wait. Pure: the caller says what time it is, and tries what can be had.
//!
//! Between accounts this is start-time fair queueing with equal shares (Goyal, Vin and Cheng, "Start-time fair queueing",
//! IEEE/ACM Transactions on Networking 5(5), 1997). Virtual time moves with what is handed out, as it does there, and also
//! by a place divided by the accounts that wait, so that ever new accounts keep nobody from his second turn. Turns count
//! over all kinds: opening another kind wins nothing, and who is served well in one stands behind in the others.

mod hand_out;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::pace::Pace;
use super::{Priority, Waiter};

/// After so long a request counts as one of the next class, so that a low one is served some day.
pub(super) const AGE: Duration = Duration::from_secs(10);
/// What a place costs, in virtual time.
pub(super) const PLACE: u64 = 1 << 20;

/// All that wait; an `E` each.
pub(super) struct Line<E> {
    accounts: HashMap<Uuid, Account<E>>,
    kinds: BTreeMap<u64, Kind>,
    /// The kinds by the turns of those who come first in them.
    order: BTreeSet<(Turn, u64)>,
    /// The kind that was tried last in a round.
    tried: u64,
    /// Accounts for which nobody waits and whose next turn is still ahead: they don't get it sooner by going.
    gone: BTreeSet<(u64, Uuid)>,
    virtual_time: u64,
    arrivals: u64,
    handed: u64,
    length: usize,
    bytes: usize,
}

/// Somebody's place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) waiter: Waiter,
    entered: Instant,
    arrival: u64,
}

/// When it is an account's turn. At the same time, the one that was served longer ago goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at: u64,
    handed: u64,
    account: Uuid,
}

struct Account<E> {
    turn: Turn,
    length: usize,
    /// By kind.
    lanes: BTreeMap<u64, Lanes<E>>,
}

/// Those of one account and kind, by class and arrival.
struct Lanes<E>([BTreeMap<u64, (Place, E)>; 3]);

struct Kind {
    /// Of each account that waits for it.
    turns: BTreeSet<Turn>,
    length: usize,
    pace: Pace,
}

/// The first of a kind, in the order in which those of one account are tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    turn: Turn,
    class: Reverse<u64>,
    arrival: u64,
    kind: u64,
    priority: Priority,
}

impl<E> Default for Line<E> {
    fn default() -> Self {
        Self {
            accounts: HashMap::new(),
            kinds: BTreeMap::new(),
            order: BTreeSet::new(),
            tried: 0,
            gone: BTreeSet::new(),
            virtual_time: 0,
            arrivals: 0,
            handed: 0,
            length: 0,
            bytes: 0,
        }
    }
}

impl<E> Line<E> {
    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn length_of(&self, account: Uuid) -> usize {
        self.accounts.get(&account).map_or(0, |account| account.length)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when somebody of this kind waits.
    pub(super) fn has(&self, kind: u64) -> bool {
        self.kinds.contains_key(&kind)
    }

    /// When one of this kind that came now would be served.
    pub(super) fn retry_after(&self, kind: u64) -> Duration {
        self.kinds.get(&kind).map_or(Pace::unknown(), |kind| kind.pace.after(kind.length))
    }

    /// Adds one to those who wait.
    pub(super) fn enter(&mut self, waiter: Waiter, now: Instant, entry: E) -> Place {
        self.arrivals += 1;
        let place = Place { waiter, entered: now, arrival: self.arrivals };
        let first = Turn { at: self.virtual_time, handed: 0, account: waiter.account };
        let account = self.accounts.entry(waiter.account).or_insert_with(|| Account::new(first));
        self.gone.remove(&(account.turn.at, waiter.account));
        account.length += 1;
        account.lanes.entry(waiter.kind).or_default().class(waiter.priority).insert(place.arrival, (place, entry));
        let turn = account.turn;
        self.kinds.entry(waiter.kind).or_insert_with(|| Kind::new(now)).length += 1;
        self.set_turns(waiter.kind, |turns| {
            turns.insert(turn);
        });
        self.length += 1;
        self.bytes += waiter.bytes;
        place
    }

    /// Takes one away, unless it has gone before.
    pub(super) fn leave(&mut self, place: &Place) -> Option<E> {
        let waiter = &place.waiter;
        let account = self.accounts.get_mut(&waiter.account)?;
        let lanes = account.lanes.get_mut(&waiter.kind)?;
        let (_, entry) = lanes.class(waiter.priority).remove(&place.arrival)?;
        account.length -= 1;
        self.length -= 1;
        self.bytes -= waiter.bytes;
        let (turn, is_last) = (account.turn, lanes.0.iter().all(BTreeMap::is_empty));
        let is_gone = account.length == 0;
        if is_last {
            account.lanes.remove(&waiter.kind);
            self.set_turns(waiter.kind, |turns| {
                turns.remove(&turn);
            });
        }
        let kind = self.kinds.get_mut(&waiter.kind)?;
        kind.length -= 1;
        if kind.length == 0 {
            self.kinds.remove(&waiter.kind);
        }
        if is_gone {
            self.gone.insert((turn.at, waiter.account));
            self.forget();
        }
        Some(entry)
    }

    /// Changes whose turn it is in a kind.
    fn set_turns(&mut self, kind: u64, change: impl FnOnce(&mut BTreeSet<Turn>)) {
        let Some(it) = self.kinds.get_mut(&kind) else { return };
        let before = it.turns.first().copied();
        change(&mut it.turns);
        let after = it.turns.first().copied();
        if before != after {
            before.map(|turn| self.order.remove(&(turn, kind)));
            after.map(|turn| self.order.insert((turn, kind)));
        }
    }

    /// The first of a kind.
    fn head(&self, kind: u64, now: Instant) -> Option<Head> {
        let turn = *self.kinds.get(&kind)?.turns.first()?;
        let (class, arrival, priority) = self.accounts.get(&turn.account)?.lanes.get(&kind)?.first(now)?;
        Some(Head { turn, class, arrival, kind, priority })
    }

    fn entry(&mut self, head: &Head) -> Option<&mut (Place, E)> {
        let lanes = self.accounts.get_mut(&head.turn.account)?.lanes.get_mut(&head.kind)?;
        lanes.class(head.priority).get_mut(&head.arrival)
    }

    /// An account got a place: its next turn is later, in every kind.
    fn charge(&mut self, place: &Place, now: Instant) {
        let waiting = (self.accounts.len() - self.gone.len()).max(1) as u64;
        let Some(account) = self.accounts.get_mut(&place.waiter.account) else { return };
        // What an account did not use, it has not saved up.
        let start = account.turn.at.max(self.virtual_time);
        self.virtual_time = start.max(self.virtual_time + PLACE / waiting);
        self.handed += 1;
        let next = Turn { at: start + PLACE, handed: self.handed, ..account.turn };
        let before = std::mem::replace(&mut account.turn, next);
        let kinds: Vec<u64> = account.lanes.keys().copied().collect();
        for kind in kinds {
            self.set_turns(kind, |turns| {
                turns.remove(&before);
                turns.insert(next);
            });
        }
        if let Some(kind) = self.kinds.get_mut(&place.waiter.kind) {
            kind.pace.handed(now);
        }
        self.forget();
    }

    /// Forgets accounts that are gone and whose turn has come, or all when nobody is left to take turns with.
    fn forget(&mut self) {
        while let Some(&(at, account)) = self.gone.first() {
            if at > self.virtual_time && self.length > 0 {
                return;
            }
            self.gone.pop_first();
            self.accounts.remove(&account);
        }
    }
}

impl<E> Account<E> {
    fn new(turn: Turn) -> Self {
        Self { turn, length: 0, lanes: BTreeMap::new() }
    }
}

impl<E> Lanes<E> {
    fn class(&mut self, priority: Priority) -> &mut BTreeMap<u64, (Place, E)> {
        &mut self.0[priority as usize]
    }

    /// Class, arrival and priority of the one to be served first. In each lane that is the oldest.
    fn first(&self, now: Instant) -> Option<(Reverse<u64>, u64, Priority)> {
        let firsts = self.0.iter().filter_map(|lane| lane.values().next());
        firsts.map(|(place, _)| (Reverse(place.class(now)), place.arrival, place.waiter.priority)).min()
    }
}

impl<E> Default for Lanes<E> {
    fn default() -> Self {
        Self([BTreeMap::new(), BTreeMap::new(), BTreeMap::new()])
    }
}

impl Place {
    /// With the time it has waited.
    fn class(&self, now: Instant) -> u64 {
        let age = now.duration_since(self.entered).as_secs() / AGE.as_secs();
        (self.waiter.priority as u64 + age).min(Priority::High as u64)
    }
}

impl Kind {
    fn new(now: Instant) -> Self {
        Self { turns: BTreeSet::new(), length: 0, pace: Pace::new(now) }
    }
}

#[cfg(test)]
impl<E> Line<E> {
    /// True when it takes no more room than a new one.
    pub(super) fn is_forgotten(&self) -> bool {
        self.accounts.is_empty() && self.kinds.is_empty() && self.order.is_empty() && self.gone.is_empty()
    }
}
