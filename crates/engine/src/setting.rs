//! Every setting that a site can have, by what an engine has to do for it.

/// What a setting bears on when an engine cannot carry it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bearing {
    /// Without it, someone could do what they should not.
    Security,
    /// Without it, the site would be another one.
    Essential,
    /// Without it, the site works less well.
    Preference,
}

macro_rules! settings {
    ($($variant:ident $bearing:ident $field:literal $doc:literal)*) => {
        /// A setting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Setting {
            $(#[doc = $doc] $variant,)*
        }

        impl Setting {
            /// Every setting, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns the setting as site files have it.
            pub const fn field(self) -> &'static str {
                match self { $(Self::$variant => $field,)* }
            }

            /// Returns what it is, in a sentence.
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }

            /// Tells what it bears on.
            pub const fn bearing(self) -> Bearing {
                match self { $(Self::$variant => Bearing::$bearing,)* }
            }
        }
    };
}

settings! {
    HostExact Essential "hosts" "One name."
    HostWildcard Essential "hosts: *.name" "Exactly one label in front of a name."
    HostIp Essential "hosts: address" "An address of the node, as clients without a name use it."
    HostAny Essential "hosts: *" "Every host that no other site has."
    Certificate Security "https" "HTTPS with a certificate of the site's own."
    HttpsRedirect Security "https.redirect" "Plain HTTP is sent on to HTTPS: 301, or 308 for other methods than GET and HEAD."
    TlsMinVersion Security "https.min_version" "The oldest TLS version."
    Http2 Preference "https.http2" "Whether HTTP/2 is offered to clients."
    AccessLog Preference "log" "Whether requests are logged."
    LogJson Preference "log.format: json" "Log lines as JSON."
    LogCombined Preference "log.format: combined" "Log lines in the combined form."
    LogRotation Preference "log.max_size, max_age, keep" "Log files are put aside by size and age, and so many are kept."
    HeaderBytes Security "limits.header_bytes" "The largest header section."
    HeaderCount Security "limits.headers" "The most header fields."
    TargetBytes Security "limits.target_bytes" "The longest path with its query."
    HeaderTime Security "limits.header_time" "The time in which a header section must be there."
    BodyRate Security "limits.body_rate" "The least bytes of a body in a second, on average."
    BodyGrace Security "limits.body_grace" "The time in which a body may be slower."
    WriteStall Security "limits.write_stall" "How long a client may take nothing of its answer."
    Http2Streams Security "limits.http2_streams" "The most concurrent streams of an HTTP/2 connection."
    EncodedSlash Preference "paths.encoded_slash: allow" "`%2F` in a path is passed on as it is."
    Backslash Preference "paths.backslash: allow" "`\\` and `%5C` in a path are passed on."
    Nul Preference "paths.nul: allow" "`%00` in a path is passed on."
    DoubleEncoding Preference "paths.double_encoding: allow" "`%252F` and the like are passed on."
    Blocked Security "block" "Every request is answered 403 with the reason."
    Maintenance Essential "maintenance" "Every request is answered 503 with a message while the site is worked on."
    MaintenanceAllow Essential "maintenance.allow" "Networks for which the site works all the same."
    NetworkGuard Security "bounds of the owner" "The networks in which upstreams may lie, judged on the address that is dialled."
    PathPrefix Essential "routes.path" "A prefix of whole segments."
    PathExact Essential "routes.exact" "The whole path."
    PathRegex Essential "routes.regex" "An expression found in the path."
    MatchMethods Essential "routes.methods" "Only these methods."
    MatchHeaders Essential "routes.match_headers" "Only requests with these header values."
    MatchQuery Essential "routes.match_query" "Only requests with these query parameters."
    AllowNetworks Security "access.allow" "The only networks that may."
    DenyNetworks Security "access.deny" "Networks that may not."
    BasicAuth Security "access.basic" "Name and password, asked for after the address was judged."
    RateLimit Security "rate_limit" "So many requests in a time, of each client unless `by` says otherwise; more are answered 429."
    ConnectionLimit Security "connection_limit" "So many requests at the same time; more are answered 429."
    LimitByHeader Security "rate_limit.by, connection_limit.by: header" "Requests with the same value of a header are counted together, and all without it."
    LimitBySite Security "rate_limit.by, connection_limit.by: site" "All requests are counted together."
    LimitExempt Essential "rate_limit.exempt, connection_limit.exempt" "Networks whose requests are not counted."
    LimitDryRun Preference "rate_limit.dry_run, connection_limit.dry_run" "What would be too much is only logged."
    LimitHeaders Preference "rate_limit.headers" "Answers tell in `RateLimit` and `RateLimit-Policy` how much is left."
    MaxBody Security "max_body" "The largest request body; more is answered 413."
    StripPrefix Essential "strip_prefix" "The matched prefix is taken away before the upstream sees the path."
    RequestHeadersRemove Security "headers.request.remove" "Headers of the request that the upstream does not get."
    RequestHeadersSet Essential "headers.request.set" "Headers of the request with exactly one value."
    RequestHeadersAdd Essential "headers.request.add" "Headers of the request beside those that are there."
    ResponseHeadersRemove Security "headers.response.remove" "Headers of the answer that the client does not get."
    ResponseHeadersSet Security "headers.response.set" "Headers of the answer with exactly one value."
    ResponseHeadersAdd Essential "headers.response.add" "Headers of the answer beside those that are there."
    Compress Preference "compress" "Answers are compressed with gzip, Brotli or Zstandard."
    Mirror Preference "mirror" "Copies of requests to a further upstream, which delay and fail nothing."
    MirrorPercent Preference "mirror.percent" "The share of requests that are copied."
    MirrorMaxBody Preference "mirror.max_body" "Requests with larger bodies are not copied."
    Cache Preference "cache" "Answers of upstreams are kept and given again."
    Proxy Essential "to" "An upstream answers."
    Split Essential "split" "Requests are divided between upstreams by weight."
    SplitRules Essential "split.sides.by" "A header or cookie leads to a side."
    SplitSticky Preference "split.sticky" "A client stays on its side."
    Files Essential "files" "Files of the node answer."
    FilesIndex Essential "files.index" "File names that stand for their folder."
    CacheControl Preference "files.cache_control" "The `Cache-Control` of files."
    Spa Essential "files.spa" "The index of the root answers for paths without a file."
    Listing Essential "files.listing" "Folders without an index are listed."
    Precompressed Preference "files.precompressed" "A compressed form beside a file is sent in its place."
    Redirect Essential "redirect" "The client is sent on."
    RedirectKeepPath Essential "redirect.keep_path" "The path and query of the request are appended."
    Respond Essential "respond" "A fixed answer."
    TargetTcp Essential "to" "A target at an address or name with a port."
    TargetUnix Essential "to: unix:…" "A target behind a unix socket."
    TargetNames Preference "to: name" "Names of targets are looked up again as they change."
    TargetWeight Essential "to.targets.weight" "Targets get requests by weight."
    TargetBackup Essential "to.targets.backup" "A target that is used only while no other can be."
    UpstreamHttp2 Essential "to.protocol: http2" "HTTP/2 to the upstream, as gRPC needs it."
    UpstreamTls Security "to: https://…" "TLS to the upstream."
    UpstreamTlsUnverified Preference "to.tls.verify: false" "The upstream's certificate is not verified."
    UpstreamTlsCa Security "to.tls.ca" "Authorities trusted instead of the machine's."
    UpstreamTlsName Security "to.tls.server_name" "The name asked for and verified."
    UpstreamClientCertificate Essential "to.tls.client_certificate" "What Portway shows to the upstream."
    HostPreserve Essential "to.host: preserve" "The upstream sees the client's Host header."
    HostTarget Essential "to.host: target" "The upstream sees its own name as Host header."
    HostSet Essential "to.host" "The upstream sees this Host header."
    TimeoutConnect Preference "to.timeouts.connect" "Until the connection stands, TLS included."
    TimeoutFirstByte Preference "to.timeouts.first_byte" "Until the first byte of the answer."
    TimeoutSilence Preference "to.timeouts.silence" "Between two reads of the answer."
    TimeoutSend Preference "to.timeouts.send" "Between two writes of the request."
    BalanceRoundRobin Preference "to.balance: round_robin" "Targets in turn, by weight."
    BalanceLeastRequests Preference "to.balance: least_requests" "The target with the fewest requests in flight."
    BalanceTwoChoices Preference "to.balance: two_choices" "The less busy of two that are drawn."
    BalanceHashClient Preference "to.balance: hash client" "The same target for the same client address."
    BalanceHashHeader Preference "to.balance: hash header" "The same target for the same value of a header."
    BalanceHashCookie Preference "to.balance: hash cookie" "The same target for the same value of a cookie."
    Sticky Preference "to.sticky" "A signed cookie keeps a client with its target."
    HealthHttp Preference "to.health.path" "Targets are asked by a request whether they are well."
    HealthTcp Preference "to.health: tcp, tls" "Targets are asked by a connection whether they are well."
    Ejection Preference "to.eject" "Failures of requests take a target out for a while."
    EjectionStatuses Preference "to.eject.statuses" "Statuses that count as failures."
    SlowStart Preference "to.slow_start" "A target that came back gets its share little by little."
    Retries Preference "to.retries.attempts" "A request is tried again with another target where that is safe."
    RetryBudget Preference "to.retries.budget" "Retries are at most a share of the requests of late."
    MaxInFlight Preference "to.max_in_flight" "The most requests in flight at once over all targets."
    MaxInFlightPerTarget Preference "to.max_in_flight_per_target" "The most requests in flight at once with each target."
    Queue Preference "to.queue" "Requests wait when as many are in flight as may be."
    Buffer Preference "to.buffer" "Bodies up to this size are read before a target is taken."
    PoolIdle Preference "to.pool.max_idle, idle_timeout" "Idle connections to targets are kept."
    PoolMaxConnections Preference "to.pool.max_connections" "The most connections to a target at once."
    PoolMaxRequests Preference "to.pool.max_requests" "The most requests over one connection."
    ProxyProtocol Essential "to.proxy_protocol" "The PROXY protocol tells the target who the client is."
    ForwardedHeaders Security "X-Forwarded-*" "The upstream is told who asks; what strangers claim of it is dropped."
    WebSocket Essential "Upgrade" "WebSocket works without a setting."
}
