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
/// Requests of a limit: in its time, at once, or at the same time.
pub const LIMITED_REQUESTS: [u32; 2] = [1, 100_000];
/// The time of a limit.
pub const LIMIT_PERIOD: [Seconds; 2] = [Seconds(1), Seconds(86_400)];
/// The length of the IPv6 networks that are one client.
pub const CLIENT_IPV6_PREFIX: [u8; 2] = [32, 128];
/// How long browsers shall not try plain HTTP.
pub const HSTS_AGE: [Seconds; 2] = [Seconds(0), Seconds(2 * 366 * 86_400)];
/// When visitors may come again.
pub const RETRY_AFTER: [Seconds; 2] = [Seconds(1), Seconds(7 * 86_400)];
/// Streams of an HTTP/2 connection.
pub const HTTP2_STREAMS: [u32; 2] = [1, 1_000];
