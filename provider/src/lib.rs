//! A Commonwatt node: serves one model or several, alone on its own machine or through a gateway.
//!
//! # Life of a request on a node
//!
//! A request comes in through one of two doors: the local listener, or a gateway's [`tunnel`], where every call needs a
//! [`ticket`]. Both lead to the same [`router`] and to [`answer`]: the body is read and validated, turned into tokens, and
//! takes a place in the queue of [`slots`]. With a slot in hand the [`engine`] computes token after token; each goes out
//! as a piece of the answer, beside it a usage frame with the energy that the [`energy`] ledger attributes to it. When
//! the client leaves, the answer is dropped, the engine stops at its next token, and the slot is free.
//!
//! Where the operator has a server of his own, that is the [`upstream`]: it gets the client's body in place of tokens, and
//! what it answers is translated piece by piece. Tickets, slots, limits and energy are the same for both.

pub mod config;

pub mod chosen;

pub mod gateway;

pub mod error;

pub mod body;

mod aside;

pub mod pull;

pub mod engine;

pub mod upstream;

pub mod slots;

pub mod limits;

mod seen;

pub mod energy;

pub mod metrics;

pub mod traces;

pub mod blobs;

pub mod node;

pub mod keeper;

pub mod memory;

pub mod measure;

pub mod key;

pub mod witness;

pub mod identity;

pub mod ticket;

pub mod chain;

pub mod receipts;

pub mod told;

pub mod answer;

pub mod calls;

pub mod router;

pub mod enrol;

pub mod tunnel;

pub mod direct;

pub mod standing;

pub mod connect;

pub mod rotate;

pub mod checkup;

pub mod doctor;

pub mod reader;

mod ready;

pub mod serve;
