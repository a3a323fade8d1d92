//! Liars among honest nodes: how soon each kind of lie is found, and how seldom an honest node is not believed.
//!
//! Classes of 20 nodes do work that costs what ML.ENERGY has measured. Honest nodes differ by 15 % (lognormal), and claims
//! by another 10 % around their node.

mod claims;

mod federation;

mod reports;
