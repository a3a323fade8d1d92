//! Authors of models and whose account gets what they have earned. Until somebody claims it, it stays in the ledger's account of
//! the author's name.
//!
//! An author whose text in the manifest has a key ([`openapi::author`]) claims with a signature of it; for one without a key
//! an administrator says whose the earnings are.

pub mod command;

pub mod routes;

pub mod table;

#[cfg(test)]
mod tests;
