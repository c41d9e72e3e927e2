//! The most and least that can be set. What a node reads before it knows the site is bounded by the
//! greatest value that any site can have.

use crate::{ByteSize, Seconds};

/// Limits of a header section.
pub const HEADER_BYTES: [ByteSize; 2] = [ByteSize(1_000), ByteSize(250_000)];
/// The number of header fields.
pub const HEADERS: [u32; 2] = [16, 512];
/// The length of a request target.
pub const TARGET_BYTES: [ByteSize; 2] = [ByteSize(256), ByteSize(64_000)];
/// The time for a header section.
pub const HEADER_TIME: [Seconds; 2] = [Seconds(1), Seconds(60)];
/// The least bytes of a body in a second.
pub const BODY_RATE: [ByteSize; 2] = [ByteSize(0), ByteSize(1_000_000)];
/// The time in which a body may be slower.
pub const BODY_GRACE: [Seconds; 2] = [Seconds(1), Seconds(3_600)];
/// How long a client may take nothing of its answer.
pub const WRITE_STALL: [Seconds; 2] = [Seconds(1), Seconds(86_400)];
/// Streams of an HTTP/2 connection.
pub const HTTP2_STREAMS: [u32; 2] = [1, 1_000];
