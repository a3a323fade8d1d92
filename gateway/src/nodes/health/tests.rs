//! A node's health as its leases see it.

use super::stall::Stalled;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A lease on its way through a node's health.
fn lease(health: &mut Health, now: Instant, report: impl FnOnce(&mut Health)) -> Passage {
    let passage = health.begin(now);
    report(health);
    health.abandoned(passage);
    passage
}

#[test]
fn a_node_fails_rests_is_probed_and_comes_back() {
    let (mut health, now) = (Health::default(), Instant::now());
    for _ in 0..3 {
        assert_eq!(lease(&mut health, now, |health| health.failed(now)), Passage::Open);
    }
    assert!(!health.is_up(now) && !health.may_try(now));
    let back = health.until().unwrap();
    assert!(health.is_up(back) && health.may_try(back));
    assert_eq!(lease(&mut health, back, |_| {}), Passage::Probe(back), "its client left");
    assert_eq!(lease(&mut health, back, |health| health.refused(Some(SECOND), back)), Passage::Probe(back));
    assert!(health.is_up(back) && !health.may_try(back), "busy");
    let free = back + SECOND;
    assert_eq!(lease(&mut health, free, Health::succeeded), Passage::Probe(free));
    assert_eq!(lease(&mut health, free, |_| {}), Passage::Open);
    assert_eq!(health.until().map(|until| until <= free), Some(true), "nothing is in the way any more");
}

#[test]
fn the_last_node_is_asked_even_while_it_rests() {
    let (mut health, now) = (Health::default(), Instant::now());
    (0..3).for_each(|_| health.failed(now));
    assert_eq!(lease(&mut health, now, Health::succeeded), Passage::Barred);
    assert!(health.may_try(now), "it works again");
    (0..3).for_each(|_| health.failed(now));
    health.rejoined(now);
    assert!(health.may_try(now));
}

#[test]
fn what_a_stream_teaches_helps_to_watch_the_next_one() {
    let (mut health, now) = (Health::default(), Instant::now());
    assert_eq!(health.typical_gap(), None);
    let mut watch = StallWatch::new(health.typical_gap(), SILENCE, now);
    for token in 0..10 {
        watch.token(now + SECOND * token).into_iter().for_each(|gap| health.paused(gap));
    }
    assert_eq!(health.typical_gap(), Some(SECOND));
    let mut next = StallWatch::new(health.typical_gap(), SECOND * 60, now);
    next.token(now);
    assert_eq!(next.verdict(now + SECOND * 20), Some(Stalled::NoToken(SECOND * 20)));
}

#[test]
fn promises_are_held_against_what_was_measured() {
    let (mut health, now) = (Health::default(), Instant::now());
    assert_eq!(health.believed_speed(100), 100);
    for _ in 0..20 {
        health.answered(SECOND, 100, now);
        health.spoke(20, SECOND);
        health.judged(40, 20, now);
    }
    assert_eq!((health.tokens_per_second(), health.believed_speed(100)), (20, 25));
    assert_eq!((health.faded_first_byte(now), health.faded_first_byte(now + SECOND * 600)), (SECOND, SECOND / 2));
    assert_eq!(health.handicap_ppm(now), 10_000_000);
    let honesty = health.honesty_ppm(now);
    health.wrong_model(now);
    assert!(health.honesty_ppm(now) < honesty);
}
