//! Options of `explain`.

use clap::Args;

/// Options of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portway explain 0190c2c4d1f27c3e8a5b6d7e8f901234
  portway explain 0190c2c4d1f27c3e8a5b6d7e8f901234 --output json")]
pub(crate) struct Explain {
    /// The request's id, as the header X-Request-Id of the answer, error pages and logs show it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The site to which it went, by name or id; all that you see without it
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<String>,
}
