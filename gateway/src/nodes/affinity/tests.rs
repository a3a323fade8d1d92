//! A federation in simulated time: twenty nodes of eight slots, which take longer over what they have not computed yet.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const NODES: usize = 20;

struct Federation {
    /// Of each node.
    slots: u64,
    memory: Memory,
    random: fastrand::Rng,
    start: Instant,
    /// Milliseconds since the start.
    now: u64,
    running: [u64; NODES],
    /// What runs: when it ends, and where.
    ends: BinaryHeap<Reverse<(u64, usize)>>,
}

/// Where a request went.
struct Sent {
    node: usize,
    found: Option<Match>,
    /// It went where its beginning was found.
    followed: bool,
    end: u64,
}

impl Federation {
    fn new(slots: u64) -> Self {
        Self {
            slots,
            memory: Memory::default(),
            random: fastrand::Rng::with_seed(5),
            start: Instant::now(),
            now: 0,
            running: [0; NODES],
            ends: BinaryHeap::new(),
        }
    }

    fn load(&self, node: usize) -> u64 {
        self.running[node] * 1_000 / self.slots
    }

    fn average(&self) -> f64 {
        self.running.iter().sum::<u64>() as f64 / NODES as f64
    }

    fn most(&self) -> f64 {
        self.running.iter().copied().max().unwrap() as f64
    }

    fn pass_to(&mut self, now: u64) {
        self.now = now;
        while let Some(&Reverse((end, node))) = self.ends.peek()
            && end <= now
        {
            self.ends.pop();
            self.running[node] -= 1;
        }
    }

    /// The less loaded of two random nodes, of those with a free slot if there are any.
    fn ordinary(&mut self) -> usize {
        let mut nodes: Vec<usize> = (0..NODES).collect();
        self.random.shuffle(&mut nodes);
        let free = nodes.iter().filter(|node| self.running[**node] < self.slots).take(2);
        *free.min_by_key(|node| self.running[**node]).unwrap_or(&nodes[0])
    }

    fn send(&mut self, prefix: &Prefix) -> Sent {
        let now = self.start + Duration::from_millis(self.now);
        let found = self.memory.find(prefix, now);
        let has_it = found.map(|found| found.node.as_u128() as usize);
        let loads = (0..NODES).map(|node| self.load(node));
        let preferred = has_it.filter(|node| may_take(self.load(*node), loads));
        let node = preferred.unwrap_or_else(|| self.ordinary());
        self.memory.remember(prefix, Uuid::from_u128(node as u128), now);
        let end = self.now + self.random.u64(2_000..5_000) + if preferred.is_some() { 0 } else { 1_000 };
        self.running[node] += 1;
        self.ends.push(Reverse((end, node)));
        Sent { node, found, followed: preferred.is_some(), end }
    }
}

/// Of one of twenty accounts, about one of ten topics: all accounts ask the same.
struct Conversation {
    account: usize,
    topic: usize,
    messages: Vec<Value>,
    /// Where the last turn was computed, and how long it was.
    last: Option<(usize, usize)>,
}

impl Conversation {
    fn new(number: usize) -> Self {
        let system = json!({"role": "system", "content": "You answer in one sentence. ".repeat(30)});
        Self { account: number % 20, topic: number / 20, messages: vec![system], last: None }
    }

    fn ask(&mut self) -> Prefix {
        let turn = self.messages.len();
        let question = format!("{turn}th question on topic {}: {}", self.topic, "why? ".repeat(20 + turn * 7 % 90));
        self.messages.push(json!({"role": "user", "content": question}));
        self.prefix()
    }

    fn prefix(&self) -> Prefix {
        prefix(self.account, &json!(self.messages))
    }

    /// True when all that was computed before was found and used.
    fn hear(&mut self, prefix: &Prefix, sent: &Sent) -> bool {
        let turn = self.messages.len();
        self.messages.push(json!({"role": "assistant", "content": "because ".repeat(30 + turn * 11 % 70)}));
        let last = self.last.replace((sent.node, prefix.borders().last().unwrap().bytes));
        let bytes = sent.found.filter(|_| sent.followed).map_or(0, |found| found.bytes);
        last.is_some_and(|last| last == (sent.node, bytes))
    }
}

fn prefix(account: usize, messages: &Value) -> Prefix {
    let body = json!({"model": "m", "messages": messages}).to_string();
    Prefix::of(&[7; 32], Uuid::from_u128(account as u128), "m", body.as_bytes())
}

