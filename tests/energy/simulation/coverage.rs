//! How often the truth lies in the interval that is shown: nine times out of ten, if the interval is honest.
//!
//! What a sensor covers of its machine, and how well, differs from node to node; what an attribution makes of it differs
//! from request to request. The first is drawn from a distribution of which the tier's interval is the middle 90 %, the
//! second comes out of the simulation.

use std::fmt::Write;
use std::time::Duration;

use openapi::energy::Tier;

use super::ours;
use super::random::Random;
use super::rules::Coefficients;
use super::scenario::{Scenario, Setting};
use provider::energy::interval::widened;

/// The tiers that show figures.
pub(crate) const TIERS: [Tier; 5] = [Tier::A, Tier::B, Tier::C, Tier::D, Tier::E];

/// Loads, from four at a time to two hundred and fifty, and counters: usual, badly aligned, slow; and how many of their
/// windows are put together.
pub(crate) const LOADS: [(&str, Setting, usize); 7] = [
    ("2 requests/s", Setting::of(0, 2.0), 3),
    ("10 requests/s", Setting::of(0, 10.0), 3),
    ("10 requests/s, windows of 0.1 s", Setting::of(0, 10.0), 1),
    ("30 requests/s", Setting::of(0, 30.0), 3),
    ("10 requests/s, lag to 100 ms", Setting { lag: 0.1, ..Setting::of(0, 10.0) }, 3),
    ("30 requests/s, lag to 100 ms", Setting { lag: 0.1, ..Setting::of(0, 30.0) }, 3),
    ("10 requests/s, counter of 1 s, lag to 200 ms", Setting { refresh: 1.0, lag: 0.2, ..Setting::of(0, 10.0) }, 1),
];

/// Each load is played with these seeds: how well costs are learned depends on what came by chance.
const SEEDS: [u64; 6] = [11, 12, 13, 21, 22, 23];

/// The standard normal distribution's 95th percentile.
const Z95: f64 = 1.644_853_626_951_472_7;
/// Nodes that are drawn for each request.
const NODES: usize = 5;

/// How the interval of a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interval {
    /// That of the tier.
    Node,
    /// Widened by how long the request took.
    ByDuration,
    /// Widened by how unevenly it drew power.
    ByProfile,
}

/// One request's figure beside the truth.
#[derive(Clone, Copy, Debug)]
struct Judged {
    /// The truth over the figure, with a perfect sensor.
    ratio: f64,
    duration: Duration,
    effective: Duration,
}

/// What is seen of a load.
pub(crate) struct Load {
    judged: Vec<Judged>,
    /// Nine edges of windows out of ten are off by at most so much from where they are on average.
    skew: Duration,
}

impl Load {
    /// Plays it, with every seed, to our own attribution, which begins with a guess that is off by a third.
    pub(crate) fn play(setting: Setting, together: usize) -> Self {
        let judged = SEEDS.into_iter().flat_map(|seed| judged(Setting { seed, ..setting }, together)).collect();
        // Evenly distributed lags deviate by a twelfth's root of their range.
        let skew = Duration::from_secs_f64(Z95 * setting.lag / 12.0_f64.sqrt());
        Self { judged, skew }
    }

    /// The part of the truths that lie in the intervals of nodes of a tier; none where no request is of the kind.
    pub(crate) fn coverage(&self, tier: Tier, interval: Interval, only_short: bool) -> Option<f64> {
        let mut random = Random::seeded(1);
        let (mut within, mut all) = (0, 0);
        for one in self.judged.iter().filter(|one| !only_short || one.duration < Duration::from_secs(1)) {
            let (low, high) = self.interval(tier, interval, one);
            for _ in 0..NODES {
                let truth = gain(tier, &mut random) * one.ratio * 1e3;
                within += usize::from((low as f64..=high as f64).contains(&truth));
                all += 1;
            }
        }
        (all > 0).then(|| within as f64 / all as f64)
    }

    fn interval(&self, tier: Tier, interval: Interval, one: &Judged) -> (u64, u64) {
        match interval {
            Interval::Node => tier.interval_milli(),
            Interval::ByDuration => widened(tier.interval_milli(), one.duration, self.skew),
            Interval::ByProfile => widened(tier.interval_milli(), one.effective, self.skew),
        }
    }
}

