//! What a careful engineer would choose where the operator chose nothing. Shown in the reference.

use super::upstream::{StatusRange, UpstreamProtocol};
use crate::{ByteSize, Seconds};

/// The largest request body.
pub const MAX_BODY: ByteSize = ByteSize(100_000_000);
/// Each of an upstream's timeouts.
pub const TIMEOUT: Seconds = Seconds(60);
/// The name of a site's log.
pub const LOG_NAME: &str = "main";
/// The size at which a log file is put aside.
pub const LOG_MAX_SIZE: ByteSize = ByteSize(100_000_000);
/// The age at which a log file is put aside.
pub const LOG_MAX_AGE: Seconds = Seconds(86_400);
/// How many log files that were put aside are kept.
pub const LOG_KEEP: u32 = 14;
/// The file that stands for its folder.
pub const INDEX: &str = "index.html";
/// Files may be kept by the client, but are asked for anew each time, so that an edit shows.
pub const CACHE_CONTROL: &str = "no-cache";
/// The status of a redirect.
pub const REDIRECT_STATUS: u16 = 302;
/// The status of a redirect in a list: what is listed has moved for good.
pub const MOVED_STATUS: u16 = 301;
/// What visitors read of a site that is being worked on.
pub const MAINTENANCE: &str = "This site is being worked on. Please come back later.";

/// The largest body that a cache keeps.
pub const CACHE_MAX_OBJECT: ByteSize = ByteSize(10_000_000);
/// How long requests wait for the answer that another one fetches already.
pub const CACHE_WAIT: Seconds = Seconds(5);

/// The cookie that keeps a client with its target.
pub const STICKY_COOKIE: &str = "portway_target";
/// The cookie that keeps a client on its side of a split.
pub const SIDE_COOKIE: &str = "portway_side";

/// How often a target is asked whether it is well.
pub const HEALTH_INTERVAL: Seconds = Seconds(5);
/// How long it may take to answer that.
pub const HEALTH_TIMEOUT: Seconds = Seconds(2);
/// Good answers after which a target is used again.
pub const HEALTH_RISE: u32 = 2;
/// Bad answers after which a target is not used: one lost packet is no reason.
pub const HEALTH_FALL: u32 = 3;
/// Statuses of a target that is well.
pub const HEALTHY: StatusRange = StatusRange::from_to(200, 399);

/// How long an answer may take by which a deployment is proven.
pub const PROBE_TIMEOUT: Seconds = Seconds(5);
/// How often it is asked for.
pub const PROBE_TRIES: u32 = 3;

/// Failures that take a target out.
pub const EJECT_FAILURES: u32 = 5;
/// The time within which they count.
pub const EJECT_WITHIN: Seconds = Seconds(30);
/// How long a target is out the first time.
pub const EJECT_FOR: Seconds = Seconds(30);

/// The most further attempts of a request, however many targets there are.
pub const RETRIES: u32 = 2;
/// Retries in percent of requests: what fails does not get twice the load.
pub const RETRY_BUDGET: u8 = 20;

/// How many requests wait where there is a maximum.
pub const QUEUE_LENGTH: u32 = 100;
/// How long they wait: about as long as people do.
pub const QUEUE_TIMEOUT: Seconds = Seconds(5);

/// Idle connections that are kept with each target.
pub const POOL_IDLE: u32 = 64;
/// How long they are kept: less than the 60 seconds after which many servers close them.
pub const POOL_IDLE_TIMEOUT: Seconds = Seconds(55);

/// The share of requests that is copied.
pub const MIRROR_PERCENT: u8 = 100;
/// Requests with larger bodies are not copied.
pub const MIRROR_MAX_BODY: ByteSize = ByteSize(1_000_000);

/// The largest header section: what large tokens and cookies need, and no more.
pub const HEADER_BYTES: ByteSize = ByteSize(64_000);
/// The most header fields.
pub const HEADERS: u32 = 128;
/// The longest request target.
pub const TARGET_BYTES: ByteSize = ByteSize(8_000);
/// The time in which a header section must be there.
pub const HEADER_TIME: Seconds = Seconds(10);
/// The least bytes of a body in a second: the slowest of mobile networks carries several times more.
pub const BODY_RATE: ByteSize = ByteSize(1_000);
/// The time in which a body may be slower.
pub const BODY_GRACE: Seconds = Seconds(10);
/// How long a client may take nothing of its answer.
pub const WRITE_STALL: Seconds = Seconds(60);
/// The most concurrent streams of an HTTP/2 connection.
pub const HTTP2_STREAMS: u32 = 128;

/// The length of the IPv6 networks that are one client: what a household or a machine is given.
pub const CLIENT_IPV6_PREFIX: u8 = 64;

/// Returns the size up to which bodies are read before a target is taken. Over HTTP/2 a slow client
/// holds a stream and no connection, and a gRPC stream has no end to wait for.
pub const fn buffer(protocol: UpstreamProtocol) -> ByteSize {
    match protocol {
        UpstreamProtocol::Http1 => ByteSize(1_000_000),
        UpstreamProtocol::H2c => ByteSize(0),
    }
}
