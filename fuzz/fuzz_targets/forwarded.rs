//! Fuzzes `Forwarded`: any value is read or refused, and what is read can be written and is read as
//! the same.

#![no_main]
#![allow(dead_code, unreachable_pub, reason = "the edge uses more of it")]

#[path = "../../crates/edge/src/headers/forwarded.rs"]
mod forwarded;

use http::{HeaderMap, HeaderValue, header::FORWARDED};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let Some(hops) = forwarded::parse(&HeaderMap::from_iter([(FORWARDED, value)])) else { return };
    for hop in hops {
        let Some(address) = hop.asked_by else { continue };
        let text = forwarded::write(&address.to_string(), None, hop.https);
        let value = HeaderValue::from_str(&text).expect("what is written is a header");
        let again = forwarded::parse(&HeaderMap::from_iter([(FORWARDED, value)]));
        assert_eq!(again, Some(vec![hop]));
    }
});
