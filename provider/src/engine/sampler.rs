//! Chooses the next token from the logits. Pure: the same logits, history, seed and position give the same token, on
//! this node or on the one that takes over.

use std::collections::HashMap;

use openapi::sampling::Sampling;

/// The sampling parameters of one answer, with the seed fixed.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    seed: i64,
}

/// How likely a token was, and those that could have stood in its place: natural logarithms of the probabilities that the
/// model gives at the request's temperature, biases and penalties included, before top-k, top-p and min-p cut any off.
#[derive(Clone, Debug, PartialEq)]
pub struct Chances {
    pub logprob: f32,
    /// The likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// For what can't be: minus infinity is no number in JSON. OpenAI's value.
const IMPOSSIBLE: f32 = -9999.0;

impl Sampler {
    pub(super) fn new(sampling: Sampling, seed: i64) -> Self {
        Self { sampling, seed }
    }

    /// Applies the biases, and the penalties for what an answer has `generated` so far.
    pub(super) fn adjust(&self, logits: &mut [f32], generated: &[u32]) {
        self.bias(logits);
        self.penalise(logits, generated);
    }

    /// The token for `position` (tokens before it, prompt included).
    pub(super) fn choose(&self, logits: &[f32], position: usize) -> u32 {
        if self.is_greedy() {
            return greedy(logits);
        }
        let candidates = self.candidates(logits);
        pick(&candidates, uniform(self.seed, position))
    }

    /// How likely a token was, and the `top` likeliest ones.
    pub(super) fn chances(&self, logits: &[f32], token: u32, top: usize) -> Chances {
        let temperature = if self.is_greedy() { 1.0 } else { self.sampling.temperature };
        let scaled = |logit: f32| f64::from(logit) / temperature;
        let known = || logits.iter().copied().filter(|logit| !logit.is_nan());
        let highest = known().map(scaled).fold(f64::NEG_INFINITY, f64::max);
        let mass: f64 = known().map(|logit| (scaled(logit) - highest).exp()).sum();
        let logprob = |logit: f32| {
            let logprob = (scaled(logit) - highest - mass.ln()) as f32;
            if logprob.is_finite() { logprob.max(IMPOSSIBLE) } else { IMPOSSIBLE }
        };
        let mut likeliest: Vec<(u32, f32)> =
            (0..).zip(logits.iter().copied()).filter(|(_, logit)| !logit.is_nan()).collect();
        let by_chance = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if top > 0 && top < likeliest.len() {
            likeliest.select_nth_unstable_by(top - 1, by_chance);
        }
        likeliest.truncate(top);
        likeliest.sort_unstable_by(by_chance);
        Chances {
            logprob: logits.get(token as usize).copied().map_or(IMPOSSIBLE, logprob),
            top: likeliest.into_iter().map(|(token, logit)| (token, logprob(logit))).collect(),
        }
    }

    fn is_greedy(&self) -> bool {
        self.sampling.temperature < 1e-6
    }

    fn bias(&self, logits: &mut [f32]) {
        for (token, bias) in &self.sampling.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
    }

    /// OpenAI's definition: logit − count × frequency penalty − (count > 0) × presence penalty, over the answer alone.
    fn penalise(&self, logits: &mut [f32], generated: &[u32]) {
        let (frequency, presence) = (self.sampling.frequency_penalty as f32, self.sampling.presence_penalty as f32);
        if frequency == 0.0 && presence == 0.0 {
            return;
        }
        let mut counts: HashMap<u32, f32> = HashMap::new();
        for token in generated {
            *counts.entry(*token).or_default() += 1.0;
        }
        for (token, count) in counts {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit -= count * frequency + presence;
            }
        }
    }

    /// Token ids with unnormalised probabilities, likeliest first, after top-k, min-p and top-p.
    fn candidates(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let highest = f64::from(logits.iter().copied().filter(|l| !l.is_nan()).fold(f32::NEG_INFINITY, f32::max));
        let mut candidates: Vec<(u32, f64)> = logits
            .iter()
            .zip(0u32..)
            .filter(|(logit, _)| !logit.is_nan())
            .map(|(logit, id)| (id, ((f64::from(*logit) - highest) / self.sampling.temperature).exp()))
            // The likeliest has weight 1: what lies below this can't be drawn and need not be sorted.
            .filter(|(_, weight)| *weight > 1e-12 && *weight >= self.sampling.min_p)
            .collect();
        candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if let Some(k) = self.sampling.top_k {
            candidates.truncate(k);
        }
        self.keep_nucleus(&mut candidates);
        candidates
    }

    /// Keeps the smallest head whose mass reaches top-p, at least one token.
    fn keep_nucleus(&self, candidates: &mut Vec<(u32, f64)>) {
        if self.sampling.top_p >= 1.0 {
            return;
        }
        let target = self.sampling.top_p * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut mass = 0.0;
        let kept = candidates.iter().take_while(|(_, weight)| {
            let wanted = mass < target;
            mass += weight;
            wanted
        });
        let kept = kept.count().max(1);
        candidates.truncate(kept);
    }
}

