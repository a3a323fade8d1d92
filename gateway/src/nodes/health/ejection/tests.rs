//! A node's way out and back.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Ejected by a row at this moment.
fn ejected(now: Instant) -> Ejection {
    let mut ejection = Ejection::default();
    (0..PATIENCE).for_each(|_| ejection.failed(now));
    assert!(!ejection.is_up(now));
    ejection
}

fn rest(ejection: &Ejection, now: Instant) -> Duration {
    ejection.until().unwrap().saturating_duration_since(now)
}

#[test]
fn a_row_of_failures_ejects_and_one_success_heals_it() {
    let (mut ejection, now) = (Ejection::default(), Instant::now());
    ejection.failed(now);
    ejection.failed(now);
    assert!(ejection.may_try(now), "twice is chance");
    ejection.failed(now);
    assert!(!ejection.is_up(now) && ejection.begin(now) == Passage::Barred);
    assert!(ejection.may_try(now + FIRST_REST));
    ejection.succeeded();
    assert!(ejection.may_try(now) && ejection.begin(now) == Passage::Open);
    ejection.failed(now);
    assert!(ejection.may_try(now), "the row begins anew");
}

#[test]
fn a_node_that_dies_with_many_streams_is_ejected_once() {
    let now = Instant::now();
    let mut ejection = ejected(now);
    (0..100).for_each(|_| ejection.failed(now + SECOND));
    assert_eq!(rest(&ejection, now), FIRST_REST);
    ejection.failed(now + FIRST_REST);
    assert_eq!(rest(&ejection, now + FIRST_REST), FIRST_REST * 2, "after the rest one failure is enough");
}

#[test]
fn a_bad_rate_ejects_although_no_three_fail_in_a_row() {
    let (mut ejection, now) = (Ejection::default(), Instant::now());
    let fails = [true, true, false];
    for request in 0..LEAST_REQUESTS as usize - 1 {
        ejection.begin(now);
        if fails[request % 3] {
            ejection.failed(now)
        } else {
            ejection.succeeded()
        }
        assert!(ejection.is_up(now), "{request} are too few");
    }
    ejection.failed(now);
    assert!(!ejection.is_up(now));
    ejection.succeeded();
    assert!(!ejection.is_up(now), "such a node sometimes succeeds");
    assert!(matches!(ejection.begin(now + FIRST_REST), Passage::Probe(_)));
    ejection.succeeded();
    ejection.failed(now + FIRST_REST);
    assert!(ejection.is_up(now + FIRST_REST), "the same failures do not count again");
}

#[test]
fn half_of_the_requests_may_fail() {
    let (mut ejection, now) = (Ejection::default(), Instant::now());
    for _ in 0..100 {
        ejection.succeeded();
        ejection.failed(now);
    }
    assert!(ejection.is_up(now));
}

#[test]
fn old_successes_excuse_nothing() {
    let now = Instant::now();
    let is_up_after = |pause: Duration| {
        let mut ejection = Ejection::default();
        ejection.begin(now);
        (0..1000).for_each(|_| ejection.succeeded());
        let later = now + pause;
        for _ in 0..7 {
            ejection.failed(later);
            ejection.failed(later);
            ejection.succeeded();
        }
        ejection.is_up(later)
    };
    assert!(is_up_after(SECOND) && !is_up_after(HALF_LIFE * 10));
}

#[test]
fn a_failed_probe_ejects_for_longer_and_a_successful_one_ends_it() {
    let now = Instant::now();
    let mut ejection = ejected(now);
    let back = now + FIRST_REST;
    assert_eq!((ejection.begin(back), ejection.begin(back)), (Passage::Probe(back), Passage::Barred));
    assert!(ejection.is_up(back) && !ejection.may_try(back));
    ejection.failed(back);
    assert_eq!(rest(&ejection, back), FIRST_REST * 2);
    let back = back + FIRST_REST * 2;
    assert_eq!(ejection.begin(back), Passage::Probe(back));
    ejection.succeeded();
    assert_eq!((ejection.begin(back), ejection.begin(back)), (Passage::Open, Passage::Open));
}

#[test]
fn a_probe_whose_client_left_or_that_is_not_heard_of_makes_room_for_another() {
    let now = Instant::now();
    let mut ejection = ejected(now);
    let first = now + FIRST_REST;
    let passage = ejection.begin(first);
    ejection.abandoned(Passage::Open);
    ejection.abandoned(Passage::Barred);
    assert!(!ejection.may_try(first), "only the probe itself frees the probe");
    ejection.abandoned(passage);
    assert_eq!(ejection.begin(first + SECOND), Passage::Probe(first + SECOND));
    let late = first + SECOND + PROBE_WITHIN;
    assert!(!ejection.may_try(late - SECOND));
    assert_eq!(ejection.begin(late), Passage::Probe(late));
    ejection.abandoned(Passage::Probe(first + SECOND));
    assert!(!ejection.may_try(late), "a probe that was given up frees nobody else's");
}

