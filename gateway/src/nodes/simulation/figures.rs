//! What is counted, and the table.

use std::fmt::{self, Display, Formatter};

use super::demand::ACCOUNTS;
use super::events::MINUTE;
use super::fleet::{Character, Node};
use super::oracle::Policy;
use super::shelf::Shelf;
use super::world::World;
use crate::nodes::choose::Ask;
use crate::nodes::preference::Sort;

/// Traffic is counted for so long at a time.
const SPAN: u64 = 2 * MINUTE;
/// The tolerance within which a node is as good as the best, in percent.
const TOLERANCE: u64 = 10;
/// Waits fewer than this are chance.
const LEAST_WAITS: u64 = 20;

/// How a request without an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 503: nobody suits, or nobody has had room for too long.
    Refused,
    /// 502: nodes failed.
    Failed,
}

/// Whose traffic is watched.
pub(super) const CLASSES: [&str; 5] = ["honest", "liars", "boasters", "stallers", "flaky"];

/// Their place among these.
pub(super) const STALLERS: usize = 3;

#[derive(Clone, Default)]
pub(super) struct Figures {
    pub(super) arrived: u64,
    pub(super) completed: u64,
    /// Of whom nobody knows anything in the end.
    pub(super) lost: u64,
    /// Tokens that liars claimed beyond the truth.
    pub(super) overclaimed: u64,
    pub(super) last_resorts: u64,
    /// Microseconds to a slot and to the first byte, in calm and in hot times.
    queued: [Vec<u64>; 2],
    first_bytes: [Vec<u64>; 2],
    pub(super) refused: u64,
    pub(super) failed: u64,
    /// Those for whom a suitable node was there, and those who were kept from it by the hold alone.
    pub(super) refused_in_vain: u64,
    pub(super) failed_in_vain: u64,
    pub(super) shut_out_by_hold: u64,
    /// Choices of requests whose data may not be just anywhere, and how many of these were wrong.
    pub(super) strict: u64,
    pub(super) violations: u64,
    /// By sort: choices that were compared, and those within the tolerance of the best.
    pub(super) compared: [(u64, u64); Sort::ALL.len()],
    /// Waits of each account in hot times, of requests that ask for nothing: how many, and microseconds.
    waits: Vec<(u64, u64)>,
    /// Requests of each class for each span, and what each class could do of a million.
    traffic: Vec<[u64; CLASSES.len()]>,
    fair: [u64; CLASSES.len()],
    pub(super) works: (usize, usize),
    /// Requests that were sent to wait on a node although another one that suits had a free slot.
    pub(super) idle_ignored: u64,
}

fn class(node: &Node) -> usize {
    match node.character {
        Character::Honest => 0,
        Character::Liar(_) => 1,
        Character::Boaster => 2,
        Character::Staller => 3,
        Character::Flaky => 4,
    }
}

impl Figures {
    pub(super) fn new(nodes: &[Node], shelves: &[Shelf]) -> Self {
        let works = shelves.iter().flat_map(|shelf| &shelf.works).map(|node| &nodes[*node]);
        let mut capacity = [0; CLASSES.len()];
        works.clone().for_each(|node| capacity[class(node)] += node.capacity());
        let all = capacity.iter().sum::<u64>().max(1);
        Self {
            waits: vec![(0, 0); ACCOUNTS],
            fair: capacity.map(|of_class| of_class * 1_000_000 / all),
            works: (works.count(), nodes.len()),
            ..Self::default()
        }
    }

    /// Of the hundred or thousand, so many wait no longer: microseconds to a slot.
    pub(super) fn queued(&self, hot: bool, per_thousand: usize) -> u64 {
        percentile(&self.queued[usize::from(hot)], per_thousand)
    }

    pub(super) fn first_byte(&self, hot: bool, per_thousand: usize) -> u64 {
        percentile(&self.first_bytes[usize::from(hot)], per_thousand)
    }

    /// A class's part of the traffic against its part of the capacity, in percent, span by span.
    pub(super) fn share(&self, class: usize) -> Vec<u64> {
        let share = |span: &[u64; CLASSES.len()]| {
            let all = span.iter().sum::<u64>().max(1);
            span[class] * 100_000_000 / all / self.fair[class].max(1)
        };
        self.traffic.iter().map(share).collect()
    }

