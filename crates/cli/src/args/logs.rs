//! Options of `logs`.

use clap::Args;

/// Options of `logs`.
#[derive(Debug, Args)]
#[command(
    override_usage = "portway logs [OPTIONS] <SITE>\n       portway logs [OPTIONS] --node <NODE> --engine"
)]
pub(crate) struct Logs {
    /// Name or id of the site
    #[arg(required_unless_present_any = ["site_option", "engine"], value_name = "SITE")]
    pub(crate) site: Option<String>,
    /// The same
    #[arg(
        long = "site",
        id = "site_option",
        value_name = "SITE",
        conflicts_with = "site",
        hide = true
    )]
    pub(crate) site_option: Option<String>,
    /// Of this node alone
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// The log of the node's engine itself, for administrators
    #[arg(
        long,
        requires = "node",
        conflicts_with_all = ["site", "site_option", "log", "errors", "status", "request_id", "since", "until"]
    )]
    pub(crate) engine: bool,
    /// At most this many lines, the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) lines: u32,
    /// Stay and show lines as they are written
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Not before: `1h`, `30m`, `2026-01-31`, or a time like `2026-01-31T12:00Z` (UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Not after; written like --since
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub(crate) until: Option<String>,
    /// The log's name, as the route names it; all without it
    #[arg(long, visible_alias = "route", value_name = "NAME")]
    pub(crate) log: Option<String>,
    /// Errors instead of requests
    #[arg(long)]
    pub(crate) errors: bool,
    /// A status (`404`) or a class (`5xx`)
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<String>,
    /// One request, by the id that its answer and error page show
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
}

impl Logs {
    /// Returns the site.
    pub(crate) fn site(&self) -> &str {
        self.site.as_deref().or(self.site_option.as_deref()).unwrap_or_default()
    }
}
