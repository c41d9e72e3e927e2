//! What fails while one of two targets dies and comes back every second.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use clap::Args;

use super::{
    Settings,
    failing::{Application, CLIENTS, Fronts, LONGEST_PAUSE, Manner},
};
use crate::{
    peer::Programs,
    report::{Cell, Report, say},
};

/// How long a target lives, and how long it is dead.
const TOGGLE: Duration = Duration::from_secs(1);
/// How long an application thinks.
const THINKS: Duration = Duration::from_millis(3);

/// Options of `toggle`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often the target dies
    #[arg(long)]
    deaths: Option<usize>,
    #[command(flatten)]
    peers: Programs,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns = [
        "proxy",
        "protocol",
        "deaths",
        "requests",
        "in flight at the deaths",
        "of these with the target",
        "POSTs failed",
        "POSTs done twice",
        "GETs failed",
    ];
    let mut report = Report::new("A target that dies every other second", &columns);
    let manner = Manner { thinks: THINKS, closes: None };
    let mut proxies = Fronts::start(settings, &options.peers, 2, manner).await?;
    let deaths = options.deaths.unwrap_or_else(|| settings.choose(300, 10));
    let mut lost = vec![(0, 0); proxies.all.len()];
    for death in 1..=deaths {
        tokio::time::sleep(TOGGLE).await;
        for (front, (waiting, at_target)) in proxies.all.iter_mut().zip(&mut lost) {
            let Some(target) = front.applications.first_mut() else { continue };
            *waiting += front.tally.waiting.load(Relaxed);
            *at_target += target.die().await;
        }
        tokio::time::sleep(TOGGLE).await;
        for front in &mut proxies.all {
            if let Some(target) = front.applications.first_mut() {
                target.revive().await?;
            }
        }
        if death.is_multiple_of(30) {
            say(&format!("  {death} deaths"));
        }
    }
    for (front, (waiting, at_target)) in proxies.stop().await?.iter().zip(lost) {
        front.tell();
        let count = |number: &std::sync::atomic::AtomicU64| number.load(Relaxed);
        let tally = &front.tally;
        let twice = Application::duplicated(&front.applications);
        let (posts, gets) = (count(&tally.failed_posts), count(&tally.failed_gets));
        report.row([
            Cell::text(front.name),
            Cell::text(front.protocol),
            Cell::count(deaths),
            Cell::Count(count(&tally.posts) + count(&tally.gets)),
            Cell::Count(waiting),
            Cell::Count(at_target),
            Cell::Count(posts),
            Cell::count(twice),
            Cell::Count(gets),
        ]);
        if front.name == "Portway" && (posts + gets > waiting || twice > 0) {
            let failed = posts + gets;
            report.faults([format!(
                "{failed} requests failed, {waiting} were in flight; {twice} POSTs were done twice"
            )]);
        }
    }
    report.note(format!(
        "One of two targets is dead for a second, lives for a second, and so on. Each proxy has {CLIENTS} \
         clients that send GET and POST in turn with pauses of 0 to {LONGEST_PAUSE} ms, and targets of its \
         own that take {} ms for an answer. In flight: requests that waited for their answer when the \
         target died, with either target.",
        THINKS.as_millis()
    ));
    Ok(report)
}
