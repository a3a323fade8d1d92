//! End-to-end stories, one file each. Run them with `make test`.

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