fn greedy(logits: &[f32]) -> u32 {
    let best = logits
        .iter()
        .zip(0u32..)
        .filter(|(logit, _)| !logit.is_nan())
        .max_by(|a, b| a.0.total_cmp(b.0).then(b.1.cmp(&a.1)));
    best.map_or(0, |(_, id)| id)
}

fn pick(candidates: &[(u32, f64)], uniform: f64) -> u32 {
    let total: f64 = candidates.iter().map(|(_, weight)| weight).sum();
    let mut left = uniform * total;
    for (token, weight) in candidates {
        left -= weight;
        if left < 0.0 {
            return *token;
        }
    }
    candidates.last().map_or(0, |(token, _)| *token)
}

/// A number in [0, 1) that depends on the seed and the position alone.
fn uniform(seed: i64, position: usize) -> f64 {
    let mut key = [0u8; 16];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..].copy_from_slice(&(position as u64).to_le_bytes());
    let hash = blake3::hash(&key);
    let mut head = [0u8; 8];
    head.copy_from_slice(&hash.as_bytes()[..8]);
    (u64::from_le_bytes(head) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use openapi::fields::Fields;
    use proptest::prelude::*;

    use super::*;

    fn sampler(parameters: &str, seed: i64) -> Sampler {
        Sampler::new(Sampling::read(&mut Fields::parse(parameters.as_bytes()).unwrap()).unwrap(), seed)
    }

    #[test]
    fn temperature_zero_is_greedy_and_nan_is_never_chosen() {
        let greedy = sampler(r#"{"temperature":0}"#, 7);
        assert_eq!(greedy.choose(&[0.1, f32::NAN, 3.0, 3.0], 5), 2);
    }

    #[test]
    fn bias_and_penalties_move_the_choice() {
        let choose = |parameters: &str, mut logits: Vec<f32>, generated: &[u32]| {
            let sampler = sampler(parameters, 7);
            sampler.adjust(&mut logits, generated);
            sampler.choose(&logits, 0)
        };
        assert_eq!(choose(r#"{"temperature":0,"logit_bias":{"0":100}}"#, vec![0.0, 50.0], &[]), 0);
        let penalised = r#"{"temperature":0,"frequency_penalty":1,"presence_penalty":0.5}"#;
        assert_eq!(choose(penalised, vec![1.0, 2.0], &[1]), 0, "2 - 1 - 0.5 < 1");
        assert_eq!(choose(penalised, vec![0.4, 2.0], &[1]), 1, "2 - 1 - 0.5 > 0.4");
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let sampler = sampler("{}", 3);
        let logits = vec![0.75f32.ln(), 0.25f32.ln()];
        let zeros = (0..4000).filter(|position| sampler.choose(&logits, *position) == 0).count();
        assert!((2880..3120).contains(&zeros), "{zeros} of 4000, expected 3000");
    }

    #[test]
    fn a_tiny_nucleus_keeps_the_likeliest() {
        let sampler = sampler(r#"{"top_p":0}"#, 3);
        assert!((0..100).all(|position| sampler.choose(&[1.0, 1.1, 0.9], position) == 1));
    }

    #[test]
    fn chances_are_those_of_the_temperature_and_of_the_model_itself_at_zero() {
        let logits = [0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln(), f32::NEG_INFINITY, f32::NAN];
        let near = |logprob: f32, chance: f64| (f64::from(logprob).exp() - chance).abs() < 1e-6;
        for parameters in ["{}", r#"{"temperature":0}"#, r#"{"top_p":0.1,"top_k":1}"#] {
            let chances = sampler(parameters, 7).chances(&logits, 1, 2);
            assert!(near(chances.logprob, 0.25) && chances.top.len() == 2, "{parameters}: {chances:?}");
            assert!(chances.top[0].0 == 0 && near(chances.top[0].1, 0.5) && chances.top[1].0 == 1, "{chances:?}");
        }
        // At half the temperature they are squared: 4, 1 and 1 of 6.
        assert!(near(sampler(r#"{"temperature":0.5}"#, 7).chances(&logits, 0, 0).logprob, 4.0 / 6.0));
        let impossible = sampler("{}", 7).chances(&logits, 3, 20);
        assert_eq!((impossible.logprob, impossible.top.len()), (IMPOSSIBLE, 4));
    }

    proptest! {
        #[test]
        fn the_choice_depends_on_seed_and_position_alone(logits in prop::collection::vec(-20f32..20.0, 1..200), seed: i64, position in 0usize..9000) {
            let sampler = sampler(r#"{"temperature":0.8,"top_p":0.9,"top_k":40}"#, seed);
            let token = sampler.choose(&logits, position);
            prop_assert!((token as usize) < logits.len());
            prop_assert_eq!(token, sampler.choose(&logits, position));
        }

        #[test]
        fn all_chances_together_are_certain(logits in prop::collection::vec(-20f32..20.0, 1..60)) {
            let chances = sampler(r#"{"temperature":1.3}"#, 1).chances(&logits, 0, logits.len());
            let sum: f64 = chances.top.iter().map(|(_, logprob)| f64::from(*logprob).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{}", sum);
            prop_assert!(chances.top.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        }
    }
}
