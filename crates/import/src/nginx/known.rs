//! Directives that need no conversion of their own, and what is said of them. What stands neither here
//! nor in code is unknown, and closes what it stands in.

use crate::report::{Id, Ledger};

/// What is said of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Portway does it by itself, or has no need of it.
    Converted(&'static str),
    /// Portway does it in another way.
    Approximated(&'static str),
    /// It is not done; nobody gets more by that.
    Lost(&'static str),
    /// It keeps somebody out or holds somebody back.
    Protects(&'static str),
    /// It limits requests; see [`crate::Options::without_limits`].
    Limits(&'static str),
}

use Known::{Approximated, Converted, Limits, Lost, Protects};

const PROCESS: &str = "it is about nginx's own process";
const TUNING: &str = "Portway chooses this itself";
const LOGS: &str = "Portway keeps logs of each site itself";
const CERTIFICATES: &str =
    "Portway issues and renews certificates itself; a certificate from a file cannot be given yet";
const CACHE: &str = "there is no cache";
const COMPRESSION: &str =
    "answers are compressed with gzip, Brotli or Zstandard by Portway's own rules";
const SCRIPTS: &str = "what scripts decide cannot be known";
const RATE: &str = "limits of requests are not converted; write `rate_limit` or `connection_limit`";

/// Directives by name.
const TABLE: &[(&[&str], Known)] = &[
    (
        &[
            "user",
            "worker_processes",
            "worker_rlimit_nofile",
            "worker_connections",
            "pid",
            "events",
            "multi_accept",
            "use",
            "load_module",
            "worker_cpu_affinity",
            "worker_priority",
            "daemon",
            "master_process",
            "pcre_jit",
            "worker_shutdown_timeout",
            "accept_mutex",
            "env",
            "lock_file",
            "thread_pool",
            "timer_resolution",
            "worker_aio_requests",
            "worker_rlimit_core",
            "ssl_engine",
            "working_directory",
            "debug_points",
            "quic_bpf",
        ],
        Converted(PROCESS),
    ),
    (
        &[
            "sendfile",
            "sendfile_max_chunk",
            "tcp_nopush",
            "tcp_nodelay",
            "types_hash_max_size",
            "types_hash_bucket_size",
            "server_names_hash_bucket_size",
            "server_names_hash_max_size",
            "keepalive_timeout",
            "keepalive_requests",
            "variables_hash_max_size",
            "variables_hash_bucket_size",
            "map_hash_max_size",
            "map_hash_bucket_size",
            "output_buffers",
            "proxy_headers_hash_max_size",
            "proxy_headers_hash_bucket_size",
            "aio",
            "aio_write",
            "directio",
            "open_file_cache",
            "open_file_cache_valid",
            "open_file_cache_min_uses",
            "open_file_cache_errors",
            "reset_timedout_connection",
            "client_body_buffer_size",
            "client_body_temp_path",
            "client_header_buffer_size",
            "connection_pool_size",
            "request_pool_size",
            "postpone_output",
            "read_ahead",
            "lingering_close",
            "lingering_time",
            "lingering_timeout",
            "msie_padding",
            "proxy_buffers",
            "proxy_buffer_size",
            "proxy_busy_buffers_size",
            "proxy_temp_path",
            "proxy_temp_file_write_size",
            "proxy_max_temp_file_size",
            "proxy_socket_keepalive",
            "http2_max_requests",
            "http2_recv_timeout",
            "http2_chunk_size",
            "http2_body_preread_size",
            "http2_max_concurrent_streams",
            "client_body_in_file_only",
            "client_body_in_single_buffer",
            "chunked_transfer_encoding",
            "keepalive_disable",
            "etag",
            "if_modified_since",
            "log_subrequest",
            "proxy_buffering",
            "proxy_http_version",
            "max_ranges",
        ],
        Converted(TUNING),
    ),
    (
        &[
            "ssl_certificate",
            "ssl_certificate_key",
            "ssl_trusted_certificate",
            "ssl_stapling",
            "ssl_stapling_verify",
            "ssl_stapling_file",
            "ssl_password_file",
        ],
        Approximated(CERTIFICATES),
    ),
    (
        &[
            "ssl_ciphers",
            "ssl_prefer_server_ciphers",
            "ssl_session_cache",
            "ssl_session_timeout",
            "ssl_session_tickets",
            "ssl_session_ticket_key",
            "ssl_dhparam",
            "ssl_ecdh_curve",
            "ssl_buffer_size",
            "ssl_early_data",
            "ssl_conf_command",
        ],
        Approximated("Portway chooses ciphers, curves and sessions itself; TLS is 1.2 or later"),
    ),
    (
        &[
            "error_log",
            "log_format",
            "log_not_found",
            "open_log_file_cache",
            "access_log",
            "rewrite_log",
        ],
        Approximated(LOGS),
    ),
    (
        &[
            "gzip_vary",
            "gzip_proxied",
            "gzip_comp_level",
            "gzip_buffers",
            "gzip_http_version",
            "gzip_types",
            "gzip_min_length",
            "gzip_disable",
            "gzip_static",
            "gunzip",
            "brotli",
            "brotli_static",
            "brotli_comp_level",
            "brotli_types",
            "brotli_min_length",
            "zstd",
            "zstd_comp_level",
            "zstd_types",
            "zstd_static",
            "zstd_min_length",
            "brotli_buffers",
            "brotli_window",
        ],
        Approximated(COMPRESSION),
    ),
    (
        &[
            "server_tokens",
            "port_in_redirect",
            "server_name_in_redirect",
            "absolute_redirect",
            "more_clear_headers",
            "proxy_pass_header",
        ],
        Approximated(
            "Portway's answers do not name it, and redirects lead to the host that was asked",
        ),
    ),
    (&["http2"], Converted("HTTP/2 is offered unless said otherwise")),
    (
        &["http3", "http3_hq", "quic_retry", "quic_gso", "http3_stream_buffer_size"],
        Lost("there is no HTTP/3"),
    ),
    (
        &[
            "types",
            "default_type",
            "charset",
            "charset_types",
            "override_charset",
            "source_charset",
            "charset_map",
        ],
        Approximated("types of files come from Portway's own list"),
    ),
    (
        &["resolver", "resolver_timeout"],
        Converted(
            "names are looked up by the machine's name servers, and again when their time is over",
        ),
    ),
    (
        &[
            "proxy_cache",
            "proxy_cache_path",
            "proxy_cache_valid",
            "proxy_cache_key",
            "proxy_cache_bypass",
            "proxy_no_cache",
            "proxy_cache_use_stale",
            "proxy_cache_lock",
            "proxy_cache_lock_timeout",
            "proxy_cache_lock_age",
            "proxy_cache_min_uses",
            "proxy_cache_methods",
            "proxy_cache_revalidate",
            "proxy_cache_background_update",
            "proxy_cache_max_range_offset",
            "proxy_cache_purge",
            "proxy_store",
            "proxy_store_access",
            "proxy_cache_convert_head",
            "proxy_force_ranges",
            "fastcgi_cache_path",
            "fastcgi_cache_key",
            "slice",
        ],
        Lost(CACHE),
    ),
    (
        &[
            "error_page",
            "recursive_error_pages",
            "proxy_intercept_errors",
            "fastcgi_intercept_errors",
            "msie_refresh",
        ],
        Lost("pages of errors cannot be chosen; the status stays"),
    ),
    (
        &[
            "proxy_redirect",
            "proxy_cookie_path",
            "proxy_cookie_domain",
            "proxy_cookie_flags",
            "sub_filter",
            "sub_filter_once",
            "sub_filter_types",
            "sub_filter_last_modified",
            "add_before_body",
            "add_after_body",
            "addition_types",
            "ssi",
            "ssi_types",
            "add_trailer",
        ],
        Lost("answers of applications are passed on as they are"),
    ),
    (
        &["proxy_set_body", "proxy_method", "proxy_bind", "proxy_pass_request_body"],
        Lost("requests are passed on as they are"),
    ),
    (
        &[
            "fastcgi_param",
            "fastcgi_index",
            "fastcgi_split_path_info",
            "fastcgi_buffers",
            "fastcgi_buffer_size",
            "fastcgi_busy_buffers_size",
            "fastcgi_read_timeout",
            "fastcgi_send_timeout",
            "fastcgi_connect_timeout",
            "fastcgi_hide_header",
            "fastcgi_pass_header",
            "fastcgi_request_buffering",
            "fastcgi_buffering",
            "fastcgi_temp_file_write_size",
            "fastcgi_max_temp_file_size",
            "fastcgi_keep_conn",
            "fastcgi_ignore_client_abort",
            "fastcgi_ignore_headers",
            "fastcgi_cache",
            "fastcgi_cache_valid",
            "fastcgi_cache_bypass",
            "fastcgi_no_cache",
            "fastcgi_cache_use_stale",
            "fastcgi_cache_lock",
            "fastcgi_cache_min_uses",
            "fastcgi_cache_methods",
            "fastcgi_cache_background_update",
            "fastcgi_next_upstream",
            "fastcgi_catch_stderr",
            "fastcgi_temp_path",
            "uwsgi_param",
            "uwsgi_modifier1",
            "uwsgi_modifier2",
            "uwsgi_read_timeout",
            "uwsgi_send_timeout",
            "uwsgi_connect_timeout",
            "uwsgi_temp_path",
            "uwsgi_buffers",
            "uwsgi_buffer_size",
            "scgi_param",
            "scgi_temp_path",
            "scgi_read_timeout",
            "grpc_set_header",
            "grpc_read_timeout",
            "grpc_send_timeout",
            "grpc_connect_timeout",
            "grpc_buffer_size",
        ],
        Lost("it is about an application that is not spoken to in HTTP"),
    ),
    (
        &["limit_rate", "limit_rate_after", "proxy_limit_rate"],
        Lost("answers cannot be slowed down"),
    ),
    (
        &[
            "limit_req_log_level",
            "limit_conn_log_level",
            "limit_req_status",
            "limit_conn_status",
            "limit_req_zone",
            "limit_conn_zone",
        ],
        Lost(RATE),
    ),
    (&["limit_req", "limit_conn", "limit_req_dry_run", "limit_conn_dry_run"], Limits(RATE)),
    (
        &["mirror", "mirror_request_body"],
        Lost("copies of requests need `mirror` in the site, with a target of its own"),
    ),
    (
        &[
            "underscores_in_headers",
            "ignore_invalid_headers",
            "merge_slashes",
            "large_client_header_buffers",
            "client_header_timeout",
            "client_body_timeout",
            "send_timeout",
            "disable_symlinks",
        ],
        Approximated(
            "Portway has limits of its own for requests; see `limits` and `paths` of a site",
        ),
    ),
    (&["satisfy"], Converted("")),
    (
        &["set_real_ip_from", "real_ip_header", "real_ip_recursive"],
        Lost(
            "who may tell the client's address is said of the node: `--trusted-proxy`, or `trusted_proxies` of a node",
        ),
    ),
    (
        &[
            "userid",
            "userid_name",
            "userid_domain",
            "userid_path",
            "userid_expires",
            "userid_p3p",
            "image_filter_buffer",
            "flv",
            "mp4",
            "empty_gif",
            "perl_modules",
            "xslt_types",
        ],
        Lost("there is nothing like it"),
    ),
    (
        &["autoindex_exact_size", "autoindex_format", "autoindex_localtime"],
        Approximated("listings have a form of their own"),
    ),
    (
        &["proxy_next_upstream", "proxy_next_upstream_timeout", "proxy_next_upstream_tries"],
        Approximated("requests are tried again where that is safe"),
    ),
    (
        &[
            "proxy_ssl_session_reuse",
            "proxy_ssl_protocols",
            "proxy_ssl_ciphers",
            "proxy_ssl_verify_depth",
            "proxy_ssl_conf_command",
        ],
        Approximated("Portway chooses how TLS is spoken with applications"),
    ),
    (
        &[
            "proxy_ssl_certificate",
            "proxy_ssl_certificate_key",
            "proxy_ssl_password_file",
            "proxy_ssl_crl",
        ],
        Lost("a client certificate is given in `to: {tls: …}`; its key is not read here"),
    ),
    (
        &["proxy_ignore_headers", "proxy_ignore_client_abort", "proxy_headers_hash"],
        Lost("applications' answers are taken as they are"),
    ),
    (
        &[
            "auth_request_set",
            "auth_delay",
            "auth_basic_user_file",
            "ssl_client_certificate",
            "ssl_crl",
            "ssl_verify_depth",
            "secure_link_secret",
            "ssl_ocsp",
            "ssl_ocsp_responder",
            "ssl_ocsp_cache",
        ],
        Lost("it belongs to a protection, which is told where that stands"),
    ),
    (
        &[
            "auth_request",
            "auth_jwt",
            "secure_link",
            "secure_link_md5",
            "valid_referers",
            "ssl_reject_handshake",
            "dav_methods",
            "dav_access",
            "create_full_put_path",
        ],
        Protects("it decides who may do what, and cannot be carried out here"),
    ),
    (
        &[
            "access_by_lua_block",
            "access_by_lua_file",
            "access_by_lua",
            "content_by_lua_block",
            "content_by_lua_file",
            "rewrite_by_lua_block",
            "rewrite_by_lua_file",
            "js_content",
            "js_access",
            "perl",
            "set_by_lua_block",
            "header_filter_by_lua_block",
            "body_filter_by_lua_block",
            "log_by_lua_block",
        ],
        Protects(SCRIPTS),
    ),
    (
        &[
            "modsecurity",
            "modsecurity_rules",
            "modsecurity_rules_file",
            "SecRulesEnabled",
            "LearningMode",
            "CheckRule",
            "naxsi",
        ],
        Protects("requests are not looked into for attacks"),
    ),
];

/// Returns what is known of a directive.
pub(super) fn of(name: &str) -> Option<Known> {
    TABLE.iter().find(|(names, _)| names.contains(&name)).map(|(_, known)| *known)
}

impl Known {
    /// Whether something of it is kept, in Portway's own way.
    pub(super) fn is_approximated(self) -> bool {
        matches!(self, Approximated(_))
    }

    /// Says it, and tells whether it closes what the directive stands in.
    pub(super) fn tell(self, id: Id, without_limits: bool, ledger: &mut Ledger) -> bool {
        match self {
            Converted("") => ledger.converted(id),
            Converted(note) => ledger.converted_by(id, note),
            Approximated(note) => ledger.approximated(id, note),
            Lost(note) => ledger.not_converted(id, note),
            Limits(note) if without_limits => ledger.not_converted(id, note),
            Protects(note) | Limits(note) => {
                ledger.closes(id, format!("{note}; nobody is let in"));
                return true;
            }
        }
        false
    }
}
