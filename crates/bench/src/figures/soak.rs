//! Whether anything fails or grows under everything that an open port meets, for as long as one likes.

use std::time::Duration;

use clap::Args;
use portway_testkit::{
    manager::Manager,
    soak::{self, Plan, Trend},
};

use super::Settings;
use crate::{
    portway::fresh_database,
    report::{Cell, Report, say},
};

/// Options of `soak`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long, in minutes
    #[arg(long, default_value_t = 120)]
    minutes: u64,
    /// How long a client rests between two requests, in milliseconds
    #[arg(long, default_value_t = 20)]
    pause: u64,
    /// The database of the manager [default: SQLite]
    #[arg(long, value_name = "URL", env = "PORTWAY_TEST_POSTGRES")]
    database: Option<String>,
}

/// Runs it.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns = ["what", "number", "at first", "at last", "most", "an hour"];
    let mut report = Report::new(format!("A soak of {} minutes", options.minutes), &columns);
    let minutes = if settings.quick { options.minutes.min(5) } else { options.minutes };
    let plan = Plan {
        duration: Duration::from_secs(minutes * 60),
        pause: Duration::from_millis(options.pause),
    };
    let mut manager = Manager::new(&settings.program)?;
    if let Some(server) = &options.database {
        manager = manager.with(format!("--database={}", fresh_database(server)?));
    }
    manager.serve().await?;
    let outcome = soak::run(&manager, plan, |told| say(&format!("  {told}"))).await?;
    drop(manager);
    for (kind, count) in &outcome.counts {
        report.row(number(kind.title(), *count));
    }
    report.row(number("failures", outcome.failures));
    for (name, process) in [("manager", &outcome.manager), ("edge", &outcome.edge)] {
        report.row(trend(&format!("memory of the {name}"), &process.memory, "KiB"));
        let descriptors = &process.descriptors;
        report.row(trend(&format!("descriptors of the {name}"), descriptors, "descriptors"));
        report.row([
            Cell::text(format!("descriptors of the {name}, idle before and after")),
            Cell::Nothing,
            Cell::Count(process.before),
            Cell::Count(process.after),
            Cell::Nothing,
            Cell::Nothing,
        ]);
    }
    report.row(trend("database of the manager", &outcome.manager.database, "KiB"));
    let (good, malformed) = outcome.good();
    report.note(format!(
        "{good} requests and messages for sites with a target that lived; {malformed:.1} % of all requests \
         were malformed. At first and at last: the medians of the first and the last fifth of the time \
         after the warm-up (a third of the run, at most ten minutes)."
    ));
    report.faults(outcome.faults());
    Ok(report)
}

fn number(what: &str, number: u64) -> [Cell; 6] {
    let nothing = Cell::Nothing;
    [
        Cell::text(what),
        Cell::Count(number),
        nothing.clone(),
        nothing.clone(),
        nothing.clone(),
        nothing,
    ]
}

fn trend(what: &str, trend: &Trend, unit: &str) -> [Cell; 6] {
    let cell = |value| if unit == "KiB" { Cell::Memory(value) } else { Cell::Count(value) };
    [
        Cell::text(what),
        Cell::Nothing,
        cell(trend.first),
        cell(trend.last),
        cell(trend.most),
        Cell::text(format!("{:+.0} {unit}", trend.hourly)),
    ]
}
