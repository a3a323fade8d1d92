//! The contract: every wire type that the gateway, the nodes and the outside share.
//!
//! No I/O happens here. The gateway and the provider both depend on this crate and never on each other; anyone
//! else may depend on it to speak to either. Reading order:
//!
//! - [`units`]: integers with names, for money, energy and time; [`apportion`] divides them exactly
//! - [`error`]: OpenAI's error body and the errors that both sides answer with
//! - [`fields`]: reading a JSON request field by field, with OpenAI's messages
//! - [`price`]: what a token costs, and how income is shared
//! - [`chat`], [`completion`], [`responses`], [`embedding`], [`model`], [`sampling`], [`usage`]: OpenAI's shapes
//!   [`schema`]: the JSON schemas of what they read
//! - [`energy`]: what an answer cost in joules, and how well that is known; [`grid`]: what a grid's electricity emits;
//!   [`hardware`]: what devices draw
//! - [`sse`], [`frame`]: the event stream between node and gateway; [`continuation`]: how another node goes on with it
//! - [`region`]: where a node is
//! - [`manifest`], [`node`], [`standing`]: what a node is, offers and promises, and what its gateway makes of it; [`blob`]: how
//!   model files travel between nodes; [`upstream`]: how any other server's answers become a node's
//! - [`receipt`]: what was served, signed by node and gateway; [`statement`]: what everybody earns by it;
//!   [`author`]: how models' authors claim theirs; [`log`]: the public
//!   transparency log, its witnesses and its proofs; [`verify`]: what anybody finds out from all of these

pub mod units;

pub mod apportion;

pub mod error;

pub mod fields;

pub mod sampling;

pub mod chat;

pub mod completion;

pub mod responses;

pub mod schema;

pub mod embedding;

pub mod model;

pub mod price;

pub mod usage;

pub mod energy;

pub mod grid;

pub mod hardware;

pub mod sse;

pub mod frame;

pub mod continuation;

pub mod region;

pub mod blob;

pub mod manifest;

pub mod node;

pub mod standing;

pub mod upstream;

pub mod trace;

pub mod receipt;

pub mod statement;

pub mod author;

pub mod netting;

pub mod log;

pub mod verify;
