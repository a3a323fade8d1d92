//! The harness of the end-to-end stories: real databases, real gateways, real nodes with a real model, and scripted nodes
//! that misbehave on purpose. Everything started here ends with the test.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a harness fails its test by panicking")]

mod database;

mod gateway;

mod node;

mod process;

mod scripted;

mod wait;

pub use database::Database;
pub use gateway::Gateway;
pub use node::{MODEL, Node};
pub use scripted::{Behaviour, ScriptedNode};
pub use wait::eventually;

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
