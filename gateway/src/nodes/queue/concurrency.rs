//! What happens at the same time: calls during a round, deadlines during a hand-out, many threads.

use std::sync::Condvar;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Wake};

use futures_util::FutureExt;
use futures_util::future::select;

use super::properties::suits;
use super::tests::{Lease, Nodes, WIDE, account, enter, house, is_at, waiter};
use super::*;

/// Looks whether another has been served, when its own time comes.
struct Looks(Mutex<Waiting<Lease>>, AtomicBool);

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        let pending = (&mut *self.0.lock().unwrap()).now_or_never().is_none();
        self.1.store(pending, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_at_the_deadline_still_arrives() {
    let (queue, nodes) = house(WIDE, &[0]);
    let mut first = enter(&queue, &nodes, waiter(1, Priority::Normal)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    let late = enter(&queue, &nodes, Waiter { deadline, ..waiter(2, Priority::Normal) }).unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    let looks = Arc::new(Looks(Mutex::new(late), AtomicBool::new(false)));
    let waker = Arc::clone(&looks).into();
    assert!(first.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
    nodes.free[0].store(2, Ordering::Relaxed);
    queue.serve(Chance::Anywhere);
    assert!(looks.1.load(Ordering::Relaxed), "it looked after the deadline, and its turn had come");
    assert!((&mut *looks.0.lock().unwrap()).now_or_never().unwrap().is_ok());
}

/// One thread is held in the middle of a round; what others announce meanwhile is done before it returns.
#[tokio::test]
async fn a_call_during_a_round_is_done_by_the_one_that_runs() {
    let queue = Queue::<usize>::new(WIDE);
    let gate = Arc::new((Mutex::new(0), Condvar::new()));
    let room = Arc::new(AtomicBool::new(false));
    let (at_gate, has_room, mut looks) = (Arc::clone(&gate), Arc::clone(&room), 0);
    let take = move |_| {
        looks += 1;
        let found = has_room.load(Ordering::Relaxed).then_some(looks);
        if looks == 2 {
            let (stage, moved) = &*at_gate;
            *stage.lock().unwrap() = 1;
            moved.notify_all();
            drop(moved.wait_while(stage.lock().unwrap(), |stage| *stage < 2).unwrap());
        }
        found
    };
    let waiting = queue.enter(waiter(1, Priority::Normal), take).unwrap();
    let runs = std::thread::spawn({
        let queue = Arc::clone(&queue);
        move || queue.serve(Chance::Anywhere)
    });
    let (stage, moved) = &*gate;
    drop(moved.wait_while(stage.lock().unwrap(), |stage| *stage < 1).unwrap());
    room.store(true, Ordering::Relaxed);
    queue.serve(Chance::Anywhere);
    *stage.lock().unwrap() = 2;
    moved.notify_all();
    runs.join().unwrap();
    assert_eq!(waiting.now_or_never().unwrap().unwrap(), 3);
}

/// On several threads, whose leases serve the next as they are dropped, nobody is forgotten and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_lose_nothing_and_nobody() {
    let queue = Queue::new(WIDE);
    let nodes = Nodes::new(&[1, 1, 2], &queue);
    let clients = (0..32_u64).map(|client| {
        let (queue, nodes) = (Arc::clone(&queue), Arc::clone(&nodes));
        tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(client);
            for _ in 0..500 {
                let kind = random.u64(1..8);
                let patience = if random.u8(..4) == 0 { random.u64(..200) } else { 3_600_000_000 };
                let deadline = Instant::now() + Duration::from_micros(patience);
                let number = u128::from(client % 5);
                let waiter = Waiter { account: account(number), priority: Priority::Normal, bytes: 1, kind, deadline };
                let suiting = Arc::clone(&nodes);
                let waiting = queue
                    .enter(waiter, move |chance| suiting.lease(suits(kind).filter(|node| is_at(*node, chance))))
                    .unwrap();
                match random.u8(..8) {
                    0 => drop(waiting),
                    1 => drop(select(waiting, Box::pin(tokio::task::yield_now())).await),
                    _ => {
                        let lease = waiting.await;
                        tokio::task::yield_now().await;
                        drop(lease);
                    }
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        tokio::time::timeout(Duration::from_secs(60), client).await.expect("somebody waits for ever").unwrap();
    }
    assert!(queue.is_empty() && queue.calls.load(Ordering::Relaxed) == 0);
    assert_eq!([0, 1, 2].map(|node| nodes.free(node)), [1, 1, 2]);
}
