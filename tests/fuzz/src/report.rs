//! A node's signed report on its energy, as the gateway reads it.

use gateway::nodes::statements;
use openapi::energy::report::EnergyReport;

use crate::jws;

/// Reads a statement with the key that counts, and the one before it.
pub fn check(bytes: &[u8]) {
    let keys = [vec![9; 32], jws::public_key().to_vec()];
    jws::check(bytes, |text| statements::read::<EnergyReport>(text, &keys).ok().map(|(report, _)| report));
}
