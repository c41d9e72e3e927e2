//! Fuzzes conditions, entity tags and ranges: a line for each header. The checks are those of the edge's own
//! tests.

#![no_main]

use portway_fuzz::strangers;

libfuzzer_sys::fuzz_target!(|of: (u64, &str)| {
    let (length, text) = of;
    let lines = portway_fuzz::lines(text);
    strangers::conditions(lines);
    for line in lines {
        strangers::tag_list(line);
        strangers::range(line, length);
    }
});
