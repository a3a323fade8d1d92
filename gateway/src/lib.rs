//! The Commonwatt gateway: OpenAI's API in front of independently operated nodes.
//!
//! # Life of a request
//!
//! [`router`] shows every route. A request on `/v1` carries a key; the [`auth::Caller`] extractor looks it up, so a
//! handler that takes a `Caller` has one. [`inference::serve`] tells the rest in one screen: the body is read as far as
//! the gateway needs it, `admit` opens a meter, [`nodes`] picks a node and leases it, the request goes out
//! through the node's tunnel with a signed ticket, and the answer is relayed byte for byte while the meter reads the
//! usage frames beside it. Whatever happens then (the end, a client that leaves, a node that dies, a revoked key), the
//! meter is dropped, and its `Drop` hands one record to [`inference::record`], which writes it to Postgres.
//!
//! That `Drop` is the only one with an effect beyond memory.

pub mod config;

pub mod error;

pub mod body;

pub mod secrets;

pub mod app;

pub mod router;

pub mod auth;

pub mod inference;

pub mod nodes;

pub mod v1;

pub mod api;

pub mod admin;

pub mod serve;

pub mod up;

/// The database's shape; applied at every start.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");
