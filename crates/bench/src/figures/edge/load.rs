//! Who asks: `wrk` for HTTP/1.1, `h2load` for HTTP/2. Each counts what was answered.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use tokio::process::Command;

use super::{Row, proxy::Proxy};

/// The core of those who ask and of those who answer behind the proxies.
pub(in crate::figures) const CORE: &str = "1";

/// The programs that ask.
#[derive(Clone, Debug, Args)]
pub(crate) struct Tools {
    /// wrk
    #[arg(long, value_name = "PATH", default_value = "wrk")]
    pub(in crate::figures) wrk: PathBuf,
    /// h2load
    #[arg(long, value_name = "PATH", default_value = "h2load")]
    h2load: PathBuf,
}

/// What is asked for, and how.
#[derive(Debug)]
pub(super) struct Load {
    url: String,
    connections: u32,
    http2: bool,
    /// Whether each request has a connection of its own.
    closes: bool,
}

impl Load {
    /// Returns what is asked of a proxy for a row.
    pub(super) fn of(row: Row, proxy: &Proxy) -> Self {
        let (tls, path) = match row {
            Row::Http1 | Row::TwoWorkers => (false, "1k"),
            Row::Tls | Row::Http2 | Row::Handshakes | Row::Idle => (true, "1k"),
            Row::Large => (false, "100k"),
            Row::LargeTls => (true, "100k"),
            Row::File => (false, "files/1k"),
            Row::LargeFile => (false, "files/1m"),
            Row::Kept => (false, "kept/1k"),
            Row::LargeKept => (false, "kept/100k"),
        };
        let (scheme, port) = if tls { ("https", proxy.https) } else { ("http", proxy.http) };
        Self {
            url: format!("{scheme}://localhost:{port}/{path}"),
            connections: match row {
                Row::Http2 | Row::Handshakes | Row::LargeFile => 16,
                Row::Http1
                | Row::Tls
                | Row::Large
                | Row::LargeTls
                | Row::File
                | Row::Kept
                | Row::LargeKept
                | Row::TwoWorkers
                | Row::Idle => 64,
            },
            http2: row == Row::Http2,
            closes: row == Row::Handshakes,
        }
    }

    /// Asks for a while; returns how many were answered.
    pub(super) async fn run(&self, tools: &Tools, time: Duration) -> anyhow::Result<u64> {
        let program: &Path = if self.http2 { &tools.h2load } else { &tools.wrk };
        let mut command = Command::new("taskset");
        command.args(["-c", CORE]).arg(program).args(self.arguments(time)).stdin(Stdio::null());
        let ended = command.kill_on_drop(true).output().await;
        let ended = ended.with_context(|| format!("cannot start {}", program.display()))?;
        let text = String::from_utf8_lossy(&ended.stdout).into_owned()
            + &String::from_utf8_lossy(&ended.stderr);
        anyhow::ensure!(ended.status.success(), "{} fails: {text}", program.display());
        let answered = if self.http2 { h2load(&text) } else { wrk(&text) };
        answered.with_context(|| format!("{} was not answered: {text}", self.url))
    }

    fn arguments(&self, time: Duration) -> Vec<String> {
        let (connections, seconds) = (self.connections, time.as_secs());
        let mut arguments = vec!["-t1".to_owned(), format!("-c{connections}")];
        if self.http2 {
            let more = ["-m8".to_owned(), format!("-D{seconds}"), "--warm-up-time=0".to_owned()];
            arguments.extend(more);
        } else {
            arguments.push(format!("-d{seconds}s"));
        }
        if self.closes {
            arguments.extend(["-H", "Connection: close"].map(str::to_owned));
        }
        arguments.push(self.url.clone());
        arguments
    }
}

/// Reads how many requests were answered; nothing when some were not answered well.
pub(in crate::figures) fn wrk(text: &str) -> Option<u64> {
    if text.contains("Non-2xx") {
        return None;
    }
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    line.split_whitespace().next()?.parse().ok()
}

/// See [`wrk`].
fn h2load(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("requests: "))?;
    let number = |word: &str| {
        let part = line.split(", ").find(|part| part.ends_with(word))?;
        part.rsplit(' ').nth(1)?.parse::<u64>().ok()
    };
    number("succeeded").filter(|_| number("failed") == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_is_read_and_what_was_not_answered_well_is_noticed() {
        assert_eq!(wrk("  Thread Stats\n  71038 requests in 4.02s, 85MB read\n"), Some(71_038));
        assert_eq!(wrk("  9 requests in 1s, 1B read\n  Non-2xx or 3xx responses: 9\n"), None);
        assert_eq!(wrk("unable to connect"), None);
        let line = |failed| {
            format!("requests: 9 total, 9 started, 9 done, 8 succeeded, {failed} failed, 0 errored")
        };
        assert_eq!(h2load(&line(0)), Some(8));
        assert_eq!(h2load(&line(1)), None);
    }
}
