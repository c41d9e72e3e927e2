//! Fuzzes `Cache-Control`: two lines of it. The checks are those of the edge's own tests.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let [first, second] = portway_fuzz::lines(text);
    portway_fuzz::strangers::cache_control(first, second);
});
