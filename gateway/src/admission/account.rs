//! The purses of one account, its keys and its users, under one lock: so that all that a request needs is taken in one
//! step or not at all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use uuid::Uuid;

use super::hold::Part;
use super::lease::Grant;
use super::purse::Purse;
use super::what::{Amounts, Need, Span, What};

/// For this long a lease that was refused is not asked for again.
const REFUSED_FOR: Duration = Duration::from_millis(200);
/// A replica holds as much as it will need if the database goes away for this many seconds.
const AHEAD_SECONDS: u64 = 900;
/// Within a window of a minute a replica holds for this many seconds, so that the others get their part.
const AHEAD_SECONDS_IN_MINUTE: u64 = 5;

/// What this replica holds for an account.
pub(super) struct Account {
    pub(super) id: Uuid,
    purses: Mutex<HashMap<(Uuid, What), Slot>>,
    /// Whoever leases for the account; the others wait, since one lease may serve them all.
    pub(super) leasing: tokio::sync::Mutex<()>,
    asked_to_refill: AtomicBool,
}

#[derive(Default)]
struct Slot {
    purse: Purse,
    cap: Option<u64>,
    window: Option<Window>,
    /// Needed by requests that wait for a lease.
    waiting: u64,
    /// What a request that runs could not be given: the least that is of use to it, and all that it asked for.
    short: Option<(u64, u64)>,
    refused: Option<(Instant, u64)>,
}

#[derive(Clone, Copy)]
struct Window {
    at: OffsetDateTime,
    ends: Instant,
    /// Granted by this replica alone while the database was away.
    alone: bool,
}

/// What a lease should ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) unit: u64,
    pub(super) needed: u64,
    pub(super) wanted: u64,
}

/// How a limit stands, for the client's headers.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub cap: u64,
    /// As far as this replica knows.
    pub remaining: u64,
    pub resets_in: Duration,
}

impl Slot {
    /// Begins anew when the window is over.
    fn roll(&mut self, now: Instant) {
        if self.window.is_some_and(|window| window.ends <= now) {
            self.purse.void();
            (self.window, self.refused) = (None, None);
        }
    }

    fn falls_behind(&self, what: What) -> bool {
        self.purse.runs_low() || !self.purse.covers(self.expected(what) / 2)
    }

    fn expected(&self, what: What) -> u64 {
        match what.span() {
            Span::None if what == What::ConcurrentRequests => self.purse.peak().saturating_mul(2),
            Span::Minute => self.purse.expected(AHEAD_SECONDS_IN_MINUTE),
            _ => self.purse.expected(AHEAD_SECONDS),
        }
    }
}

