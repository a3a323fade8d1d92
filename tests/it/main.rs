//! End-to-end stories, one file each. Run them with `make test`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says what it skips")]
#![expect(clippy::disallowed_methods, reason = "what a test asks the database is asked nowhere else")]

mod acme;
mod administrators;
mod aliases;
mod attached;
mod audit_log;
mod bad_input;
mod chat;
mod console;
mod continuing;
mod embeddings;
mod endings;
mod energy;
mod engine;
mod epochs;
mod hedging;
mod hostile;
mod keys;
mod leases;
mod lifecycle;
mod limits;
mod live;
mod metrics;
mod models;
mod money;
mod nodes;
mod operators;
mod paid;
mod partners;
mod processor;
mod receipts;
mod refusals;
mod responses;
mod samples;
mod sdk;
mod seeds;
mod sessions;
mod spec;
mod stops;
mod surface;
mod tickets;
mod tls;
mod traces;