#[test]
fn conversations_stay_where_they_are_and_accounts_apart() {
    const TURNS: usize = 25;
    let mut federation = Federation::new(8);
    let mut conversations: Vec<Conversation> = (0..200).map(Conversation::new).collect();
    let mut next: BinaryHeap<Reverse<(u64, usize)>> = (0..200).map(|at| Reverse((at as u64 * 50, at))).collect();
    let (mut hits, mut turns, mut load) = (0, 0, 0.0);
    let (mut whose, mut seen) = (HashMap::new(), HashSet::new());
    while let Some(Reverse((now, at))) = next.pop() {
        federation.pass_to(now);
        let conversation = &mut conversations[at];
        let prefix = conversation.ask();
        for border in prefix.borders() {
            assert_eq!(*whose.entry(border.hash).or_insert(conversation.account), conversation.account);
        }
        let sent = federation.send(&prefix);
        let was_here = |found: Match| seen.contains(&(conversation.account, found.node));
        assert!(sent.found.is_none_or(was_here), "found what another account has asked");
        seen.insert((conversation.account, Uuid::from_u128(sent.node as u128)));
        (hits, turns) = (hits + u32::from(conversation.hear(&prefix, &sent)), turns + 1);
        load += federation.average() / 8.0;
        if conversation.messages.len() < 2 * TURNS {
            next.push(Reverse((sent.end + federation.random.u64(3_000..7_000), at)));
        }
    }
    let (rate, load) = (f64::from(hits) / f64::from(turns), load / f64::from(turns));
    println!("{rate:.3} of {turns} turns, load {load:.2}");
    assert_eq!(turns, 5_000);
    assert!((0.4..0.6).contains(&load), "moderate: {load}");
    assert!(rate >= 0.9, "first turns count as misses, and yet: {rate}");
}

/// What became of a crowd.
struct Crowd {
    /// The most requests that ever ran on a node.
    most: f64,
    /// How many of a hundred requests with the popular beginning went where it was found.
    followed: u32,
    misses: [u32; NODES],
}

/// Three of five requests begin with the same long text, the others like none before; so many run at once.
fn crowd(slots: u64, at_once: usize) -> Crowd {
    let mut federation = Federation::new(slots);
    let popular = json!({"role": "system", "content": "Rules of the house. ".repeat(500)});
    let mut crowd = Crowd { most: 0.0, followed: 0, misses: [0; NODES] };
    for number in 0..6_000_u32 {
        while federation.ends.len() >= at_once {
            let Reverse((end, _)) = *federation.ends.peek().unwrap();
            federation.pass_to(end);
        }
        let question = json!({"role": "user", "content": format!("{number} {}", "what? ".repeat(60))});
        let is_popular = number % 5 < 3;
        let messages = if is_popular { json!([popular, question]) } else { json!([question]) };
        let sent = federation.send(&prefix(1, &messages));
        crowd.followed += u32::from(is_popular && sent.followed);
        crowd.misses[sent.node] += u32::from(sent.found.is_none());
        crowd.most = crowd.most.max(federation.most());
    }
    // 3 600 have the popular beginning.
    crowd.followed /= 36;
    crowd
}

#[test]
fn a_popular_beginning_overloads_nobody() {
    for (slots, at_once, followed) in [(8, 112, 60), (32, 480, 85)] {
        let bound = 1.25 * at_once as f64 / NODES as f64 + 1.0;
        let crowd = crowd(slots, at_once);
        println!("{slots} slots, {at_once} at once: {} of {bound}, {} % followed", crowd.most, crowd.followed);
        assert!(crowd.most <= bound, "{} on a node", crowd.most);
        assert!(crowd.followed >= followed, "{} %", crowd.followed);
    }
}

#[test]
fn misses_spread_whatever_a_node_is_known_for() {
    for at_once in [20, 112] {
        let misses = crowd(8, at_once).misses;
        let even = misses.iter().sum::<u32>() / NODES as u32;
        assert!(misses.iter().all(|misses| (even / 2..even * 2).contains(misses)), "{misses:?}");
    }
}

#[test]
fn only_where_nobody_has_a_free_slot_does_anybody_wait() {
    assert!(may_take(1_000, [1_000, 1_000]));
    assert!(!may_take(1_000, [1_000, 999, 2_000]));
    assert!(may_take(750, [750, 0, 0]), "calm");
    assert!(!may_take(751, [751, 0, 0]));
    assert!(may_take(900, [900, 720, 540]) && !may_take(901, [901, 720, 539]));
    assert!(may_take(0, []));
}

proptest! {
    #[test]
    fn the_least_loaded_may_always_and_nobody_far_above_the_average(loads in vec(0_u64..3_000, 1..20)) {
        let (least, most) = (*loads.iter().min().unwrap(), *loads.iter().max().unwrap());
        let average = loads.iter().sum::<u64>() / loads.len() as u64;
        prop_assert!(may_take(least, loads.iter().copied()));
        let allowed = may_take(most, loads.iter().copied());
        prop_assert!(!allowed || most <= CALM.max(average * 5 / 4 + 1));
        prop_assert!(!allowed || most < FULL || least >= FULL);
        prop_assert!(within_bound(average, average) && !within_bound(average * 5 / 4 + 1, average));
        prop_assert!(within_bound(u64::MAX, u64::MAX));
    }
}
