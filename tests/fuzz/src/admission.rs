//! What the journal keeps of a request that was let in, and what is made of it after a crash.

use gateway::inference::record::{OpenRequest, Outcome, RequestRecord};
use serde_json::Value;

/// Reads an admission as a gateway does that starts after a crash.
pub fn check(bytes: &[u8]) {
    let Ok(request) = serde_json::from_slice::<OpenRequest>(bytes) else { return };
    let written = request.to_bytes();
    let again: OpenRequest = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(again.to_bytes(), written);
    let settled = RequestRecord::without_answer(request, Outcome::GatewayFailed, 500).to_bytes();
    let mut settled: Value = serde_json::from_slice(&settled).expect("what was written can be read");
    let admitted: Value = serde_json::from_slice(&written).expect("what was written can be read");
    for (member, value) in admitted.as_object().unwrap() {
        assert_eq!(settled[member].take(), *value, "{member}");
    }
    assert_eq!(settled["nanocredits"], 0, "it is free");
}
