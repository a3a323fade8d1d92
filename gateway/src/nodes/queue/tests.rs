use std::sync::Weak;

use futures_util::{FutureExt, future};

use super::line::AGE;
use super::*;

pub(super) const WIDE: Bounds = Bounds { requests: 100_000, bytes: usize::MAX, requests_of_an_account: 100_000 };

/// Nodes of some places each.
pub(super) struct Nodes {
    pub(super) free: Vec<AtomicUsize>,
    queue: Weak<Queue<Lease>>,
}

/// A place on one of them.
pub(super) struct Lease {
    nodes: Arc<Nodes>,
    pub(super) node: usize,
}

impl Nodes {
    pub(super) fn new(places: &[usize], queue: &Arc<Queue<Lease>>) -> Arc<Self> {
        let free = places.iter().map(|places| AtomicUsize::new(*places)).collect();
        Arc::new(Self { free, queue: Arc::downgrade(queue) })
    }

    /// The first node of these with a free place.
    pub(super) fn lease(self: &Arc<Self>, mut suits: impl Iterator<Item = usize>) -> Option<Lease> {
        let took = |node: &usize| {
            self.free[*node].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1)).is_ok()
        };
        suits.find(took).map(|node| Lease { nodes: Arc::clone(self), node })
    }

    pub(super) fn free(&self, node: usize) -> usize {
        self.free[node].load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, node: usize) {
        self.free[node].fetch_add(1, Ordering::Relaxed);
        if let Some(queue) = self.queue.upgrade() {
            queue.serve(Chance::At(at(node)));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.nodes.add(self.node);
    }
}

/// The id of a node.
pub(super) fn at(node: usize) -> Uuid {
    Uuid::from_u128(node as u128)
}

/// Whether a node is where something may be had.
pub(super) fn is_at(node: usize, chance: Chance) -> bool {
    match chance {
        Chance::At(id) => id == at(node),
        Chance::Anywhere | Chance::Round(_) => true,
    }
}

