//! The ledger: who holds which credits, in double entry. The only module that writes the tables `events`, `postings`,
//! `balances` (by a trigger on the postings) and `splits`.
//!
//! An [`event::NewEvent`] is posted with lines that add up to zero, once for each idempotency key. What people do to it
//! is a [`movement::Movement`], which knows what may not happen; what requests do to it are settlements. Nothing is ever
//! changed: a mistake is put right by another event, and [`audit`] shows every night that it all adds up.

pub mod account;

pub mod audit;

pub mod earned;

pub mod event;

pub mod movement;

pub mod settle;

pub mod split;

pub mod statement;

#[cfg(test)]
pub(crate) mod tests;
