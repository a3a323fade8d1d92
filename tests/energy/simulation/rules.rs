//! Ways to divide what a counter has moved over the requests, ours among others that are in use.

use std::collections::BTreeMap;

use super::counter::{Piece, Window};
use super::scenario::{IDLE_WATTS, Kind, PROMPT_TOKEN_JOULES, SEQUENCE_JOULES, STEP_JOULES, Scenario};

/// How it is divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// To each all that the counter moved from its arrival to its end.
    StartStop,
    /// Equally to all who ran in a window.
    Equal,
    /// By tokens of the answer.
    OutputTokens,
    /// By tokens, those of the prompt among them.
    AllTokens,
    /// By what a model of a step predicts, and nothing has corrected the model.
    Prior(Coefficients),
    /// By the same model, fitted to the first half of the windows.
    Calibrated,
}

/// What a step is predicted to cost: something that it costs anyway, and something for each member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Coefficients {
    /// Joules of a step.
    pub(crate) step: f64,
    /// Joules of one sequence in a decode step.
    pub(crate) sequence: f64,
    /// Joules of a token of a prompt.
    pub(crate) prompt_token: f64,
    /// Watts while nothing is computed.
    pub(crate) idle: f64,
}

impl Coefficients {
    /// The truth, off by so much.
    pub(crate) const fn scaled(step: f64, sequence: f64, prompt_token: f64, idle: f64) -> Self {
        Self {
            step: STEP_JOULES * step,
            sequence: SEQUENCE_JOULES * sequence,
            prompt_token: PROMPT_TOKEN_JOULES * prompt_token,
            idle: IDLE_WATTS * idle,
        }
    }

    /// Least squares over the first half of the windows, the first few of which are left out.
    pub(crate) fn fitted(scenario: &Scenario) -> Self {
        let (mut normal, mut right) = ([[0.0; 4]; 4], [0.0; 4]);
        for window in &scenario.windows[5..scenario.windows.len() / 2] {
            let features = features(scenario, window);
            for (row, left) in features.iter().enumerate() {
                for (column, other) in features.iter().enumerate() {
                    normal[row][column] += left * other;
                }
                right[row] += left * window.joules;
            }
        }
        (0..4).for_each(|at| normal[at][at] += 1e-6);
        let [step, sequence, prompt_token, idle] = solve(normal, right).map(|coefficient| coefficient.max(0.0));
        Self { step, sequence, prompt_token, idle }
    }

    /// The part of a step's energy that is a member's: the exact Shapley value of what the model predicts.
    fn share(&self, piece: &Piece) -> f64 {
        let own = match piece.kind {
            Kind::Decode => self.sequence,
            Kind::Prefill => self.prompt_token * f64::from(piece.tokens),
        };
        piece.fraction * (self.step / piece.members as f64 + own)
    }
}

/// Steps, sequences decoded, tokens of prompts, seconds of idleness.
fn features(scenario: &Scenario, window: &Window) -> [f64; 4] {
    let mut features = [0.0, 0.0, 0.0, window.idle];
    for &(step, fraction) in &window.steps {
        let step = &scenario.steps[step];
        let tokens: u32 = step.members.iter().map(|member| member.tokens).sum();
        features[0] += fraction;
        features[if step.kind == Kind::Decode { 1 } else { 2 }] += fraction * f64::from(tokens);
    }
    features
}

/// Solves a system of linear equations by elimination with pivoting; 0 for what is not determined.
fn solve<const N: usize>(mut matrix: [[f64; N]; N], mut right: [f64; N]) -> [f64; N] {
    for column in 0..N {
        let magnitude = |row: &usize| matrix[*row][column].abs();
        let pivot = (column..N).max_by(|one, other| magnitude(one).total_cmp(&magnitude(other))).unwrap_or(column);
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        let (pivot_row, pivot_right) = (matrix[column], right[column]);
        for row in (0..N).filter(|row| *row != column && pivot_row[column] != 0.0) {
            let factor = matrix[row][column] / pivot_row[column];
            (0..N).for_each(|at| matrix[row][at] -= factor * pivot_row[at]);
            right[row] -= factor * pivot_right;
        }
    }
    std::array::from_fn(|at| if matrix[at][at] == 0.0 { 0.0 } else { right[at] / matrix[at][at] })
}

/// What a rule gives, in joules.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Given {
    /// To each request.
    pub(crate) requests: Vec<f64>,
    /// To nobody.
    pub(crate) idle: f64,
}

