//! What a node says when it dials in, as the gateway reads it.

use gateway::nodes::greeting;
use openapi::node::TUNNEL_AUDIENCE;

use crate::jws;

/// Reads a greeting.
pub fn check(bytes: &[u8]) {
    jws::check(bytes, |text| {
        let greeting = greeting::proven(text, jws::public_key())?;
        assert_eq!(greeting.aud, TUNNEL_AUDIENCE);
        Some(greeting)
    });
}
