//! The Commonwatt gateway: OpenAI's API in front of independently operated nodes.
//!
//! # Life of a request
//!
//! [`router`] shows every route. A request on `/v1` carries a key; the [`auth::Caller`] extractor looks it up, so a
//! handler that takes a `Caller` has one. [`idempotency::serve`] sees to it that a request which bears an
//! `Idempotency-Key` is computed once. [`inference::serve`] tells the rest in one screen: the body is read as far as
//! the gateway needs it; `admit` holds what the request can cost and use at most ([`admission`]), notes it in the
//! [`journal`] and opens a meter; [`nodes`] picks a node and leases it, at the price that was in force then
//! ([`prices`]); the request goes out through the node's tunnel, or through the replica that has it ([`replicas`]),
//! with a signed ticket; and the answer is relayed byte for byte while the meter reads the usage frames beside it.
//!
//! Whatever happens then (the end, a client that leaves, a node that dies, a revoked key), the meter settles, at the
//! latest when it is dropped: the hold gives back what was not used, and one record goes into the journal. From there
//! [`inference::ship`] brings it to Postgres exactly once, and the [`ledger`] books what it cost. What a dead gateway
//! left in its journal is settled when it starts again ([`accounting`]).

pub mod config;

pub mod error;

pub mod body;

mod files;

mod give_way;

mod names;

pub mod secrets;

pub mod database;

pub mod app;

pub mod router;

pub mod tls;

pub mod auth;

pub mod audit_log;

pub mod limits;

pub mod routing;

pub mod changes;

pub mod idempotency;

pub mod admission;

pub mod prices;

pub mod aliases;

pub mod energy;

pub mod inference;

pub mod journal;

pub mod ledger;

pub mod log;

pub mod accounting;

pub mod receipts;

pub mod epochs;

pub mod authors;

pub mod partners;

pub mod payouts;

pub mod nodes;

pub mod replicas;

pub mod v1;

pub mod responses;

pub mod organization;

pub mod api;

pub mod console;

pub mod admin;

pub mod metrics;

pub mod live;
pub mod traces;

pub mod retention;

pub mod serve;

mod listener;

mod places;

mod protocols;

mod socket;

mod statuses;

pub mod up;

pub mod verify;

pub mod monitor;

/// The database's shape; applied at every start.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");
