//! What fails, and what is done twice, while an application closes idle connections at will.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use clap::Args;

use super::{
    Settings,
    failing::{Application, CLIENTS, Fronts, LONGEST_PAUSE, Manner},
};
use crate::{
    peer::Programs,
    report::{Cell, Report},
};

/// The longest time an idle connection is left open. The clients' pauses are of the same length, so
/// that many requests and closings meet on their way.
const CLOSES: Duration = Duration::from_millis(LONGEST_PAUSE);

/// Options of `closing`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long, in seconds
    #[arg(long)]
    seconds: Option<usize>,
    #[command(flatten)]
    peers: Programs,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns = [
        "proxy",
        "protocol",
        "connections closed",
        "POSTs",
        "POSTs done twice",
        "POSTs failed",
        "GETs",
        "GETs failed",
    ];
    let mut report = Report::new("An application that closes idle connections", &columns);
    let manner = Manner { thinks: Duration::ZERO, closes: Some(CLOSES) };
    let proxies = Fronts::start(settings, &options.peers, 1, manner).await?;
    let seconds = options.seconds.unwrap_or_else(|| settings.choose(120, 5));
    tokio::time::sleep(Duration::from_secs(u64::try_from(seconds)?)).await;
    for front in proxies.stop().await? {
        front.tell();
        let count = |number: &AtomicU64| Cell::Count(number.load(Relaxed));
        let closed = front.applications.iter().map(Application::closed).sum();
        let twice = Application::duplicated(&front.applications);
        let tally = &front.tally;
        report.row([
            Cell::text(front.name),
            Cell::text(front.protocol),
            Cell::Count(closed),
            count(&tally.posts),
            Cell::count(twice),
            count(&tally.failed_posts),
            count(&tally.gets),
            count(&tally.failed_gets),
        ]);
        let failed = tally.failed_gets.load(Relaxed);
        if front.name == "Portway" && (twice > 0 || failed > 0) {
            report.faults([format!("{twice} POSTs were done twice, {failed} GETs failed")]);
        }
    }
    report.note(format!(
        "The application closes a connection without a word when it was idle for 0 to {} ms after an answer. Each proxy \
         has {CLIENTS} clients that send GET and POST in turn with pauses of 0 to {LONGEST_PAUSE} ms, and \
         an application of its own, which counts each POST by its path. A POST that was written to a \
         connection that closed at the same moment may or may not have been done: it is answered 502, \
         never sent again.",
        CLOSES.as_millis()
    ));
    Ok(report)
}