    /// The same for the whole time but the first span, in which a class is found out.
    pub(super) fn later_share(&self, class: usize) -> u64 {
        let later = self.traffic.iter().skip(1);
        let all = later.clone().flatten().sum::<u64>().max(1);
        later.map(|span| span[class]).sum::<u64>() * 100_000_000 / all / self.fair[class].max(1)
    }

    /// Mean waits in hot times: of the two who send most, of all others, and of the one of these who waits longest, in
    /// microseconds.
    pub(super) fn fairness(&self) -> (u64, u64, u64) {
        let mean = |(count, sum): (u64, u64)| sum / count.max(1);
        let total = |of: &[(u64, u64)]| of.iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        let (big, others) = self.waits.split_at(2);
        let worst = others.iter().filter(|(count, _)| *count >= LEAST_WAITS).map(|account| mean(*account)).max();
        (mean(total(big)), mean(total(others)), worst.unwrap_or_default())
    }

    /// How long requests wait, as lines of the table.
    pub(super) fn times(&self) -> String {
        let line = |hot: bool| {
            let of = |figure: fn(&Self, bool, usize) -> u64, part| figure(self, hot, part) / 1_000;
            let (name, half, most) = (if hot { "hot" } else { "calm" }, of(Self::queued, 500), of(Self::queued, 990));
            let (first_half, first_most) = (of(Self::first_byte, 500), of(Self::first_byte, 990));
            format!(
                "queueing, {name:<5} P50, P99                       {half} ms, {most} ms\n\
                 first byte, {name:<5} P50, P99                     {first_half} ms, {first_most} ms\n"
            )
        };
        line(false) + &line(true)
    }
}

fn percentile(figures: &[u64], per_thousand: usize) -> u64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * per_thousand / 1_000).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

impl World {
    /// A request has got this node.
    pub(super) fn figures_of_choice(&mut self, request: usize, node: usize) {
        let (span, it) = ((self.now / SPAN) as usize, &self.requests[request]);
        let wants = &self.kinds[it.model].get(it.kind).wants;
        if self.figures.traffic.len() <= span {
            self.figures.traffic.resize(span + 1, Default::default());
        }
        self.figures.traffic[span][class(&self.nodes[node])] += 1;
        if self.nodes[node].in_flight > self.nodes[node].slots && !wants.energy {
            let (nodes, request_tried) = (self.shelves[it.model].nodes.iter(), &it.tried);
            let free = |node: &&usize| {
                let it = &self.nodes[**node];
                let tried = request_tried.contains(&(**node, it.connection));
                !tried
                    && it.in_flight < it.slots
                    && it.health.may_try(self.instant())
                    && self.is_suitable(request, **node)
            };
            self.figures.idle_ignored += u64::from(it.begun.is_none() && nodes.clone().any(|node| free(&node)));
        }
        if it.denied || wants.is_strict() {
            self.figures.strict += 1;
            self.figures.violations += u64::from(!wants.allow(&self.nodes[node], it.denied));
        }
    }

    /// Its answer has begun.
    pub(super) fn figures_of_beginning(&mut self, request: usize) {
        let it = &self.requests[request];
        let (hot, since) = (self.size.is_hot(it.arrived), it.computes_since.unwrap_or(self.now));
        self.figures.queued[usize::from(hot)].push(since - it.arrived);
        self.figures.first_bytes[usize::from(hot)].push(self.now - it.arrived);
        if hot && it.kind == 0 && !it.denied {
            let (count, sum) = &mut self.figures.waits[it.account];
            (*count, *sum) = (*count + 1, *sum + since - it.arrived);
        }
    }

