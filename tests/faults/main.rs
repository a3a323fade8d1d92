//! Faults: whatever dies, fills up or goes away, and however much happens at once, no token is lost, nothing is billed twice
//! and no credit is overdrawn. One story a file, each of which says in one line what it saw. They are small here;
//! `make faults` runs them at full size.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says what it saw")]
#![expect(
    clippy::disallowed_methods,
    reason = "what a test asks the database or its environment is asked nowhere else"
)]

mod credit;
mod database_away;
mod database_killed;
mod database_read_only;
mod database_slow;
mod disk_full;
mod gateway_killed;
mod idempotency;
mod leaving;
mod limits;
mod log_killed;
mod node_killed;
mod rolling;
mod stage;
mod stopped;
mod torn_journal;
