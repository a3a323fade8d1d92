//! The energy of each request, from the machine's counters to the figure that travels beside the answer.
//!
//! - [`sensor`] looks for what knows energy or power, [`guard`] says what can be believed of it, and [`estimate`] stands in
//!   where there is nothing
//! - [`steps`] makes out who was in which step of the engine
//! - [`attribute`] divides what a counter moved over the requests, idle time and other programs, to the microjoule
//! - [`pools`] chooses what is metered, [`pool`] does it for one counter, [`meter`] for all of them, on a thread of its own
//! - [`ledger`] is the requests' side of that thread, [`task`] what one of them has taken, [`interval`] how well that is known;
//!   [`wall`] holds them against a meter at the wall
//! - [`log`] signs and keeps what the gateway is told
//! - [`setup`] puts all that together for a machine
//! - [`grid`] is where the node stands, [`live_grid`] what its grid emits at this moment

pub mod attribute;

pub mod estimate;

pub mod grid;

pub mod guard;

pub mod interval;

pub mod ledger;

pub mod live_grid;

pub mod log;

mod meter;

pub mod pool;

pub mod pools;

pub mod sensor;

pub mod setup;

pub mod steps;

pub mod task;

pub mod wall;

pub use attribute::StepKind;
pub use ledger::{Ledger, Presence, Share};
pub use meter::Outlets;
pub use steps::Pass;
