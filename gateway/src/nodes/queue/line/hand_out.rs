//! Whose turn it is, for what can be had.

use std::ops::Bound::{Excluded, Unbounded};

use tokio::time::Instant;

use super::super::Tried;
use super::{Head, Line, Place, Turn};

impl<E> Line<E> {
    /// Hands out, in fair order, what `take` finds for those who wait, until it says that there is no more. A kind for whose
    /// first one nothing is found is done with.
    pub(in super::super) fn hand_out<T, R: Into<Tried<T>>>(
        &mut self,
        now: Instant,
        mut take: impl FnMut(&mut E) -> R,
    ) -> Vec<(E, T)> {
        self.hand_out_of(now, |_| true, &mut take)
    }

    /// The same for so many kinds, those that come after the ones of the last time.
    pub(in super::super) fn hand_out_round<T, R: Into<Tried<T>>>(
        &mut self,
        most: usize,
        now: Instant,
        mut take: impl FnMut(&mut E) -> R,
    ) -> Vec<(E, T)> {
        let after = self.kinds.range((Excluded(self.tried), Unbounded));
        let kinds: Vec<u64> = after.chain(self.kinds.range(..=self.tried)).take(most).map(|(kind, _)| *kind).collect();
        self.tried = kinds.last().copied().unwrap_or(self.tried);
        self.hand_out_of(now, |kind| kinds.contains(&kind), &mut take)
    }

    /// The same for one kind.
    pub(in super::super) fn hand_out_kind<T>(
        &mut self,
        kind: u64,
        now: Instant,
        mut take: impl FnMut(&mut E) -> Tried<T>,
    ) -> Vec<(E, T)> {
        let mut handed = Vec::new();
        while let Some(head) = self.head(kind, now) {
            let Some((place, entry)) = self.entry(&head) else { break };
            let place = *place;
            let Tried::Got(found) = take(entry) else { break };
            self.charge(&place, now);
            handed.extend(self.leave(&place).map(|entry| (entry, found)));
        }
        handed
    }

    /// Takes one away after a try for it alone. None when it has gone before.
    pub(in super::super) fn look_last<T>(
        &mut self,
        place: &Place,
        now: Instant,
        take: impl FnOnce(&mut E) -> Tried<T>,
    ) -> Option<(E, Tried<T>)> {
        let lanes = self.accounts.get_mut(&place.waiter.account)?.lanes.get_mut(&place.waiter.kind)?;
        let (_, entry) = lanes.class(place.waiter.priority).get_mut(&place.arrival)?;
        let found = take(entry);
        if matches!(found, Tried::Got(_)) {
            self.charge(place, now);
        }
        self.leave(place).map(|entry| (entry, found))
    }

    fn hand_out_of<T, R: Into<Tried<T>>>(
        &mut self,
        now: Instant,
        is_meant: impl Fn(u64) -> bool,
        take: &mut impl FnMut(&mut E) -> R,
    ) -> Vec<(E, T)> {
        let (mut handed, mut last) = (Vec::new(), None);
        while let Some(turn) = self.turn_after(last) {
            last = Some(turn);
            for head in self.heads(turn, now).into_iter().filter(|head| is_meant(head.kind)) {
                let Some((place, entry)) = self.entry(&head) else { continue };
                let place = *place;
                match take(entry).into() {
                    Tried::Nothing => {}
                    Tried::NoMore => return handed,
                    Tried::Got(found) => {
                        self.charge(&place, now);
                        handed.extend(self.leave(&place).map(|entry| (entry, found)));
                        // The account's next turn is later, in every kind.
                        break;
                    }
                }
            }
        }
        handed
    }

    /// The next at which an account comes first in any kind.
    fn turn_after(&self, last: Option<Turn>) -> Option<Turn> {
        let from = last.map_or(Unbounded, |turn| Excluded((turn, u64::MAX)));
        self.order.range((from, Unbounded)).next().map(|(turn, _)| *turn)
    }

    /// The first ones of the kinds in which it is this turn: all of one account.
    fn heads(&self, turn: Turn, now: Instant) -> Vec<Head> {
        let kinds = self.order.range((turn, 0)..=(turn, u64::MAX));
        let mut heads: Vec<Head> = kinds.filter_map(|(_, kind)| self.head(*kind, now)).collect();
        heads.sort_unstable();
        heads
    }
}