pub(super) fn account(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(super) fn waiter(number: u128, priority: Priority) -> Waiter {
    let deadline = Instant::now() + Duration::from_secs(3600);
    Waiter { account: account(number), priority, bytes: 10, kind: 0, deadline }
}

/// A queue, and nodes of which every waiter in a test suits the one that its kind names.
pub(super) fn house(bounds: Bounds, places: &[usize]) -> (Arc<Queue<Lease>>, Arc<Nodes>) {
    let queue = Queue::new(bounds);
    let nodes = Nodes::new(places, &queue);
    (queue, nodes)
}

pub(super) fn enter(queue: &Arc<Queue<Lease>>, nodes: &Arc<Nodes>, waiter: Waiter) -> Result<Waiting<Lease>, Full> {
    let (nodes, node) = (Arc::clone(nodes), waiter.kind as usize);
    queue.enter(waiter, move |chance| nodes.lease(std::iter::once(node).filter(|node| is_at(*node, chance))))
}

/// Which of them have what they waited for; they let go of it at once when `keep` says so.
fn served(waiting: &mut [Option<Waiting<Lease>>], held: &mut Vec<Lease>) -> Vec<usize> {
    let mut served = Vec::new();
    for (index, slot) in waiting.iter_mut().enumerate() {
        if let Some(Ok(lease)) = slot.as_mut().and_then(|waiting| waiting.now_or_never()) {
            *slot = None;
            held.push(lease);
            served.push(index);
        }
    }
    served
}

/// In which order they are served when one place becomes free again and again.
fn order(queue: &Arc<Queue<Lease>>, nodes: &Arc<Nodes>, waiters: &[Waiter]) -> Vec<usize> {
    let enter = |waiter: &Waiter| Some(enter(queue, nodes, *waiter).unwrap());
    let mut waiting: Vec<_> = waiters.iter().map(enter).collect();
    let (mut held, mut order) = (Vec::new(), Vec::new());
    for _ in waiters {
        nodes.add(0);
        order.extend(served(&mut waiting, &mut held));
    }
    order
}

#[tokio::test(start_paused = true)]
async fn who_finds_room_gets_it_at_once_and_who_does_not_waits_for_it() {
    let (queue, nodes) = house(WIDE, &[1]);
    let first = enter(&queue, &nodes, waiter(1, Priority::Normal)).unwrap().await.unwrap();
    assert!(queue.is_empty());
    let second = enter(&queue, &nodes, waiter(2, Priority::Normal)).unwrap();
    assert_eq!((queue.is_empty(), queue.length(), queue.length_of(account(2)), queue.bytes()), (false, 1, 1, 10));
    let (second, ()) = future::join(second, async { drop(first) }).await;
    assert!(second.is_ok() && queue.is_empty() && queue.bytes() == 0);
}

#[tokio::test(start_paused = true)]
async fn accounts_take_turns_whatever_they_send() {
    let (queue, nodes) = house(WIDE, &[0]);
    let waiters = [1, 1, 1, 1, 2, 2, 3].map(|number| waiter(number, Priority::Normal));
    assert_eq!(order(&queue, &nodes, &waiters), [0, 4, 6, 1, 5, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn priority_orders_the_requests_of_an_account_and_nobody_elses() {
    let (queue, nodes) = house(WIDE, &[0]);
    let classes = [(1, "low"), (1, "auto"), (1, "priority"), (2, "low"), (2, "high"), (1, "default")];
    let waiters = classes.map(|(number, word)| waiter(number, word.parse().unwrap()));
    assert_eq!(order(&queue, &nodes, &waiters), [2, 4, 1, 3, 5, 0]);
    assert_eq!("urgent".parse::<Priority>(), Err(NoPriority));
}

#[tokio::test(start_paused = true)]
async fn a_low_one_rises_with_time() {
    let (queue, nodes) = house(WIDE, &[0]);
    let mut waiting = vec![Some(enter(&queue, &nodes, waiter(1, Priority::Low)).unwrap())];
    let mut held = Vec::new();
    for (age, low_is_first) in [(AGE, false), (AGE, true)] {
        tokio::time::advance(age).await;
        waiting.push(Some(enter(&queue, &nodes, waiter(1, Priority::High)).unwrap()));
        nodes.add(0);
        let first = served(&mut waiting, &mut held);
        assert_eq!(first.contains(&0), low_is_first);
    }
}

#[tokio::test(start_paused = true)]
async fn one_kind_that_waits_holds_up_no_other() {
    let (queue, nodes) = house(WIDE, &[0, 1]);
    let full = enter(&queue, &nodes, waiter(1, Priority::High)).unwrap();
    let other = Waiter { kind: 1, ..waiter(2, Priority::Low) };
    assert!(enter(&queue, &nodes, other).unwrap().await.is_ok());
    assert_eq!(queue.length(), 1);
    drop(full);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_pass_one_who_waits() {
    let (queue, nodes) = house(WIDE, &[0]);
    let first = enter(&queue, &nodes, waiter(1, Priority::Normal)).unwrap();
    // There is room of which nobody has told the queue.
    nodes.free[0].store(1, Ordering::Relaxed);
    let mut second = enter(&queue, &nodes, waiter(2, Priority::High)).unwrap();
    assert!((&mut second).now_or_never().is_none());
    queue.serve(Chance::Round(1));
    let _held = first.now_or_never().unwrap().unwrap();
    assert!(second.now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_used_is_not_saved_up() {
    let (queue, nodes) = house(WIDE, &[0, 0]);
    let blocked = enter(&queue, &nodes, Waiter { kind: 1, ..waiter(1, Priority::Normal) }).unwrap();
    order(&queue, &nodes, &[waiter(2, Priority::Normal); 20]);
    let free = nodes.free(0);
    assert_eq!(free, 20, "all were given back");
    nodes.free[0].store(0, Ordering::Relaxed);
    let waiters = [1, 1, 1, 1, 2, 2, 2, 2].map(|number| waiter(number, Priority::Normal));
    assert_eq!(order(&queue, &nodes, &waiters), [0, 4, 1, 5, 2, 6, 3, 7]);
    drop(blocked);
}

#[tokio::test(start_paused = true)]
async fn going_and_coming_again_wins_no_turn() {
    let (queue, nodes) = house(WIDE, &[0]);
    let steady = (0..100).map(|_| Some(enter(&queue, &nodes, waiter(1, Priority::Normal)).unwrap()));
    let (mut steady, mut held, mut got) = (steady.collect::<Vec<_>>(), Vec::new(), 0);
    for _ in 0..50 {
        let mut returning = [Some(enter(&queue, &nodes, waiter(2, Priority::Normal)).unwrap())];
        nodes.add(0);
        got += served(&mut returning, &mut held).len();
    }
    assert_eq!((got, served(&mut steady, &mut held).len()), (25, 25));
}

#[tokio::test(start_paused = true)]
async fn ever_new_accounts_keep_nobody_from_his_turn() {
    let (queue, nodes) = house(WIDE, &[0]);
    let mut steady: Vec<_> =
        (0..9).map(|_| Some(enter(&queue, &nodes, waiter(1, Priority::Normal)).unwrap())).collect();
    let (mut others, mut held) = (Vec::new(), Vec::new());
    for number in 2..50 {
        others.push(enter(&queue, &nodes, waiter(number, Priority::Normal)).unwrap());
        nodes.add(0);
    }
    let got = served(&mut steady, &mut held).len();
    assert!((4..=9).contains(&got), "{got}");
}

#[tokio::test(start_paused = true)]
async fn each_bound_is_named_with_a_time_to_come_back() {
    let full = |why| Full { why, retry_after: Duration::from_secs(5) };
    let (queue, nodes) = house(Bounds { requests: 3, bytes: 25, requests_of_an_account: 2 }, &[0, 1]);
    let enter = |waiter| enter(&queue, &nodes, waiter);
    let _first = enter(waiter(1, Priority::Low)).unwrap();
    let second = enter(waiter(1, Priority::Low)).unwrap();
    assert_eq!(enter(waiter(1, Priority::High)).err(), Some(full(Why::TooManyOfAccount)));
    assert_eq!(enter(waiter(2, Priority::High)).err(), Some(full(Why::TooManyBytes)));
    let _third = enter(Waiter { bytes: 5, ..waiter(2, Priority::Low) }).unwrap();
    assert_eq!(enter(Waiter { bytes: 0, ..waiter(3, Priority::High) }).err(), Some(full(Why::TooMany)));
    let served = enter(Waiter { kind: 1, ..waiter(1, Priority::Low) }).unwrap().now_or_never();
    assert!(served.is_some_and(|served| served.is_ok()), "what nobody waits for can be had by anybody");
    drop(second);
    assert_eq!(full(Why::TooMany).to_string(), "too many requests are waiting; try again in 5 seconds");
    drop(enter(waiter(3, Priority::Low)).unwrap());
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_it_leaves_with_the_pace_of_its_kind() {
    let (queue, nodes) = house(WIDE, &[0]);
    let waiting: Vec<_> = (0..10).map(|_| enter(&queue, &nodes, waiter(1, Priority::Normal)).unwrap()).collect();
    let deadline = Instant::now() + Duration::from_secs(7);
    let late = enter(&queue, &nodes, Waiter { deadline, ..waiter(1, Priority::Low) }).unwrap();
    for _ in 0..2 {
        tokio::time::advance(Duration::from_secs(3)).await;
        nodes.add(0);
    }
    let passed = late.await.err();
    assert_eq!(passed, Some(Passed { after: Duration::from_secs(7), retry_after: Duration::from_secs(24) }));
    assert_eq!(queue.length(), 8);
    drop(waiting);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_for_somebody_who_left_goes_to_the_next() {
    let (queue, nodes) = house(WIDE, &[0]);
    let first = enter(&queue, &nodes, waiter(1, Priority::Normal)).unwrap();
    let second = enter(&queue, &nodes, waiter(2, Priority::Normal)).unwrap();
    nodes.add(0);
    assert_eq!(queue.length(), 1, "it was served, and has not looked yet");
    drop(first);
    assert!(second.now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_counts_as_waiting_before_it_looks() {
    let queue = Queue::<bool>::new(WIDE);
    let seen = Arc::clone(&queue);
    // Whoever makes room after this look, and before it waits, has to find somebody.
    let waiting = queue.enter(waiter(1, Priority::Normal), move |_| Some(seen.is_empty())).unwrap();
    assert_eq!((waiting.await, queue.is_empty()), (Ok(false), true));
}

#[tokio::test(start_paused = true)]
async fn one_that_panics_holds_up_nobody() {
    let (queue, nodes) = house(WIDE, &[0]);
    let broken = queue
        .enter(Waiter { kind: 9, ..waiter(1, Priority::High) }, |_| -> Option<Lease> { panic!("on purpose") })
        .unwrap();
    let sound = enter(&queue, &nodes, waiter(1, Priority::Normal)).unwrap();
    nodes.add(0);
    assert!(sound.now_or_never().unwrap().is_ok());
    drop(broken);
}

#[tokio::test(start_paused = true)]
async fn with_nothing_free_each_kind_is_tried_once() {
    let queue = Queue::<()>::new(WIDE);
    let tries = Arc::new(AtomicUsize::new(0));
    let enter = |number: u64| {
        let (tries, waiter) = (Arc::clone(&tries), waiter(u128::from(number), Priority::Normal));
        let take = move |_| {
            tries.fetch_add(1, Ordering::Relaxed);
            Tried::Nothing
        };
        queue.enter(Waiter { kind: number % 3, ..waiter }, take).unwrap()
    };
    let waiting: Vec<_> = (0..1000).map(enter).collect();
    assert_eq!(tries.swap(0, Ordering::Relaxed), 3, "the first of each kind");
    queue.serve(Chance::Anywhere);
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    drop(waiting);
}
