//! What holds whatever happens.

use std::collections::{BTreeMap, HashMap};

use futures_util::FutureExt;
use proptest::prelude::*;

use super::line::{AGE, PLACE, Place};
use super::tests::{Lease, Nodes, account, is_at};
use super::*;

const NODES: usize = 3;
const BOUNDS: Bounds = Bounds { requests: 12, bytes: 600, requests_of_an_account: 5 };

#[derive(Clone, Debug)]
enum Event {
    Enter {
        account: u128,
        priority: Priority,
        kind: u64,
        bytes: usize,
        patience: u64,
    },
    Cancel(usize),
    GiveBack(usize),
    /// Milliseconds.
    Pass(u64),
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let enter = (1..5_u128, priority(), 1..8_u64, 1..100_usize, 0..60_000_u64).prop_map(
        |(account, priority, kind, bytes, patience)| Event::Enter { account, priority, kind, bytes, patience },
    );
    let event = prop_oneof![
        5 => enter,
        1 => any::<usize>().prop_map(Event::Cancel),
        3 => any::<usize>().prop_map(Event::GiveBack),
        2 => (0..8_000_u64).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 1..150)
}

/// The nodes that suit a kind: its bits.
pub(super) fn suits(kind: u64) -> impl Iterator<Item = usize> {
    (0..NODES).filter(move |node| kind >> node & 1 == 1)
}

/// Clients, and what they hold.
struct World {
    queue: Arc<Queue<Lease>>,
    nodes: Arc<Nodes>,
    places: usize,
    waiting: Vec<(Waiter, Waiting<Lease>)>,
    held: Vec<Lease>,
}

impl World {
    async fn happens(&mut self, event: Event) {
        match event {
            Event::Enter { account: number, priority, kind, bytes, patience } => {
                let deadline = Instant::now() + Duration::from_millis(patience);
                let waiter = Waiter { account: account(number), priority, bytes, kind, deadline };
                let nodes = Arc::clone(&self.nodes);
                if let Ok(waiting) =
                    self.queue.enter(waiter, move |chance| nodes.lease(suits(kind).filter(|node| is_at(*node, chance))))
                {
                    self.waiting.push((waiter, waiting));
                }
            }
            Event::Cancel(which) if !self.waiting.is_empty() => {
                drop(self.waiting.swap_remove(which % self.waiting.len()));
            }
            Event::GiveBack(which) if !self.held.is_empty() => {
                drop(self.held.swap_remove(which % self.held.len()));
            }
            Event::Pass(time) => tokio::time::advance(Duration::from_millis(time)).await,
            Event::Cancel(_) | Event::GiveBack(_) => {}
        }
        self.collect();
    }

    /// Everybody looks.
    fn collect(&mut self) {
        let mut still = Vec::new();
        for (waiter, mut waiting) in self.waiting.drain(..) {
            match (&mut waiting).now_or_never() {
                Some(Ok(lease)) => {
                    assert!(suits(waiter.kind).any(|node| node == lease.node));
                    self.held.push(lease);
                }
                Some(Err(passed)) => {
                    assert!(waiter.deadline <= Instant::now());
                    assert!((1..=60).contains(&passed.retry_after.as_secs()));
                }
                None => still.push((waiter, waiting)),
            }
        }
        self.waiting = still;
    }

    fn holds(&self) {
        let free: usize = (0..NODES).map(|node| self.nodes.free(node)).sum();
        assert_eq!(free + self.held.len(), self.places, "each place is free or somebody's");
        let bytes: usize = self.waiting.iter().map(|(waiter, _)| waiter.bytes).sum();
        assert_eq!((self.queue.length(), self.queue.bytes()), (self.waiting.len(), bytes));
        assert!(self.waiting.len() <= BOUNDS.requests && bytes <= BOUNDS.bytes);
        let mut of_accounts = BTreeMap::<Uuid, usize>::new();
        for (waiter, _) in &self.waiting {
            assert!(suits(waiter.kind).all(|node| self.nodes.free(node) == 0), "nobody waits for what is there");
            *of_accounts.entry(waiter.account).or_default() += 1;
        }
        for (account, length) in of_accounts {
            assert_eq!(self.queue.length_of(account), length);
            assert!(length <= BOUNDS.requests_of_an_account);
        }
    }
}

/// The order by its definition: again and again the first of all that can be served.
#[derive(Default)]
struct Plain {
    waiting: Vec<(Place, Waiter, Instant, u64)>,
    /// When an account's next turn is, and how many had been handed out at its last.
    turns: HashMap<Uuid, (u64, u64)>,
    virtual_time: u64,
    handed: u64,
}

