//! What the energy figures are worth: attribution against a simulated truth, intervals against how often they are right,
//! the gateway's checks against liars, routing against an oracle. The tables are printed; `COMMONWATT_ENERGY=full` makes
//! them larger.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the tables are for people, and a test fails by panicking"
)]

mod conservation;

mod honesty;

mod replay;

mod simulation;
