//! How answers of each model usually turn out, learned from those that this replica has seen: for estimates, and for
//! holding energy before it is spent.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use openapi::units::{Microjoules, Microseconds};

/// An answer counts for a sixteenth of the average.
const WEIGHT: i64 = 16;
/// Until the first answer a token is taken for this much: half a joule, an ordinary processor's.
const UNKNOWN_MICROJOULES: u64 = 500_000;

/// Averages of one model's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typical {
    pub completion_tokens: u64,
    pub microjoules_per_token: Microjoules,
    pub duration: Microseconds,
}

/// All models'.
#[derive(Default)]
pub struct Typicals(RwLock<HashMap<String, Typical>>);

impl Typicals {
    /// Learns from a completed answer.
    pub(super) fn learn(&self, model: &str, tokens: u64, microjoules: Microjoules, duration: Microseconds) {
        if tokens == 0 {
            return;
        }
        let new = Typical {
            completion_tokens: tokens,
            microjoules_per_token: Microjoules::new(microjoules.get() / tokens),
            duration,
        };
        let mut models = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match models.get_mut(model) {
            Some(known) => known.learn(&new),
            None => drop(models.insert(model.to_owned(), new)),
        }
    }

    /// What is known of a model.
    pub fn of(&self, model: &str) -> Option<Typical> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(model).copied()
    }

    /// Energy that a token of the model may take: twice the usual, since it is held before it is known.
    pub(super) fn microjoules_per_token(&self, model: &str) -> u64 {
        self.of(model).map_or(UNKNOWN_MICROJOULES, |typical| typical.microjoules_per_token.get().saturating_mul(2))
    }
}

impl Typical {
    fn learn(&mut self, new: &Self) {
        self.completion_tokens = towards(self.completion_tokens, new.completion_tokens);
        self.microjoules_per_token =
            Microjoules::new(towards(self.microjoules_per_token.get(), new.microjoules_per_token.get()));
        self.duration = Microseconds::new(towards(self.duration.get(), new.duration.get()));
    }
}

/// Rounds away from the old value, so that a steady one is reached.
fn towards(old: u64, new: u64) -> u64 {
    let difference = i64::try_from(new).unwrap_or(i64::MAX).saturating_sub(i64::try_from(old).unwrap_or(i64::MAX));
    let step = difference / WEIGHT + (difference % WEIGHT).signum();
    old.saturating_add_signed(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_model_is_known_exactly_and_one_outlier_changes_little() {
        let typicals = Typicals::default();
        assert_eq!(typicals.microjoules_per_token("m"), UNKNOWN_MICROJOULES);
        typicals.learn("m", 10, Microjoules::new(1_000), Microseconds::new(5));
        for _ in 0..200 {
            typicals.learn("m", 100, Microjoules::new(30_000), Microseconds::new(700));
        }
        let known = typicals.of("m").unwrap();
        assert_eq!((known.completion_tokens, known.microjoules_per_token.get(), known.duration.get()), (100, 300, 700));
        typicals.learn("m", 1600, Microjoules::ZERO, Microseconds::new(700));
        assert_eq!(typicals.of("m").unwrap().completion_tokens, 194);
        typicals.learn("m", 0, Microjoules::new(9), Microseconds::new(9));
        assert_eq!(typicals.of("m").unwrap().completion_tokens, 194, "an empty answer says nothing");
    }
}
