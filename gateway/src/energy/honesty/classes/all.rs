//! All classes: measured figures apart from estimates.

use std::collections::HashMap;

use openapi::energy::Tier;

use super::super::bounds::{Machine, Model};
use super::super::costs::{Costs, Sample};
use super::{Class, Statistics};

/// Classes that are remembered, of measured figures and of estimates each.
const REMEMBERED: usize = 1_024;

/// The classes, those that were not seen for longest making room for others.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    measured: HashMap<Class, Known>,
    estimated: HashMap<Class, Known>,
    now: u64,
}

#[derive(Clone, Debug)]
struct Known {
    statistics: Statistics,
    seen: u64,
}

impl Classes {
    /// The class that claims of this tier are compared in; there always is one.
    pub fn of(
        &mut self,
        class: &Class,
        tier: Tier,
        known: (&Machine, &Model),
        sample: &Sample,
    ) -> Option<&mut Statistics> {
        self.now += 1;
        let classes = if tier == Tier::E { &mut self.estimated } else { &mut self.measured };
        if !classes.contains_key(class) {
            if classes.len() == REMEMBERED {
                let oldest = classes.iter().min_by_key(|(_, known)| known.seen).map(|(class, _)| class.clone());
                oldest.map(|oldest| classes.remove(&oldest));
            }
            let statistics = Statistics::new(Costs::guess(known.0, known.1, sample));
            classes.insert(class.clone(), Known { statistics, seen: 0 });
        }
        let known = classes.get_mut(class)?;
        known.seen = self.now;
        Some(&mut known.statistics)
    }

    /// Microjoules per answer token that nine nodes in ten stay below. Of estimates the upper end is taken, and only where
    /// too few nodes measure. None of a class that nobody knows.
    pub fn ninetieth_percentile(&self, class: &Class) -> Option<u64> {
        let measured = self.measured.get(class).map(|known| &known.statistics);
        let estimated = self.estimated.get(class).map(|known| &known.statistics);
        let figure = |statistics: &Statistics| statistics.ninetieth_percentile();
        let upper = |statistics: &Statistics| figure(statistics).saturating_mul(Tier::E.interval_milli().1) / 1_000;
        let ripe = |statistics: &&Statistics| statistics.is_ripe();
        measured
            .filter(ripe)
            .map(figure)
            .or(estimated.filter(ripe).map(upper))
            .or(measured.map(figure))
            .or(estimated.map(upper))
    }
}

#[cfg(test)]
mod tests {
    use openapi::energy::Boundary;
    use openapi::hardware::Precision;

    use super::super::super::bounds::Instructions;
    use super::*;

    fn class(number: usize) -> Class {
        Class {
            device: "processor".to_owned(),
            model: format!("model-{number}"),
            quantisation: "Q4_0".to_owned(),
            batch_bucket: 1,
            boundary: Boundary::Device,
        }
    }

    #[test]
    fn classes_have_a_bound_and_the_oldest_goes_first() {
        let machine =
            Machine { device: None, instructions: Instructions::Unknown, power_limit_milliwatts: 0, processors: 1 };
        let model = Model { parameters: 1_000_000, weight_bytes: 500_000, precision: Precision::Eight };
        let sample = Sample { amounts: [1.0, 1.0, 0.0], microjoules: 1e6 };
        let mut classes = Classes::default();
        for number in 0..REMEMBERED + 1 {
            classes.of(&class(0), Tier::E, (&machine, &model), &sample);
            classes.of(&class(number), Tier::E, (&machine, &model), &sample);
        }
        assert_eq!(classes.estimated.len(), REMEMBERED);
        assert_eq!(classes.ninetieth_percentile(&class(1)), None);
        // The guess from one claim, 2.6 times for being a guess, and 2.5 times for being an estimate.
        assert_eq!(classes.ninetieth_percentile(&class(0)), Some(7_312_500));
    }
}
