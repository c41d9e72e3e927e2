//! What a request costs the edge, beside its peers: the time of one core, logs and metrics on.
//!
//! Each proxy has one worker on a core of its own; who asks and who answers behind it share another
//! one. So no proxy is slowed down by the others' work, and what is told is not how much passes but
//! what it costs, which differs less from run to run. The proxies take turns, round by round.

mod idle;
pub(super) mod load;
mod proxy;

use std::time::Duration;

use clap::{Args, ValueEnum};

use self::{
    load::{Load, Tools},
    proxy::{Bed, Proxy},
};
use super::Settings;
use crate::{
    peer::Programs,
    process::CpuTime,
    report::{Cell, Report, say},
    samples::Samples,
};

/// How long a proxy is loaded before the first window.
const WARM_UP: Duration = Duration::from_secs(1);

/// Options of `edge`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What is measured; several, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    rows: Vec<Row>,
    /// How often each proxy is measured
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each time, in seconds
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    #[command(flatten)]
    tools: Tools,
    #[command(flatten)]
    peers: Programs,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// HTTP/1.1, kept connections, 1 KB from an upstream.
    Http1,
    /// The same over TLS 1.3.
    Tls,
    /// HTTP/2 over TLS 1.3, 1 KB from an upstream.
    Http2,
    /// HTTP/1.1, 100 KB from an upstream.
    Large,
    /// The same over TLS 1.3.
    LargeTls,
    /// HTTP/1.1 over TLS 1.3, a new connection for each request.
    Handshakes,
    /// HTTP/1.1, a file of 1 KB.
    File,
    /// HTTP/1.1, a file of 1 MB.
    LargeFile,
    /// HTTP/1.1, an answer of 1 KB that is kept.
    Kept,
    /// HTTP/1.1, an answer of 100 KB that is kept.
    LargeKept,
    /// As the first, by two workers on both cores.
    TwoWorkers,
    /// The memory of a kept TLS connection on which nothing happens.
    Idle,
}

impl Row {
    /// Returns what is measured, in words.
    fn title(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1, 1 KB",
            Self::Tls => "TLS 1.3, HTTP/1.1, 1 KB",
            Self::Http2 => "TLS 1.3, HTTP/2, 1 KB",
            Self::Large => "HTTP/1.1, 100 KB",
            Self::LargeTls => "TLS 1.3, HTTP/1.1, 100 KB",
            Self::Handshakes => "new TLS 1.3 connection, 1 KB",
            Self::File => "file of 1 KB",
            Self::LargeFile => "file of 1 MB",
            Self::Kept => "kept answer of 1 KB",
            Self::LargeKept => "kept answer of 100 KB",
            Self::TwoWorkers => "HTTP/1.1, 1 KB, two workers",
            Self::Idle => "idle TLS connection",
        }
    }

    /// Returns what Portway may take of what nginx takes.
    fn target(self) -> &'static str {
        match self {
            Self::Http1
            | Self::File
            | Self::LargeFile
            | Self::Kept
            | Self::LargeKept
            | Self::Idle => "1.00",
            Self::Tls => "0.90",
            Self::Http2 => "1.20",
            Self::Large => "0.70",
            Self::LargeTls => "0.75",
            Self::Handshakes => "0.65",
            Self::TwoWorkers => "–",
        }
    }
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns =
        ["measure", "target", "of nginx", "Portway", "nginx", "HAProxy", "Caddy", "spread"];
    let mut report = Report::new("What a request costs the edge", &columns);
    let rows = match options.rows.as_slice() {
        [] => Row::value_variants(),
        chosen => chosen,
    };
    let mut bed = Bed::start(settings, options, 1).await?;
    for row in rows.iter().filter(|row| !matches!(row, Row::Idle | Row::TwoWorkers)) {
        requests(settings, options, &bed, *row, &mut report).await?;
    }
    if rows.contains(&Row::Idle) {
        idle::measure(settings, &bed, &mut report).await?;
    }
    bed.stop().await?;
    if rows.contains(&Row::TwoWorkers) {
        bed = Bed::start(settings, options, 2).await?;
        requests(settings, options, &bed, Row::TwoWorkers, &mut report).await?;
        bed.stop().await?;
    }
    report.note(
        "Time of one core for each request, user and system, of all processes of the proxy: the \
         median of the rounds; of nginx: Portway's median divided by nginx's; spread: the lowest and \
         the highest of Portway's and of nginx's rounds. Each proxy has one worker on a core of its \
         own, and logs each request; the clients (wrk, h2load) and the upstream (nginx) share the \
         other core.",
    );
    Ok(report)
}

/// Measures what one kind of request costs each of the proxies that can answer it.
async fn requests(
    settings: &Settings,
    options: &Options,
    bed: &Bed,
    row: Row,
    report: &mut Report,
) -> anyhow::Result<()> {
    say(row.title());
    let window = Duration::from_secs(options.seconds);
    let mut costs: Vec<(&Proxy, Vec<Duration>)> =
        bed.proxies.iter().filter(|proxy| proxy.can(row)).map(|proxy| (proxy, vec![])).collect();
    for (proxy, _) in &costs {
        Load::of(row, proxy).run(&options.tools, WARM_UP).await?;
    }
    for _ in 0..options.rounds.unwrap_or_else(|| settings.choose(5, 2)) {
        for (proxy, costs) in &mut costs {
            let before = CpuTime::of(proxy.pid)?;
            let answered = Load::of(row, proxy).run(&options.tools, window).await?;
            let spent = CpuTime::of(proxy.pid)?.since(before);
            costs.push(spent / u32::try_from(answered.max(1))?);
        }
    }
    let of = |name: &str| {
        let found = costs.iter().find(|(proxy, _)| proxy.name == name);
        found.map(|(_, costs)| costs.iter().copied().collect::<Samples>())
    };
    let [portway, nginx, haproxy, caddy] = ["Portway", "nginx", "HAProxy", "Caddy"].map(of);
    report.row([
        Cell::text(row.title()),
        Cell::text(row.target()),
        ratio(median(portway.as_ref()), median(nginx.as_ref())),
        cost(portway.as_ref()),
        cost(nginx.as_ref()),
        cost(haproxy.as_ref()),
        cost(caddy.as_ref()),
        Cell::text(format!("{}, {}", spread(portway.as_ref()), spread(nginx.as_ref()))),
    ]);
    Ok(())
}

fn median(costs: Option<&Samples>) -> Option<Duration> {
    costs.and_then(|costs| costs.percentile(50))
}

fn cost(costs: Option<&Samples>) -> Cell {
    median(costs).map_or(Cell::Nothing, Cell::Cost)
}

fn spread(costs: Option<&Samples>) -> String {
    let ends = costs.and_then(|costs| Some((costs.percentile(0)?, costs.longest()?)));
    ends.map_or_else(|| "–".to_owned(), |(low, high)| format!("{}–{}", micros(low), micros(high)))
}

fn micros(cost: Duration) -> String {
    format!("{:.1}", cost.as_secs_f64() * 1e6)
}

fn ratio(ours: Option<Duration>, theirs: Option<Duration>) -> Cell {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if !theirs.is_zero() => {
            Cell::Ratio(ours.as_secs_f64() / theirs.as_secs_f64())
        }
        (Some(_) | None, _) => Cell::Nothing,
    }
}
