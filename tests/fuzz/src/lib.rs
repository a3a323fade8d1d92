//! What has to hold whatever bytes come from outside: one file for each reader of such bytes, whose `check` panics where it
//! doesn't hold. `tests/smoke.rs` runs them over the committed corpus and mutations of it, with every `make test`;
//! `main.rs` under libFuzzer (`make fuzz TARGET=sse`). The tickets that nodes read are checked in `tests/it/tickets.rs`, since
//! nothing here may depend on the node and its engine.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a check fails by panicking")]

pub mod admission;
pub mod duplicates;
pub mod enrolment;
pub mod figures;
pub mod frame;
pub mod greeting;
pub mod journal;
pub mod jws;
pub mod key_change;
pub mod mutation;
pub mod offer;
pub mod receipt;
pub mod replay;
pub mod report;
pub mod request;
pub mod sse;
pub mod trace;
pub mod url;
pub mod windows;

/// Fails by panicking when something does not hold for these bytes.
pub type Check = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const TARGETS: [(&str, Check); 15] = [
    ("admission", admission::check),
    ("enrolment", enrolment::check),
    ("figures", figures::check),
    ("frame", frame::check),
    ("greeting", greeting::check),
    ("journal", journal::check),
    ("key_change", key_change::check),
    ("offer", offer::check),
    ("receipt", receipt::check),
    ("report", report::check),
    ("request", request::check),
    ("sse", sse::check),
    ("trace", trace::check),
    ("url", url::check),
    ("windows", windows::check),
];

/// The target of this name.
pub fn target(name: &str) -> Option<Check> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, check)| *check)
}
