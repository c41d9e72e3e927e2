//! Fuzzes `Accept` and `Accept-Encoding`. The checks are those of the edge's own tests.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| portway_fuzz::strangers::accept(text));