    /// It has none. Was there nobody?
    pub(super) fn figures_of_refusal(&mut self, request: usize, how: Outcome) {
        let it = &self.requests[request];
        let energy = self.kinds[it.model].get(it.kind).wants.energy;
        let rests = |node: usize| self.policy == Policy::Gateway && self.room(node).is_err();
        let would_do = |node: &usize| {
            let same = it.begun.is_none_or(|begun| begun == self.nodes[*node].quantisation);
            let tried = it.tried.contains(&(*node, self.nodes[*node].connection));
            same && !tried && self.nodes[*node].room().is_some() && !rests(*node)
        };
        let nodes = &self.shelves[it.model].nodes;
        // Who allows one try has had it.
        let may_go_on = how == Outcome::Refused || self.preference(it).may_fall_back();
        let in_vain =
            !energy && may_go_on && nodes.iter().any(|node| would_do(node) && self.is_suitable(request, *node));
        let held = std::mem::replace(&mut self.requests[request].held, u64::MAX);
        let it = &self.requests[request];
        let nodes = &self.shelves[it.model].nodes;
        let shut_out = !in_vain && !energy && nodes.iter().any(|node| self.is_suitable(request, *node));
        self.requests[request].held = held;
        match how {
            Outcome::Refused => self.figures.refused += 1,
            Outcome::Failed => self.figures.failed += 1,
        }
        self.figures.refused_in_vain += u64::from(in_vain && how == Outcome::Refused);
        self.figures.failed_in_vain += u64::from(in_vain && how == Outcome::Failed);
        self.figures.shut_out_by_hold += u64::from(shut_out);
    }

    /// Holds a choice against all nodes that suit and have a slot, by what the request puts first and by the truth.
    pub(super) fn compare(&mut self, request: usize, chosen: usize, ask: &Ask) {
        let Some(sort) = ask.preference.sort else { return };
        if !self.chance.u64(..).is_multiple_of(self.size.compares_every) || !ask.preference.order.is_empty() {
            return;
        }
        let gathers = matches!(sort, Sort::Energy | Sort::Carbon);
        let figure = |node: usize| self.true_figure(request, (node, sort), ask);
        let nodes = self.shelves[self.requests[request].model].nodes.iter().copied();
        let good = nodes.filter(|node| {
            self.nodes[*node].in_flight < self.nodes[*node].slots
                && self.room(*node).is_ok()
                && self.unsuited(request, *node, ask).is_none()
                && (!gathers || self.candidate(*node, ask).state.typical_first_byte <= ask.latency_objective)
        });
        let Some(best) = good.map(figure).min() else { return };
        let is_good = figure(chosen) * 100 <= best * (100 + TOLERANCE);
        let (all, well) = &mut self.figures.compared[sort as usize];
        (*all, *well) = (*all + 1, *well + u64::from(is_good));
    }

    fn true_figure(&self, request: usize, (node, sort): (usize, Sort), ask: &Ask) -> u64 {
        let it = &self.nodes[node];
        match sort {
            Sort::Throughput => 1_000_000_000 / it.speed,
            Sort::Latency => it.time_to_read(self.requests[request].prompt),
            // What a liar says of itself is not worth as much.
            _ => it.state(self.instant()).0.handicapped(ask.figure(&self.candidate(node, ask))),
        }
    }
}

impl Display for Figures {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (works, all) = self.works;
        writeln!(f, "nodes that get work, no dearer than the hold   {works} of {all}")?;
        writeln!(
            f,
            "requests, answered, lost                       {}, {}, {}",
            self.arrived, self.completed, self.lost
        )?;
        f.write_str(&self.times())?;
        writeln!(f, "refused, of these in vain                      {}, {}", self.refused, self.refused_in_vain)?;
        writeln!(f, "failed, of these in vain                       {}, {}", self.failed, self.failed_in_vain)?;
        writeln!(f, "without an answer for the hold alone           {}", self.shut_out_by_hold)?;
        writeln!(f, "to a node in spite of its rest                 {}", self.last_resorts)?;
        writeln!(f, "sent to wait although another has a free slot  {}", self.idle_ignored)?;
        writeln!(f, "residency: choices, wrong ones                 {}, {}", self.strict, self.violations)?;
        for (sort, (all, well)) in Sort::ALL.iter().zip(&self.compared) {
            let share = well * 100 / (*all).max(1);
            writeln!(f, "within 10 % of the best by {:<12}        {share} % of {all}", sort.word())?;
        }
        for (class, name) in CLASSES.iter().enumerate() {
            writeln!(f, "traffic of {name:<8} against capacity, %        {:?}", self.share(class))?;
        }
        let (big, others, worst) = self.fairness();
        let (big, others, worst) = (big / 1_000, others / 1_000, worst / 1_000);
        writeln!(f, "mean wait in hot times: two big, others, worst {big} ms, {others} ms, {worst} ms")?;
        write!(f, "tokens claimed beyond those made               {}", self.overclaimed)
    }
}
