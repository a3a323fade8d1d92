//! `traceparent`: what is read is what is written.

use openapi::trace::TraceContext;

/// Reads a header.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(context) = text.parse::<TraceContext>() else { return };
    assert!(context.trace != 0 && context.span != 0);
    let written = context.to_string();
    assert_eq!(written.parse(), Ok(context));
    // Version and other flags may differ.
    assert_eq!(written[2..53], text[2..53]);
    assert!(text.len() == written.len() || (text.as_bytes()[55] == b'-' && !text.starts_with("00")));
}