impl Rule {
    /// Divides all that the counter has moved.
    pub(crate) fn divide(self, scenario: &Scenario) -> Given {
        let decoded = |piece: &Piece| if piece.kind == Kind::Decode { piece.fraction } else { 0.0 };
        match self {
            Self::StartStop => start_stop(scenario),
            Self::Equal => proportional(scenario, 0.0, |_, weight| *weight = 1.0),
            Self::OutputTokens => proportional(scenario, 0.0, |piece, weight| *weight += decoded(piece)),
            Self::AllTokens => {
                let tokens = |piece: &Piece| piece.fraction * f64::from(piece.tokens);
                proportional(scenario, 0.0, |piece, weight| *weight += tokens(piece))
            }
            Self::Prior(model) => modelled(scenario, model),
            Self::Calibrated => modelled(scenario, Coefficients::fitted(scenario)),
        }
    }
}

fn modelled(scenario: &Scenario, model: Coefficients) -> Given {
    proportional(scenario, model.idle, |piece, weight| *weight += model.share(piece))
}

fn start_stop(scenario: &Scenario) -> Given {
    let mut totals = vec![0.0];
    totals.extend(scenario.windows.iter().scan(0.0, |total, window| {
        *total += window.joules;
        Some(*total)
    }));
    let last = totals.len() - 1;
    let at = |seconds: f64| (seconds / scenario.setting.refresh) as usize;
    let moved = |from: f64, to: f64| totals[(at(to) + 1).min(last)] - totals[at(from).min(last)];
    Given { requests: scenario.requests.iter().map(|one| moved(one.arrival, one.end)).collect(), idle: 0.0 }
}

/// Divides each window by weights, to which every piece of it adds.
fn proportional(scenario: &Scenario, idle_watts: f64, weigh: impl Fn(&Piece, &mut f64)) -> Given {
    let mut given = Given { requests: vec![0.0; scenario.requests.len()], idle: 0.0 };
    for window in &scenario.windows {
        let mut weights = BTreeMap::new();
        window.pieces(&scenario.steps).for_each(|piece| weigh(&piece, weights.entry(piece.request).or_insert(0.0)));
        let idle = idle_watts * window.idle;
        let total = weights.values().sum::<f64>() + idle;
        if total <= 0.0 {
            given.idle += window.joules;
            continue;
        }
        for (request, weight) in weights {
            given.requests[request] += window.joules * weight / total;
        }
        given.idle += window.joules * idle / total;
    }
    given
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Setting;
    use super::*;

    #[test]
    fn equations_are_solved() {
        let solved = solve([[0.0, 2.0, 1.0], [1.0, -1.0, 0.0], [3.0, 0.0, 2.0]], [7.0, -1.0, 9.0]);
        assert!(solved.iter().zip([1.0, 2.0, 3.0]).all(|(ours, right)| (ours - right).abs() < 1e-12), "{solved:?}");
        assert_eq!(solve([[2.0, 0.0], [0.0, 0.0]], [4.0, 0.0]), [2.0, 0.0], "the second is not determined");
    }

    #[test]
    fn a_fit_finds_the_truth_where_the_cost_is_affine() {
        let exactly_affine = Setting { exponent: 1.0, lag: 0.0, ..Setting::of(4, 1.0) };
        let fitted = Coefficients::fitted(&Scenario::play(exactly_affine));
        assert!((fitted.step / STEP_JOULES - 1.0).abs() < 0.02, "{fitted:?}");
        assert!((fitted.prompt_token / PROMPT_TOKEN_JOULES - 1.0).abs() < 0.05, "{fitted:?}");
        assert!((fitted.idle / IDLE_WATTS - 1.0).abs() < 0.01, "{fitted:?}");
    }

    #[test]
    fn whoever_runs_alone_gets_all_but_the_idle_part_by_every_rule_that_shares() {
        let alone = Setting { seconds: 30.0, lag: 0.0, ..Setting::of(11, 0.05) };
        let mut scenario = Scenario::play(alone);
        scenario.requests.truncate(1);
        scenario.steps.retain(|step| step.members[0].request == 0);
        assert!(scenario.steps.iter().all(|step| step.members.len() == 1));
        let busy: Vec<Window> = scenario.windows.drain(..).filter(|window| window.idle == 0.0).collect();
        scenario.windows = busy;
        scenario.windows.iter_mut().for_each(|window| window.steps.retain(|(step, _)| *step < scenario.steps.len()));
        let truth = Coefficients::scaled(1.0, 1.0, 1.0, 1.0);
        for rule in [Rule::Equal, Rule::AllTokens, Rule::Prior(truth)] {
            let given = rule.divide(&scenario);
            assert!((given.requests[0] + given.idle - scenario.measured()).abs() < 1e-6, "{rule:?}");
        }
    }
}
