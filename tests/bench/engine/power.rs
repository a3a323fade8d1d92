//! What a token takes in energy, on a machine that measures none.

use std::path::Path;

use provider::energy::estimate::{Machine, Overrides, Watts, estimate};
use serde::Serialize;

/// What the machine draws, as a node without sensors estimates it: tier E, right to within a factor of 2.5. A ratio of two
/// energies of one machine is better than either.
pub(super) struct Power {
    watts: Watts,
    threads: i64,
    /// Where the figures are from.
    pub(super) basis: String,
}

/// Of one token, of the answer or of the prompt. Times are in nanoseconds, energy is in microjoules.
#[derive(Serialize)]
pub(super) struct Cost {
    pub(super) time: i64,
    pub(super) processor: i64,
    pub(super) energy: i64,
}

impl Power {
    pub(super) fn estimated() -> Self {
        let machine = Machine::read(Path::new("/"));
        let found = estimate(&machine, &Overrides::default());
        Self { watts: found.watts, threads: i64::from(machine.threads.max(1)), basis: found.basis }
    }

    /// The machine at rest for that time, and what its threads draw beyond that for their work: the sum that a node makes,
    /// in `provider::energy::sensor::processor`, of all that the machine does.
    pub(super) fn cost(&self, time: i64, processor: i64) -> Cost {
        let [idle, busy] = [self.watts.idle_milliwatts, self.watts.busy_milliwatts].map(u64::cast_signed);
        // A milliwatt takes a microjoule in a million nanoseconds.
        let energy = (idle * time + (busy - idle) * processor / self.threads) / 1_000_000;
        Cost { time, processor, energy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_takes_what_the_machine_draws_at_rest_and_its_threads_beyond_that() {
        let watts = Watts { idle_milliwatts: 2_000, busy_milliwatts: 10_000 };
        let power = Power { watts, threads: 2, basis: String::new() };
        // 10 ms at 2 W, and 20 ms of one of two threads that draw 4 W more each.
        assert_eq!(power.cost(10_000_000, 20_000_000).energy, 20_000 + 80_000);
    }
}
