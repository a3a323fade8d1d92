//! How far what a rule gives is from the truth.

use super::rules::Given;
use super::scenario::Scenario;

/// Errors are relative to the truth; 0.01 is a percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quality {
    /// What all were given together, over or under what was measured.
    pub(crate) conservation: f64,
    /// The mean of the errors with their signs.
    pub(crate) bias: f64,
    pub(crate) all: Spread,
    /// Of requests that took less than a second; none where there were none.
    pub(crate) short: Option<Spread>,
    /// Of those that took longer.
    pub(crate) long: Option<Spread>,
}

/// The middle and the worse end of some errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) p95: f64,
}

impl Spread {
    /// None of nothing.
    fn of(errors: impl Iterator<Item = f64>) -> Option<Self> {
        let mut errors: Vec<f64> = errors.map(f64::abs).collect();
        errors.sort_by(f64::total_cmp);
        let at = |part: f64| errors.get((part * errors.len() as f64) as usize).copied();
        Some(Self { median: at(0.5)?, p95: at(0.95)? })
    }
}

impl Quality {
    /// Judges what was given to those who arrived in the second half, when every rule has learned what it can. None when
    /// nobody did.
    pub(crate) fn of(scenario: &Scenario, given: &Given) -> Option<Self> {
        let measured = scenario.measured();
        let total = given.requests.iter().sum::<f64>() + given.idle;
        let judged: Vec<(f64, f64)> = scenario
            .requests
            .iter()
            .zip(&given.requests)
            .filter(|(request, _)| request.arrival > scenario.setting.seconds * 0.5)
            .map(|(request, given)| ((given - request.truth) / request.truth, request.end - request.arrival))
            .collect();
        let errors =
            |which: fn(f64) -> bool| judged.iter().filter(move |(_, seconds)| which(*seconds)).map(|(error, _)| *error);
        Some(Self {
            conservation: (total - measured).abs() / measured,
            bias: errors(|_| true).sum::<f64>() / judged.len() as f64,
            all: Spread::of(errors(|_| true))?,
            short: Spread::of(errors(|seconds| seconds < 1.0)),
            long: Spread::of(errors(|seconds| seconds >= 1.0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Setting;
    use super::*;

    #[test]
    fn the_truth_has_no_error_and_twice_the_truth_has_one_of_a_hundred_percent() {
        let scenario = Scenario::play(Setting { lag: 0.0, ..Setting::of(7, 3.0) });
        let truth: Vec<f64> = scenario.requests.iter().map(|request| request.truth).collect();
        let idle = scenario.measured() - truth.iter().sum::<f64>();
        let right = Quality::of(&scenario, &Given { requests: truth.clone(), idle }).unwrap();
        assert!(right.conservation < 1e-12 && right.all.p95 == 0.0 && right.bias == 0.0, "{right:?}");
        let twice = truth.iter().map(|joules| joules * 2.0).collect();
        let wrong = Quality::of(&scenario, &Given { requests: twice, idle }).unwrap();
        assert!(wrong.conservation > 0.5 && wrong.bias == 1.0, "{wrong:?}");
        let one = Some(Spread { median: 1.0, p95: 1.0 });
        assert_eq!((Some(wrong.all), wrong.short, wrong.long), (one, one, one));
    }

    #[test]
    fn a_spread_is_of_errors_that_occur() {
        let spread = Spread::of([-4.0, 1.0, -2.0, 3.0].into_iter());
        assert_eq!(spread, Some(Spread { median: 3.0, p95: 4.0 }));
        assert_eq!(Spread::of(std::iter::empty()), None);
    }
}
