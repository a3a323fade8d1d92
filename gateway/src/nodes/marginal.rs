//! What one more request costs on a node, in energy and in carbon.
//!
//! A step of an engine costs a fixed part, which is there as soon as anybody is in it, and a part for each token. On
//! a node that decodes anyway another request therefore adds its own tokens and hardly a step; on an idle one it adds
//! every step that it runs. Measured steps of dense models fit this to a tenth or better (ML.ENERGY benchmark, v3.0:
//! batch sizes 8 to 724 on H100). An average over a node's past says little about either.

use std::time::Duration;

use openapi::energy::Tier;
use openapi::units::Microjoules;

/// What is known of a node's energy, for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// For a step, however many requests are in it.
    pub fixed_microjoules_per_step: Microjoules,
    /// For each token of an answer, on top.
    pub decode_microjoules_per_token: Microjoules,
    /// For each token of a prompt.
    pub prefill_microjoules_per_token: Microjoules,
    /// For bringing an idle node to work; nothing where a machine never sleeps.
    pub wake_microjoules: Microjoules,
    /// How these were obtained, and so how far off they may be.
    pub tier: Tier,
    /// Power usage effectiveness in thousandths.
    pub pue_milli: u32,
    /// The grid's intensity now. None when nobody has said where the node stands.
    pub mg_per_kwh: Option<u64>,
    /// False when the gateway does not believe this node's figures.
    pub believed: bool,
}

/// How busy a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Requests on it, those that wait for a slot among them.
    pub running: u32,
    pub slots: u32,
    /// From a request to the first byte of its answer, usually.
    pub typical_first_byte: Duration,
    /// A node that has not been honest counts for as many times busier, in millionths; 1,000,000 for an honest one.
    pub handicap_ppm: u32,
}

impl State {
    /// True when nothing runs on the node.
    pub const fn is_idle(&self) -> bool {
        self.running == 0
    }

    /// True when another request would have to wait.
    pub const fn is_full(&self) -> bool {
        self.running >= self.slots
    }

    /// Requests for every thousand slots.
    pub fn load(&self) -> u64 {
        u64::from(self.running) * 1_000 / u64::from(self.slots.max(1))
    }

    /// What counts for a choice among nodes that are otherwise as good: the load, and what the node's word is worth.
    pub fn burden(&self) -> u64 {
        // As if all its slots were taken once more: an honest node with a free slot then counts for less than twice an
        // idle one, so that a liar is no better for being idle.
        self.handicapped(self.load().saturating_add(ALL_SLOTS))
    }

    /// A figure of which less is better, made worse as far as the node has not been honest.
    pub fn handicapped(&self, figure: u64) -> u64 {
        let figure = u128::from(figure) * u128::from(self.handicap_ppm) / u128::from(HONEST);
        u64::try_from(figure).unwrap_or(u64::MAX)
    }
}

/// The load of a node whose slots are all taken.
const ALL_SLOTS: u64 = 1_000;
/// The handicap of an honest node.
pub const HONEST: u32 = 1_000_000;

/// The tokens that a request is expected to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Of the prompt, without those that the node still has computed.
    pub prompt: u64,
    pub completion: u64,
}

impl Work {
    /// All of them; at least one, to divide by.
    pub fn tokens(&self) -> u64 {
        self.prompt.saturating_add(self.completion).max(1)
    }
}

impl Profile {
    /// What the site draws more because of a request: none of the steps that are there anyway, all of them if the
    /// node is idle. At the upper end of the tier's interval, so that nobody wins by knowing less of himself.
    pub fn marginal(&self, work: Work, state: &State) -> Microjoules {
        self.upper(work, if state.is_idle() { work.completion } else { 0 }, state)
    }

    /// What will be attributed to a request if the node stays as busy as it is: its tokens, and its equal part of every
    /// step that it is in. At the upper end too; without a share of idle time.
    pub fn attributed(&self, work: Work, state: &State) -> Microjoules {
        self.upper(work, work.completion.div_ceil(u64::from(state.running) + 1), state)
    }

    fn upper(&self, work: Work, steps: u64, state: &State) -> Microjoules {
        let part = |count: u64, each: Microjoules| u128::from(count).saturating_mul(u128::from(each.get()));
        let machine = part(steps, self.fixed_microjoules_per_step)
            .saturating_add(part(work.completion, self.decode_microjoules_per_token))
            .saturating_add(part(work.prompt, self.prefill_microjoules_per_token));
        let wake = if state.is_idle() { self.wake_microjoules } else { Microjoules::ZERO };
        let site = machine.saturating_mul(u128::from(self.pue_milli)).saturating_add(part(1_000, wake));
        let (_, upper) = self.tier.interval_milli();
        Microjoules::new(saturated(site.saturating_mul(u128::from(upper)) / 1_000_000))
    }
}