#[test]
fn a_busy_node_is_left_alone_for_as_long_as_it_says() {
    let (mut ejection, now) = (Ejection::default(), Instant::now());
    ejection.refused(Some(SECOND * 7), now);
    assert!(ejection.is_up(now) && ejection.begin(now) == Passage::Barred);
    assert_eq!(ejection.until(), Some(now + SECOND * 7));
    assert_eq!(ejection.begin(now + SECOND * 7), Passage::Open);
    ejection.refused(Some(LONGEST_BUSY * 60), now);
    assert_eq!(ejection.until(), Some(now + LONGEST_BUSY));
    ejection.refused(None, now);
    assert_eq!(ejection.until(), Some(now + BUSY));
    (0..PATIENCE - 1).for_each(|_| ejection.failed(now));
    assert!(ejection.is_up(now), "a refusal is no failure");
    ejection.failed(now);
    assert_eq!(ejection.until(), Some(now + FIRST_REST), "the later of the two");
}

#[test]
fn a_busy_probe_is_no_verdict() {
    let now = Instant::now();
    let (mut ejection, back) = (ejected(now), now + FIRST_REST);
    let passage = ejection.begin(back);
    ejection.refused(Some(SECOND), back);
    ejection.abandoned(passage);
    assert!(!ejection.may_try(back));
    assert_eq!(ejection.begin(back + SECOND), Passage::Probe(back + SECOND));
}

#[test]
fn a_new_connection_is_a_new_chance() {
    let now = Instant::now();
    let mut ejection = ejected(now);
    ejection.refused(None, now);
    ejection.rejoined(now);
    assert_eq!(ejection.begin(now), Passage::Open);
    (0..PATIENCE).for_each(|_| ejection.failed(now));
    assert_eq!(rest(&ejection, now), FIRST_REST * 2, "but not a clean sheet");
}

#[test]
fn who_is_back_first_is_found_when_all_are_out() {
    let now = Instant::now();
    let mut busy = Ejection::default();
    busy.refused(Some(SECOND), now);
    let first = |nodes: &[(&'static str, &Ejection)]| nodes.iter().min_by_key(|(_, node)| node.until()).unwrap().0;
    assert_eq!(first(&[("ejected", &ejected(now)), ("busy", &busy)]), "busy");
    assert_eq!(first(&[("busy", &busy), ("in order", &Ejection::default())]), "in order");
}

proptest! {
    #[test]
    fn the_rest_never_shrinks_with_failures_and_is_capped(failures in 0_u32..40, late in 0_u64..100) {
        let mut now = Instant::now();
        let (mut ejection, mut last) = (ejected(now), Duration::ZERO);
        for _ in 0..failures {
            let new = rest(&ejection, now);
            prop_assert!(last <= new && (FIRST_REST..=LONGEST_REST).contains(&new));
            prop_assert!(new >= (last * 2).min(LONGEST_REST), "and doubles until it is");
            (now, last) = (now + new + SECOND * late as u32, new);
            prop_assert_eq!(ejection.begin(now), Passage::Probe(now));
            ejection.failed(now);
        }
    }

    #[test]
    fn there_is_one_probe_at_a_time(steps in prop::collection::vec((0_u8..6, 0_u64..20), 1..200)) {
        let mut now = Instant::now();
        let (mut ejection, mut probe) = (ejected(now), None::<Instant>);
        for (step, seconds) in steps {
            now += SECOND * seconds as u32;
            match step {
                0..3 => match (ejection.begin(now), probe) {
                    (passage, Some(since)) if now < since + PROBE_WITHIN => {
                        prop_assert_eq!(passage, Passage::Barred);
                    }
                    (Passage::Probe(since), _) => probe = Some(since),
                    (passage, _) => prop_assert!(passage == Passage::Barred || ejection.state == State::In),
                },
                3 => {
                    ejection.failed(now);
                    probe = None;
                }
                4 => {
                    ejection.succeeded();
                    probe = None;
                }
                _ => probe.take().into_iter().for_each(|since| ejection.abandoned(Passage::Probe(since))),
            }
        }
    }

    #[test]
    fn after_enough_time_in_health_everything_is_forgotten(failures in 1_u32..40, events in 0_u32..100) {
        let mut now = Instant::now();
        let mut ejection = ejected(now);
        for _ in 0..failures {
            now = ejection.until().unwrap();
            ejection.begin(now);
            ejection.failed(now);
        }
        now = ejection.until().unwrap();
        ejection.begin(now);
        ejection.succeeded();
        for _ in 0..events {
            ejection.failed(now);
            ejection.succeeded();
        }
        now += FORGIVEN_AFTER * MOST_DOUBLINGS + HALF_LIFE * 10;
        ejection.begin(now);
        for _ in 0..9 {
            ejection.failed(now);
            ejection.succeeded();
        }
        ejection.succeeded();
        prop_assert!(ejection.window.failures < 10.0 && ejection.is_up(now));
        (0..PATIENCE).for_each(|_| ejection.failed(now));
        prop_assert_eq!(rest(&ejection, now), FIRST_REST);
    }
}