impl Account {
    pub(super) fn new(id: Uuid) -> Self {
        Self {
            id,
            purses: Mutex::default(),
            leasing: tokio::sync::Mutex::default(),
            asked_to_refill: AtomicBool::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Uuid, What), Slot>> {
        self.purses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of its leased credit, what is held and what is free.
    pub(super) fn credit(&self) -> (u64, u64) {
        let purses = self.lock();
        let slot = purses.get(&(self.id, What::Credit));
        slot.map(|slot| (slot.purse.held(), slot.purse.free())).unwrap_or_default()
    }

    /// Takes all amounts, or none and says which purses do not cover theirs.
    pub(super) fn try_hold(self: &Arc<Self>, needs: &[Need], amounts: &Amounts) -> Result<Vec<Part>, Vec<Need>> {
        let now = Instant::now();
        let mut purses = self.lock();
        let mut missing = Vec::new();
        for need in needs {
            let slot = purses.entry((need.subject, need.what)).or_default();
            slot.cap = need.cap;
            slot.roll(now);
            if !slot.purse.covers(amounts.of(need.what)) {
                missing.push(*need);
            }
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        let hold = |need: &Need| {
            let slot = purses.entry((need.subject, need.what)).or_default();
            let held = slot.purse.hold(amounts.of(need.what));
            Part { need: *need, held, window_at: slot.window.map(|window| window.at) }
        };
        Ok(needs.iter().filter(|need| amounts.of(need.what) > 0).map(hold).collect())
    }

    /// Replaces what was held by what was spent.
    pub(super) fn settle(&self, part: &Part, spent: u64) {
        if let Some(slot) = self.lock().get_mut(&(part.need.subject, part.need.what)) {
            slot.roll(Instant::now());
            slot.purse.settle(part.held, spent);
        }
    }

    /// Says that a request waits for these amounts, until the guard is dropped.
    pub(super) fn wait_for(self: &Arc<Self>, missing: &[Need], amounts: &Amounts) -> Waiting {
        let amounts = missing.iter().map(|need| ((need.subject, need.what), amounts.of(need.what))).collect();
        let waiting = Waiting { account: Arc::clone(self), amounts };
        for (id, amount) in &waiting.amounts {
            let mut purses = self.lock();
            let slot = purses.entry(*id).or_default();
            slot.waiting = slot.waiting.saturating_add(*amount);
        }
        waiting
    }

    /// Says that a request that runs goes on for longer if it can have these amounts, or at least these.
    pub(super) fn fall_short(&self, missing: &[Need], most: &Amounts, least: &Amounts) {
        let mut purses = self.lock();
        for need in missing {
            if let Some(slot) = purses.get_mut(&(need.subject, need.what)) {
                slot.short = Some((least.of(need.what), most.of(need.what)));
            }
        }
    }

    /// What to lease so that this need is covered, and with it those of all who wait.
    pub(super) fn wanted(&self, need: &Need, amount: u64) -> Wanted {
        let mut purses = self.lock();
        let slot = purses.entry((need.subject, need.what)).or_default();
        let needed = slot.purse.missing(slot.waiting.max(amount));
        Wanted { unit: slot.purse.missing(amount), needed, wanted: needed.saturating_add(slot.expected(need.what)) }
    }

    /// Adds what was leased, unless it is of a window that has ended meanwhile.
    pub(super) fn add(&self, need: &Need, grant: &Grant) {
        let mut purses = self.lock();
        let slot = purses.entry((need.subject, need.what)).or_default();
        let now = Instant::now();
        slot.roll(now);
        match (&slot.window, grant.window_at) {
            (Some(window), Some(at)) if window.at != at => {
                slot.purse.void();
                slot.window = None;
            }
            _ => {}
        }
        if let (Some(at), Some(ends_in)) = (grant.window_at, grant.ends_in) {
            slot.window = Some(Window { at, ends: now + ends_in, alone: false });
        }
        slot.purse.add(grant.granted, grant.left_over);
    }

    /// While the database is away: this replica's part of what is left of a window of a minute, once.
    pub(super) fn add_own_part(&self, need: &Need, replicas: u64) {
        let mut purses = self.lock();
        let slot = purses.entry((need.subject, need.what)).or_default();
        let (now, at) = (Instant::now(), OffsetDateTime::now_utc());
        slot.roll(now);
        let left = match slot.window {
            Some(Window { alone: true, .. }) => return,
            Some(_) => slot.purse.left_over(),
            None => need.cap.unwrap_or(0),
        };
        let ends_in = Duration::from_secs(60 - u64::from(at.second()));
        let window = slot.window.unwrap_or(Window { at, ends: now + ends_in, alone: true });
        slot.window = Some(Window { alone: true, ..window });
        slot.purse.add(left / replicas, 0);
    }

    /// True when this window is granted by this replica alone.
    pub(super) fn is_alone(&self, need: &Need) -> bool {
        self.lock().get(&(need.subject, need.what)).is_some_and(|slot| slot.window.is_some_and(|window| window.alone))
    }

    /// Remembers for a moment that there is no more.
    pub(super) fn refuse(&self, need: &Need, amount: u64) {
        if let Some(slot) = self.lock().get_mut(&(need.subject, need.what)) {
            slot.refused = Some((Instant::now() + REFUSED_FOR, amount));
        }
    }

    /// True when this much was refused a moment ago.
    pub(super) fn was_refused(&self, need: &Need, amount: u64) -> bool {
        let refused = self.lock().get(&(need.subject, need.what)).and_then(|slot| slot.refused);
        refused.is_some_and(|(until, least)| Instant::now() < until && amount >= least)
    }

    /// How a limit stands.
    pub(super) fn standing(&self, need: &Need) -> Option<Standing> {
        let purses = self.lock();
        let slot = purses.get(&(need.subject, need.what))?;
        let ends_in = slot.window.map(|window| window.ends.saturating_duration_since(Instant::now()));
        Some(Standing { cap: need.cap?, remaining: slot.purse.remaining(), resets_in: ends_in.unwrap_or_default() })
    }

    /// True when less is left of something than it will be needed for, should the database go away.
    pub(super) fn falls_behind(&self) -> bool {
        self.lock().iter().any(|((_, what), slot)| slot.falls_behind(*what))
    }

    /// True when something should be leased ahead of need, and nobody is on it already.
    pub(super) fn runs_low(&self) -> bool {
        let low = self.lock().values().any(|slot| slot.short.is_some() || slot.purse.runs_low());
        low && !self.asked_to_refill.swap(true, Ordering::AcqRel)
    }

    /// The leases that a refill asks for.
    pub(super) fn refill(&self) -> Vec<(Need, Wanted)> {
        self.asked_to_refill.store(false, Ordering::Release);
        let mut purses = self.lock();
        let mut wanted = Vec::new();
        for ((subject, what), slot) in purses.iter_mut() {
            slot.roll(Instant::now());
            let short = slot.short.take();
            if (short.is_some() || slot.falls_behind(*what)) && slot.window.is_none_or(|window| !window.alone) {
                let (least, most) = short.unwrap_or_default();
                let (unit, needed) = (slot.purse.missing(least), slot.purse.missing(most));
                let more = slot.purse.missing(slot.expected(*what)).max(needed);
                let need = Need { owner: super::what::Owner::Account, subject: *subject, what: *what, cap: slot.cap };
                wanted.push((need, Wanted { unit, needed, wanted: more }));
            }
        }
        wanted
    }

    /// A second has passed: what is to be brought back, since nobody seems to need it here.
    pub(super) fn tick(&self, bring_back: bool) -> Vec<(Uuid, What, Option<OffsetDateTime>, u64)> {
        let mut purses = self.lock();
        let mut back = Vec::new();
        for ((subject, what), slot) in purses.iter_mut() {
            slot.roll(Instant::now());
            slot.purse.tick();
            if bring_back {
                let excess = slot.purse.take_excess(slot.expected(*what));
                if excess > 0 && slot.window.is_none_or(|window| !window.alone) {
                    back.push((*subject, *what, slot.window.map(|window| window.at), excess));
                }
            }
        }
        purses.retain(|_, slot| slot.waiting > 0 || slot.window.is_some() || !slot.purse.is_idle());
        back
    }

    /// Takes out all that lies unspent for a subject, because its limits have changed.
    pub(super) fn take_all(&self, of: Uuid) -> Vec<(Uuid, What, Option<OffsetDateTime>, u64)> {
        let mut purses = self.lock();
        let slots = purses.iter_mut().filter(|((subject, _), _)| *subject == of);
        slots
            .map(|((subject, what), slot)| {
                slot.refused = None;
                (*subject, *what, slot.window.map(|window| window.at), slot.purse.take_all())
            })
            .filter(|(.., unspent)| *unspent > 0)
            .collect()
    }

    /// All that was leased is void: the others took this replica for dead.
    pub(super) fn void(&self) {
        self.lock().values_mut().for_each(|slot| {
            slot.purse.void();
            slot.window = None;
        });
    }

    /// True when nothing is left to keep.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }
}

/// A request that waits for a lease.
pub(super) struct Waiting {
    account: Arc<Account>,
    amounts: Vec<((Uuid, What), u64)>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut purses = self.account.lock();
        for (id, amount) in &self.amounts {
            if let Some(slot) = purses.get_mut(id) {
                slot.waiting = slot.waiting.saturating_sub(*amount);
            }
        }
    }
}