/// Those who arrived in the second half, when costs have been learned.
fn judged(setting: Setting, together: usize) -> Vec<Judged> {
    let scenario = Scenario::play(setting).coarser(together);
    let profiles = ours::attributed(&scenario, Coefficients::scaled(1.3, 0.7, 0.7, 1.2)).profiles;
    let all = scenario.requests.iter().zip(profiles);
    let late = all.filter(|(request, _)| request.arrival > setting.seconds * 0.5);
    late.map(|(request, profile)| Judged {
        ratio: request.truth / profile.joules,
        duration: Duration::from_secs_f64(request.end - request.start),
        effective: profile.effective(),
    })
    .collect()
}

/// A node's true energy over what its sensors show: log-normal, with a deviation of its own on either side of the median,
/// so that the tier's interval is from the 5th to the 95th percentile.
fn gain(tier: Tier, random: &mut Random) -> f64 {
    let (low, high) = tier.interval_milli();
    let normal = random.gauss(0.0, 1.0);
    let end = if normal < 0.0 { low } else { high };
    ((end as f64 / 1e3).ln().abs() * normal / Z95).exp()
}

/// The table in Markdown: percent of truths within the interval, of all requests and of those that took under a second.
pub(crate) fn table(loads: &[(&str, Load)]) -> String {
    let mut table = "| load | interval | A | B | C | D | E |\n|---|---|---|---|---|---|---|\n".to_owned();
    let percent = |part: Option<f64>| part.map_or("none".to_owned(), |part| format!("{:.1}", part * 100.0));
    for (name, load) in loads {
        for (how, interval) in
            [("node's", Interval::Node), ("by duration", Interval::ByDuration), ("by profile", Interval::ByProfile)]
        {
            let cell = |tier| {
                let part = |only_short| percent(load.coverage(tier, interval, only_short));
                format!("{} ({})", part(false), part(true))
            };
            let _ = writeln!(table, "| {name} | {how} | {} |", TIERS.map(cell).join(" | "));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_within_their_tiers_interval_nine_times_out_of_ten() {
        let mut random = Random::seeded(3);
        for tier in TIERS {
            let (low, high) = tier.interval_milli();
            let draws: Vec<f64> = (0..40_000).map(|_| gain(tier, &mut random) * 1e3).collect();
            let part = |is: &dyn Fn(f64) -> bool| draws.iter().filter(|draw| is(**draw)).count() as f64 / 40_000.0;
            let (below, above) = (part(&|draw| draw < low as f64), part(&|draw| draw > high as f64));
            assert!((below - 0.05).abs() < 0.005 && (above - 0.05).abs() < 0.005, "{tier:?}: {below} {above}");
        }
    }

    #[test]
    fn intervals_of_requests_hold_the_truth_nine_times_out_of_ten() {
        let loads = LOADS.map(|(name, setting, together)| (name, Load::play(setting, together)));
        println!("{}", table(&loads));
        let mean = |tier, interval, only_short| {
            let parts: Vec<f64> =
                loads.iter().filter_map(|(_, load)| load.coverage(tier, interval, only_short)).collect();
            parts.iter().sum::<f64>() / parts.len() as f64
        };
        for (tier, only_short) in TIERS.into_iter().flat_map(|tier| [(tier, false), (tier, true)]) {
            let part = mean(tier, Interval::ByProfile, only_short);
            assert!((0.87..=0.93).contains(&part), "{tier:?}: {part}, under a second only: {only_short}");
        }
        for (name, load) in &loads {
            for tier in TIERS {
                let part = load.coverage(tier, Interval::ByProfile, false).unwrap();
                assert!((0.85..=0.96).contains(&part), "{name}, {tier:?}: {part}");
            }
        }
        assert!(mean(Tier::A, Interval::Node, false) < 0.75, "a node's interval is too narrow for a request");
        let by_duration = loads.iter().filter_map(|(_, load)| load.coverage(Tier::A, Interval::ByDuration, false));
        let worst = by_duration.fold(1.0, f64::min);
        assert!(worst < 0.75, "how long a request took does not say how much the clock matters to it");
    }
}
