//! Options of `explain`.

use std::net::{IpAddr, Ipv4Addr};

use clap::Args;

/// Options of `explain`.
#[derive(Debug, Args)]
#[command(
    override_usage = "portway explain [OPTIONS] <ID>\n       portway explain [OPTIONS] [METHOD] <URL>"
)]
#[command(after_help = "\
Examples:
  portway explain 0190c2c4d1f27c3e8a5b6d7e8f901234
  portway explain --from 10.4.1.9 GET https://app.example.org/api
  portway explain --node web-1 https://app.example.org/api
  portway explain --header 'X-Canary: 1' POST https://app.example.org/api")]
pub(crate) struct Explain {
    /// The id of a request, as the header X-Request-Id of the answer, error pages and logs show it;
    /// or method and URL of one that is not sent
    #[arg(value_name = "ID | [METHOD] URL", required = true, num_args = 1..=2)]
    pub(crate) request: Vec<String>,
    /// The site to which it went, by name or id; all that you see without it. With it, the logs on its
    /// nodes are looked through as well
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<String>,
    /// The node that is asked about a request that is not sent, and what it answers; without it, the
    /// manager's own edge
    #[arg(long, value_name = "NODE", conflicts_with = "site")]
    pub(crate) node: Option<String>,
    /// Whose a request would be that is not sent
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), conflicts_with = "site")]
    pub(crate) from: IpAddr,
    /// A header of a request that is not sent, as `Name: value`; may be given again
    #[arg(short = 'H', long = "header", value_name = "HEADER", conflicts_with = "site")]
    pub(crate) headers: Vec<String>,
}
