//! What happens, and when: in the order of time, and at one moment in the order in which it was announced.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds in a second.
pub(super) const SECOND: u64 = 1_000_000;
/// Microseconds in a minute.
pub(super) const MINUTE: u64 = 60 * SECOND;

/// One thing that happens. Whatever is said of an attempt that is over by then means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The next request comes.
    Arrives,
    /// The first byte of an attempt is here.
    Begins {
        request: usize,
        attempt: u32,
    },
    Ends {
        request: usize,
        attempt: u32,
        how: Ending,
    },
    /// The patience of one that waits in line has an end.
    Gives {
        request: usize,
        attempt: u32,
    },
    /// A stream whose node was lost looks again for one that goes on.
    Looks {
        request: usize,
        attempt: u32,
    },
    /// The node's program ends.
    Leaves {
        node: usize,
    },
    Returns {
        node: usize,
    },
    /// The connection of a node that has gone dark is found dead.
    Notices {
        node: usize,
        connection: u32,
    },
    /// The next region or operator goes dark.
    Darkens,
    Lights {
        outage: usize,
    },
    /// Those who wait are tried once more.
    Tends,
}

/// How an attempt comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    Completes,
    Fails,
    /// Tokens cease to come.
    Stalls,
    /// The gateway has seen for long enough that nothing comes.
    IsGivenUp,
}

/// All that is still to come.
#[derive(Default)]
pub(super) struct Events {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    announced: u64,
}

impl Events {
    pub(super) fn at(&mut self, time: u64, event: Event) {
        self.announced += 1;
        self.heap.push(Reverse((time, self.announced, event)));
    }

    /// Those that still come, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = Event> {
        self.heap.iter().map(|Reverse((_, _, event))| *event)
    }

    pub(super) fn next(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|Reverse((time, _, event))| (time, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_first_and_then_who_was_first() {
        let mut events = Events::default();
        events.at(2, Event::Arrives);
        events.at(1, Event::Tends);
        events.at(1, Event::Darkens);
        let order: Vec<(u64, Event)> = std::iter::from_fn(|| events.next()).collect();
        assert_eq!(order, [(1, Event::Tends), (1, Event::Darkens), (2, Event::Arrives)]);
    }
}