/// Microjoules in a kilowatt-hour.
const MICROJOULES_PER_KWH: u128 = 3_600_000_000_000;

/// Carbon of so much energy, in micrograms of CO₂ equivalent for a million tokens, of which there were so many.
pub fn micrograms_per_million_tokens(energy: Microjoules, mg_per_kwh: u64, tokens: u64) -> u64 {
    let micrograms = u128::from(energy.get()).saturating_mul(u128::from(mg_per_kwh) * 1_000);
    saturated(micrograms.saturating_mul(1_000_000) / (MICROJOULES_PER_KWH * u128::from(tokens.max(1))))
}

fn saturated(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Llama-3.1-8B on an H100: fixed and per-token joules fitted to ML.ENERGY's published figures.
    pub(crate) const H100: Profile = Profile {
        fixed_microjoules_per_step: Microjoules::new(3_270_000),
        decode_microjoules_per_token: Microjoules::new(65_600),
        prefill_microjoules_per_token: Microjoules::new(30_000),
        wake_microjoules: Microjoules::ZERO,
        tier: Tier::A,
        pue_milli: 1_000,
        mg_per_kwh: Some(100_000),
        believed: true,
    };

    fn running(running: u32) -> State {
        State { running, slots: 64, typical_first_byte: Duration::ZERO, handicap_ppm: HONEST }
    }

    #[test]
    fn an_idle_node_pays_for_every_step_and_a_busy_one_for_the_tokens() {
        let work = Work { prompt: 0, completion: 100 };
        // 100 tokens, with and without 100 steps; tier A's upper end is 5 % above.
        assert_eq!(H100.marginal(work, &running(0)).get(), 350_238_000);
        assert_eq!(H100.marginal(work, &running(7)).get(), 6_888_000);
        assert_eq!(H100.attributed(work, &running(0)), H100.marginal(work, &running(0)));
        // An eighth of the steps, rounded up to 13.
        assert_eq!(H100.attributed(work, &running(7)).get(), (13 * 3_270_000 + 6_560_000) * 105 / 100);
    }

    #[test]
    fn the_site_s_overhead_counts_once_and_waking_is_outside_of_it() {
        let profile = Profile { wake_microjoules: Microjoules::new(1_000), pue_milli: 1_500, tier: Tier::D, ..H100 };
        let work = Work { prompt: 10, completion: 0 };
        assert_eq!(profile.marginal(work, &running(0)).get(), (300_000 * 3 / 2 + 1_000) * 14 / 10);
        assert_eq!(profile.marginal(work, &running(1)).get(), 300_000 * 3 / 2 * 14 / 10);
    }

    #[test]
    fn carbon_is_energy_times_intensity() {
        // 3.6 J is a millionth of a kilowatt-hour: 0.1 mg at 100 g/kWh, for one token; 100 g for a million.
        assert_eq!(micrograms_per_million_tokens(Microjoules::new(3_600_000), 100_000, 1), 100_000_000);
        assert_eq!(micrograms_per_million_tokens(Microjoules::new(3_600_000), 100_000, 10), 10_000_000);
        assert_eq!(micrograms_per_million_tokens(Microjoules::new(u64::MAX), u64::MAX, 0), u64::MAX);
    }

    proptest! {
        #[test]
        fn a_worse_tier_never_costs_less(count in 0_u64..1 << 40, busy in 0_u32..4, one in 0_usize..6,
            other in 0_usize..6) {
            let (better, worse) = (one.min(other), one.max(other));
            let work = Work { prompt: count, completion: count };
            let of = |at: usize| Profile { tier: Tier::ALL[at], ..H100 }.marginal(work, &running(busy));
            prop_assert!(of(better) <= of(worse));
        }

        #[test]
        fn nothing_overflows_and_company_never_costs_more(each in any::<u64>(), prompt in any::<u64>(),
            completion in any::<u64>(), company in 0_u32..u32::MAX, pue_milli in any::<u32>()) {
            let each = Microjoules::new(each);
            let profile = Profile {
                fixed_microjoules_per_step: each,
                decode_microjoules_per_token: each,
                prefill_microjoules_per_token: each,
                wake_microjoules: each,
                tier: Tier::E,
                pue_milli,
                ..H100
            };
            let work = Work { prompt, completion };
            let (less, more) = (running(company), running(company + 1));
            prop_assert!(profile.marginal(work, &more) <= profile.marginal(work, &less));
            prop_assert!(profile.attributed(work, &more) <= profile.attributed(work, &less));
            prop_assert!(profile.marginal(work, &less) <= profile.attributed(work, &less));
        }
    }
}
