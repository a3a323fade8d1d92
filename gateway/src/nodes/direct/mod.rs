//! Hosts that somebody else has named: which of them the gateway dials, and how. Nodes that can be dialled say so
//! themselves ([`advertise`]), and prove each time that they are who they say.

pub mod address;

pub mod advertise;

pub(crate) mod dial;

mod door;

pub(super) mod follow;

mod tls;

pub mod url;

#[cfg(test)]
mod tests;
