//! End-to-end stories, one file each. Run them with `make test`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says what it skips")]
#![expect(clippy::disallowed_methods, reason = "what a test asks the database is asked nowhere else")]

mod bad_input;
mod chat;
mod endings;
mod engine;
mod keys;
mod lifecycle;
mod nodes;
mod processor;
mod sdk;
mod sessions;
mod spec;
