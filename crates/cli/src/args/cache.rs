//! Options of `cache`.

use clap::{ArgGroup, Args, Subcommand};

/// `portway cache …`
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Take kept answers away, on all nodes of a site
    Purge(CachePurge),
    /// Show what is kept of a site, on each node
    Stats {
        /// Name or id
        site: String,
    },
}

/// Options of `cache purge`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
#[command(after_help = "\
Examples:
  portway cache purge shop --url https://shop.example.org/products?page=2
  portway cache purge shop --prefix /products/
  portway cache purge shop --tag product-7 --tag product-8
  portway cache purge shop --all")]
pub(crate) struct CachePurge {
    /// Name or id of the site
    pub(crate) site: String,
    /// What is kept of one URL with exactly its query, or of one path under every host
    #[arg(long, value_name = "URL", group = "what")]
    pub(crate) url: Option<String>,
    /// What is kept of URLs, or paths, that begin so
    #[arg(long, value_name = "URL", group = "what")]
    pub(crate) prefix: Option<String>,
    /// What the upstream gave this tag in Cache-Tag or Surrogate-Key; may be given again
    #[arg(long = "tag", value_name = "TAG", group = "what")]
    pub(crate) tags: Vec<String>,
    /// Everything
    #[arg(long, group = "what")]
    pub(crate) all: bool,
}
