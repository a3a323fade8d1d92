//! Whoever means harm: copied keys, tickets that come again, wrong clocks, floods, slowness without end, absurd prices. Each
//! is told what is wrong, and nobody else notices.

mod bodies;
mod clocks;
mod connections;
mod copies;
mod floods;
mod frames;
mod heads;
mod imposter;
mod prices;
mod tickets;
mod weights;
