//! Fuzzes `Connection`, `TE` and `Upgrade`. The checks are those of the edge's own tests.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portway_fuzz::strangers::connection(bytes));
