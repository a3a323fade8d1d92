//! What is tried at which chance.

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
