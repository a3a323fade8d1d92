//! What a node says that it has used for an answer: whatever it is, it fits the record that goes to the database, which
//! takes no number beyond a `BIGINT`, and no text with a NUL in it.

use gateway::inference::record::AttemptEnergy;
use openapi::energy::EnergyTerms;
use openapi::frame::UsageFrame;
use serde_json::{Value, json};

/// Reads a usage frame.
pub fn check(bytes: &[u8]) {
    let Ok(frame) = serde_json::from_slice::<UsageFrame>(bytes) else { return };
    let again: UsageFrame = serde_json::from_slice(&serde_json::to_vec(&frame).unwrap()).unwrap();
    assert_eq!(again, frame);
    let frame = frame.held();
    assert_eq!(frame.clone().held(), frame);
    let energy = AttemptEnergy::new(&frame.energy, &EnergyTerms { idle_ppm: u64::MAX, ..EnergyTerms::default() }, true);
    assert!(energy.low_microjoules <= energy.high_microjoules);
    fits(&json!([frame.prompt_tokens + frame.completion_tokens, energy]));
}

fn fits(value: &Value) {
    match value {
        Value::Number(number) => assert!(number.as_i64().is_some(), "{number}"),
        Value::String(text) => assert!(text.len() < 1_000 && !text.contains('\0'), "{text:?}"),
        Value::Array(items) => items.iter().for_each(fits),
        Value::Object(members) => members.values().for_each(fits),
        Value::Null | Value::Bool(_) => {}
    }
}
