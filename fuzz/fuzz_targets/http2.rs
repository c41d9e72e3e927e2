//! Fuzzes what watches HTTP/2 connections: any bytes are taken, and how they are split changes
//! nothing.

#![no_main]
#![allow(dead_code, unreachable_pub, reason = "the edge uses more of it")]

#[path = "../../crates/edge/src/http2/calm.rs"]
mod calm;
#[path = "../../crates/edge/src/http2/frames.rs"]
mod frames;

use std::time::Instant;

use calm::Calm;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let now = Instant::now();
    let (mut whole, mut split) = (Calm::new(now), Calm::new(now));
    let of_whole = whole.received(bytes, || now).and(whole.sent(bytes, || now));
    for byte in bytes.chunks(1) {
        split.received(byte, || now).ok();
    }
    for byte in bytes.chunks(1) {
        split.sent(byte, || now).ok();
    }
    assert_eq!(of_whole, split.received(&[], || now));
    assert_eq!(whole.head_under_way(), split.head_under_way());
    assert_eq!(whole.is_between_frames(), split.is_between_frames());
});