impl Plain {
    fn hand_out(&mut self, now: Instant, free: &mut [usize]) -> Vec<u64> {
        let mut order = Vec::new();
        loop {
            let key = |(_, waiter, entered, arrival): &(Place, Waiter, Instant, u64)| {
                let (at, handed) = self.turns[&waiter.account];
                let age = (now - *entered).as_secs() / AGE.as_secs();
                let class = 2 - (waiter.priority as u64 + age).min(2);
                (at, handed, waiter.account, class, *arrival)
            };
            let can = |entry: &&(Place, Waiter, Instant, u64)| suits(entry.1.kind).any(|node| free[node] > 0);
            let Some(first) = self.waiting.iter().filter(can).min_by_key(|entry| key(entry)) else { return order };
            let (waiter, arrival) = (first.1, first.3);
            if let Some(node) = suits(waiter.kind).find(|node| free[*node] > 0) {
                free[node] -= 1;
            }
            let mut accounts: Vec<_> = self.waiting.iter().map(|entry| entry.1.account).collect();
            accounts.sort();
            accounts.dedup();
            self.handed += 1;
            let start = self.turns[&waiter.account].0.max(self.virtual_time);
            self.turns.insert(waiter.account, (start + PLACE, self.handed));
            self.virtual_time = start.max(self.virtual_time + PLACE / accounts.len() as u64);
            self.waiting.retain(|entry| entry.3 != arrival);
            self.forget();
            order.push(arrival);
        }
    }

    /// An account that does not wait and has no turn ahead is as good as new.
    fn forget(&mut self) {
        let (waiting, time) = (&self.waiting, self.virtual_time);
        let waits = |account: &Uuid| waiting.iter().any(|entry| entry.1.account == *account);
        self.turns.retain(|account, (at, _)| waits(account) || !waiting.is_empty() && *at > time);
    }
}

proptest! {
    #[test]
    fn places_go_to_those_who_wait_or_stay_free_and_no_bound_is_passed(events in events(), places in [0..3_usize, 0..3, 0..3]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let queue = Queue::new(BOUNDS);
            let nodes = Nodes::new(&places, &queue);
            let places = places.iter().sum();
            let mut world = World { queue, nodes, places, waiting: Vec::new(), held: Vec::new() };
            for event in events {
                world.happens(event).await;
                world.holds();
            }
            world.waiting.clear();
            assert!(world.queue.is_empty() && world.queue.bytes() == 0 && world.queue.lock().is_forgotten());
        });
    }

    #[test]
    fn the_order_is_that_of_its_definition(events in events(), rooms in prop::collection::vec([0..2_usize, 0..2, 0..2], 150)) {
        let (mut line, mut plain, mut now) = (Line::default(), Plain::default(), Instant::now());
        for (arrival, (event, room)) in (1..).zip(events.into_iter().zip(rooms)) {
            match event {
                Event::Enter { account: number, priority, kind, bytes, .. } => {
                    let waiter = Waiter { account: account(number), priority, bytes, kind, deadline: now };
                    let place = line.enter(waiter, now, (arrival, kind));
                    plain.waiting.push((place, waiter, now, arrival));
                    plain.turns.entry(waiter.account).or_insert((plain.virtual_time, 0));
                }
                Event::Cancel(which) if !plain.waiting.is_empty() => {
                    let (place, .., arrival) = plain.waiting.swap_remove(which % plain.waiting.len());
                    plain.forget();
                    prop_assert_eq!(line.leave(&place).map(|(number, _)| number), Some(arrival));
                    prop_assert!(line.leave(&place).is_none());
                }
                Event::GiveBack(_) => {
                    let (mut free, mut left) = (room, room);
                    let expected = plain.hand_out(now, &mut left);
                    let handed = line.hand_out(now, |(_, kind)| {
                        let node = suits(*kind).find(|node| free[*node] > 0)?;
                        free[node] -= 1;
                        Some(())
                    });
                    let order: Vec<u64> = handed.iter().map(|((arrival, _), ())| *arrival).collect();
                    prop_assert_eq!(order, expected);
                }
                Event::Pass(time) => now += Duration::from_millis(time),
                Event::Cancel(_) => {}
            }
            prop_assert_eq!(line.length(), plain.waiting.len());
        }
    }

    /// Two who never stop waiting get within one of each other, whatever the others do.
    #[test]
    fn two_who_always_wait_get_the_same(events in events(), rooms in prop::collection::vec(0..3_usize, 150)) {
        let (mut line, mut now) = (Line::default(), Instant::now());
        let waiter = |number, priority| Waiter { account: account(number), priority, bytes: 1, kind: 7, deadline: now };
        let steady = [waiter(100, Priority::High), waiter(101, Priority::Low)];
        for entry in [steady[0]; 400].into_iter().chain([steady[1]; 400]) {
            line.enter(entry, now, entry);
        }
        let (mut got, mut places) = ([0_i32; 2], Vec::new());
        for (event, room) in events.into_iter().zip(rooms) {
            match event {
                Event::Enter { account: number, priority, kind, bytes, .. } => {
                    let waiter = Waiter { account: account(number), priority, bytes, kind, deadline: now };
                    places.push(line.enter(waiter, now, waiter));
                }
                Event::Cancel(which) if !places.is_empty() => {
                    line.leave(&places.swap_remove(which % places.len()));
                }
                Event::Pass(time) => now += Duration::from_millis(time),
                Event::Cancel(_) | Event::GiveBack(_) => {}
            }
            let mut left = room;
            for (served, ()) in line.hand_out(now, |_| { left = left.checked_sub(1)?; Some(()) }) {
                for (got, steady) in got.iter_mut().zip(&steady) {
                    *got += i32::from(served.account == steady.account);
                }
                prop_assert!((got[0] - got[1]).abs() <= 1, "{:?}", got);
            }
        }
    }
}
