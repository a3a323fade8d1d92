//! libFuzzer over the target that `COMMONWATT_FUZZ` names.
#![no_main]
#![expect(clippy::expect_used, reason = "there is nothing to do without a target")]

use std::sync::LazyLock;

use fuzz::{Check, target};

static CHECK: LazyLock<Check> = LazyLock::new(|| {
    let name = std::env::var_os("COMMONWATT_FUZZ").unwrap_or_default();
    target(&name.to_string_lossy()).expect("COMMONWATT_FUZZ names a target of tests/fuzz/src/lib.rs")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (*CHECK)(bytes));
