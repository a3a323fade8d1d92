//! What is tried at which chance.

use futures_util::FutureExt;

use super::tests::{WIDE, at, waiter};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_place_is_tried_where_it_became_free_and_nowhere_else() {
    let queue = Queue::<()>::new(WIDE);
    let tried = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&tried);
    let take = move |chance| {
        seen.lock().unwrap().push(chance);
        Tried::Nothing
    };
    let _waiting = queue.enter(waiter(1, Priority::Normal), take).unwrap();
    queue.serve(Chance::At(at(7)));
    assert_eq!(*tried.lock().unwrap(), [Chance::Anywhere, Chance::At(at(7))]);
}

#[tokio::test(start_paused = true)]
async fn in_rounds_each_kind_has_its_turn_and_no_more_are_tried_than_was_said() {
    let queue = Queue::<()>::new(WIDE);
    let tried = Arc::new(Mutex::new(Vec::new()));
    let enter = |kind: u64| {
        let seen = Arc::clone(&tried);
        let take = move |_| {
            seen.lock().unwrap().push(kind);
            Tried::Nothing
        };
        queue.enter(Waiter { kind, ..waiter(1, Priority::Normal) }, take).unwrap()
    };
    let _waiting: Vec<_> = (0..7).map(enter).collect();
    tried.lock().unwrap().clear();
    for round in 1..=7 {
        queue.serve(Chance::Round(3));
        assert_eq!(tried.lock().unwrap().len(), 3 * round);
    }
    let tried = tried.lock().unwrap();
    assert!((0..7).all(|kind| tried.iter().filter(|tried| **tried == kind).count() == 3), "{tried:?}");
    drop(tried);
    queue.serve(Chance::Round(100));
}

#[tokio::test(start_paused = true)]
async fn when_there_is_no_more_nobody_else_is_tried() {
    let queue = Queue::<u64>::new(WIDE);
    let tries = Arc::new(AtomicUsize::new(0));
    let enter = |kind: u64| {
        let tries = Arc::clone(&tries);
        let take = move |chance| match chance {
            Chance::At(_) if tries.fetch_add(1, Ordering::Relaxed) == 0 => Tried::Got(kind),
            Chance::At(_) => Tried::NoMore,
            Chance::Anywhere | Chance::Round(_) => Tried::Nothing,
        };
        queue.enter(Waiter { kind, ..waiter(kind.into(), Priority::Normal) }, take).unwrap()
    };
    let _waiting: Vec<_> = (0..100).map(enter).collect();
    queue.serve(Chance::At(at(7)));
    assert_eq!((queue.length(), tries.load(Ordering::Relaxed)), (99, 2));
}

/// Room of which the queue is not told, and a way to take it.
fn unannounced() -> (Arc<AtomicUsize>, impl FnMut(Chance) -> Tried<()> + Clone + Send + 'static) {
    let room = Arc::new(AtomicUsize::new(0));
    let free = Arc::clone(&room);
    let one_less = move || free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1));
    (room, move |_| if one_less().is_ok() { Tried::Got(()) } else { Tried::Nothing })
}

#[tokio::test(start_paused = true)]
async fn room_that_nobody_announced_is_found_before_a_place_is_given_up() {
    let queue = Queue::<()>::new(WIDE);
    let (room, take) = unannounced();
    let [first, second] = [1, 1].map(|number| queue.enter(waiter(number, Priority::Normal), take.clone()).unwrap());
    room.store(1, Ordering::Relaxed);
    assert!(first.await.is_ok());
    assert!(second.await.is_err(), "it was the only one");
    assert_eq!((queue.length(), room.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn room_that_nobody_announced_is_found_before_anybody_is_turned_away() {
    let queue = Queue::<()>::new(Bounds { requests: 2, ..WIDE });
    let (room, take) = unannounced();
    let enter = |number| queue.enter(waiter(number, Priority::Normal), take.clone());
    let [first, second] = [1, 2].map(|number| enter(number).unwrap());
    assert!(enter(3).is_err());
    room.store(1, Ordering::Relaxed);
    let third = enter(3).unwrap();
    assert!(first.now_or_never().is_some_and(|got| got.is_ok()), "who came first");
    assert!(enter(4).is_err());
    room.store(3, Ordering::Relaxed);
    let fourth = enter(4).unwrap();
    for served in [second, third, fourth] {
        assert!(served.now_or_never().is_some_and(|got| got.is_ok()));
    }
    assert_eq!((queue.length(), room.load(Ordering::Relaxed)), (0, 0));
}
