//! Fuzzes the reading of heads and bodies of responses. The checks are those of the codec's own tests.

#![no_main]

#[path = "../../crates/http1/tests/codec/checks.rs"]
mod checks;
#[path = "../../crates/http1/tests/codec/outcome.rs"]
mod outcome;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::response(bytes));
