//! The energy of each request, from the machine's counter to the figure that travels beside the answer.
//!
//! What the counter shows between two moments is split equally over the requests that ran meanwhile, or booked as idle
//! when none did. Nothing is lost by rounding: requests + idle = counter, to the microjoule.

mod counter;

mod split;

pub use counter::ProcessorTime;

use std::sync::{Arc, Mutex, PoisonError};

use openapi::energy::{Boundary, Energy, Tier};
use openapi::units::Microjoules;

use split::Split;

/// Name and version of the way these figures are made.
pub const METHOD: &str = "cpu-time-equal-share/1";

/// Without a sensor the figure may be off by this factor in either direction: published curves of power over
/// utilisation, and of rated over real power, disagree by as much.
const UNCERTAINTY: (u64, u64) = (5, 2);

/// Splits the machine's energy over the requests on it.
#[derive(Clone)]
pub struct Ledger {
    counter: ProcessorTime,
    split: Arc<Mutex<Split>>,
}

impl Ledger {
    /// A ledger over a counter that starts now.
    pub fn new(counter: ProcessorTime) -> Self {
        let split = Split::starting_at(counter.read());
        Self { counter, split: Arc::new(Mutex::new(split)) }
    }

    /// A request begins to be computed.
    pub fn join(&self) -> Share {
        let id = self.with_split(Split::join);
        Share { ledger: self.clone(), id }
    }

    fn with_split<T>(&self, act: impl FnOnce(&mut Split) -> T) -> T {
        let reading = self.counter.read();
        let mut split = self.split.lock().unwrap_or_else(PoisonError::into_inner);
        split.advance(reading);
        act(&mut split)
    }
}

/// One request's share. It grows until it is ended or dropped.
pub struct Share {
    ledger: Ledger,
    id: u64,
}

impl Share {
    /// What the request has cost so far.
    pub fn energy(&self) -> Energy {
        let microjoules = self.ledger.with_split(|split| split.share(self.id));
        let (factor, divisor) = UNCERTAINTY;
        Energy {
            microjoules,
            low_microjoules: Microjoules::new(microjoules.get() * divisor / factor),
            high_microjoules: Microjoules::new(microjoules.get() * factor / divisor),
            tier: Tier::E,
            boundary: Boundary::Device,
            method: METHOD.to_owned(),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.ledger.with_split(|split| split.leave(self.id));
    }
}
