//! The exact split of a counter over those who were there. Pure.

use openapi::units::Microjoules;

/// Who is there, and what each has drawn since it came.
#[derive(Debug)]
pub(super) struct Split {
    last: Microjoules,
    present: Vec<(u64, Microjoules)>,
    idle: Microjoules,
    /// Drawn by requests that have left.
    gone: Microjoules,
    next_id: u64,
    /// Who gets the odd microjoule next, so that nobody always does.
    turn: usize,
}

impl Split {
    pub(super) fn starting_at(reading: Microjoules) -> Self {
        Self {
            last: reading,
            present: Vec::new(),
            idle: Microjoules::ZERO,
            gone: Microjoules::ZERO,
            next_id: 0,
            turn: 0,
        }
    }

    /// Books what the counter has moved since the last reading.
    pub(super) fn advance(&mut self, reading: Microjoules) {
        let moved = (reading - self.last).get();
        self.last = self.last.max(reading);
        let heads = self.present.len() as u64;
        if heads == 0 {
            self.idle += Microjoules::new(moved);
            return;
        }
        for (_, drawn) in &mut self.present {
            *drawn += Microjoules::new(moved / heads);
        }
        for _ in 0..moved % heads {
            let at = self.turn % self.present.len();
            self.present[at].1 += Microjoules::new(1);
            self.turn = at + 1;
        }
    }

    pub(super) fn join(&mut self) -> u64 {
        self.next_id += 1;
        self.present.push((self.next_id, Microjoules::ZERO));
        self.next_id
    }

    pub(super) fn share(&self, id: u64) -> Microjoules {
        self.present.iter().find(|(present, _)| *present == id).map_or(Microjoules::ZERO, |(_, drawn)| *drawn)
    }

    pub(super) fn leave(&mut self, id: u64) {
        self.gone += self.share(id);
        self.present.retain(|(present, _)| *present != id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Join,
        Leave(usize),
        Advance(u64),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![Just(Act::Join), (0usize..5).prop_map(Act::Leave), (0u64..1000).prop_map(Act::Advance)];
        prop::collection::vec(act, 0..60)
    }

    proptest! {
        /// Requests + idle = counter, after every step.
        #[test]
        fn energy_is_conserved(acts in acts(), start in 0u64..1000) {
            let mut split = Split::starting_at(Microjoules::new(start));
            let mut counter = start;
            for act in acts {
                match act {
                    Act::Join => { split.join(); }
                    Act::Leave(at) => if let Some((id, _)) = split.present.get(at).copied() { split.leave(id) },
                    Act::Advance(by) => { counter += by; split.advance(Microjoules::new(counter)); }
                }
                let present: Microjoules = split.present.iter().map(|(_, drawn)| *drawn).sum();
                prop_assert_eq!((present + split.gone + split.idle).get(), counter - start);
            }
        }

        /// Those who were there for the same time drew the same, to one microjoule.
        #[test]
        fn equal_presence_is_an_equal_share(heads in 1usize..6, moves in prop::collection::vec(0u64..1000, 1..20)) {
            let mut split = Split::starting_at(Microjoules::ZERO);
            let ids: Vec<u64> = (0..heads).map(|_| split.join()).collect();
            let mut counter = 0;
            for by in moves { counter += by; split.advance(Microjoules::new(counter)); }
            let drawn: Vec<u64> = ids.iter().map(|id| split.share(*id).get()).collect();
            prop_assert!(drawn.iter().max().unwrap() - drawn.iter().min().unwrap() <= 1, "{:?}", drawn);
        }
    }

    #[test]
    fn a_counter_that_seems_to_run_backwards_takes_nothing_away() {
        let mut split = Split::starting_at(Microjoules::new(100));
        let id = split.join();
        split.advance(Microjoules::new(160));
        split.advance(Microjoules::new(150));
        split.advance(Microjoules::new(170));
        assert_eq!(split.share(id), Microjoules::new(70));
    }
}
