//! The harness of stories, faults and benchmark: real databases, real gateways, real nodes with a real model, scripted
//! nodes that misbehave on purpose, a mock node without a model for load, the load itself, and an auditor of the books.
//! Everything started here ends with the test.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a harness fails its test by panicking")]

mod balancer;

pub mod books;

mod collector;

mod customer;

mod database;

mod gateway;

pub mod load;

pub mod mock;

mod node;

mod postgres;

mod process;

mod processor;

mod scripted;

mod scripted_gateway;

pub mod tiny_embedder;

mod wait;

mod wire;

pub use balancer::Balancer;
pub use collector::{Collector, Told};
pub use customer::Customer;
pub use database::Database;
pub use gateway::Gateway;
pub use node::{MODEL, Node};
pub use postgres::Postgres;
pub use process::{Program, binary as program, free_port};
pub use processor::{ended_children_nanoseconds, family, give_way, pin, processor_nanoseconds, resident_bytes};
pub use scripted::{Behaviour, ScriptedNode};
pub use scripted_gateway::{Reply, ScriptedGateway, Tunnel};
pub use tiny_embedder::TinyEmbedder;
pub use wait::{early_in_a_minute, eventually};
pub use wire::Wire;

use serde_json::{Value, json};

/// A short conversation for any test.
pub fn conversation(more: Value) -> Value {
    let mut body = json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": "Tell me about the sea."}],
        "temperature": 0,
        "max_tokens": 8,
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}
