//! A few good candidates out of very many nodes, without a look at all of them.
//!
//! Without an order, nodes are looked at in a random one, until enough suit: two are as good as all (Mitzenmacher 2001).
//! With an order, from the best one on: what is exact about it is then decided among those that were found.

use super::super::skip::Skip;

/// Nodes that are compared exactly when the request says what comes first.
pub const COMPARED: usize = 16;
/// Nodes of which the less loaded one is taken when it does not.
pub const DRAWN: usize = 2;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shortlist {
    /// Places of nodes that suit and have room.
    pub fit: Vec<usize>,
    /// Nobody who suits has room, and some would have sufficed otherwise.
    pub full: bool,
    /// The reason of the one that came nearest, if none suits.
    pub nearest: Option<Skip>,
}

/// Looks at nodes until `enough` suit and have room, or all were looked at. `order` holds their places, best first.
pub fn shortlist(
    count: usize,
    order: Option<&[u32]>,
    (enough, random): (usize, u64),
    mut look: impl FnMut(usize) -> Result<(), Skip>,
) -> Shortlist {
    let mut found = Shortlist::default();
    let mut take = |place: usize| {
        match look(place) {
            Ok(()) => found.fit.push(place),
            Err(skip) => {
                found.full |= skip == Skip::Full;
                found.nearest = found.nearest.max(Some(skip));
            }
        }
        found.fit.len() == enough
    };
    let _ = match order {
        Some(order) => order.iter().map(|place| *place as usize).any(&mut take),
        None => at_random(count, random).any(&mut take),
    };
    found.full &= found.fit.is_empty();
    found
}

/// Every place below `count` once, from a random one on and with a random step.
fn at_random(count: usize, random: u64) -> impl Iterator<Item = usize> {
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
        let found = shortlist(10_000, None, (DRAWN, 99), |_| {
            looks += 1;
            Ok(())
        });
        assert_eq!((found.fit.len(), looks), (2, 2));
        let order: Vec<u32> = (0..100).rev().collect();
        let found = shortlist(100, Some(&order), (3, 0), |place| if place % 2 == 0 { Ok(()) } else { Err(Skip::Full) });
        assert_eq!(found.fit, [98, 96, 94]);
        assert!(!found.full, "somebody has room");
    }

    #[test]
    fn pairs_are_drawn_evenly() {
        let mut times = [0_u32; 20];
        for _ in 0..20_000 {
            for place in shortlist(20, None, (DRAWN, fastrand::u64(..)), |_| Ok(())).fit {
                times[place] += 1;
            }
        }
        assert!(times.iter().all(|times| (1_700..2_300).contains(times)), "{times:?}");
    }

    proptest! {
        #[test]
        fn everybody_is_looked_at_once_when_nobody_suits(count in 0_usize..300, random in any::<u64>()) {
            let mut seen = BTreeSet::new();
            let found = shortlist(count, None, (2, random), |place| {
                assert!(seen.insert(place));
                Err(if place == 0 { Skip::Full } else { Skip::Paused })
            });
            prop_assert_eq!(seen.len(), count);
            prop_assert_eq!((found.full, found.nearest), (count > 0, (count > 0).then_some(Skip::Full)));
        }
    }
}
