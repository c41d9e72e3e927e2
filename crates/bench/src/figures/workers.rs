//! How many more answers two workers give than one.
//!
//! On a machine with two cores the clients take their part of the second one. So the edge is given work
//! that costs it much and its clients little: to compress a text while it is sent.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::Context as _;
use clap::Args;
use portway_wire::site::NewSite;
use serde_json::json;
use tokio::process::Command;
use uuid::Uuid;

use super::{Settings, edge::load};
use crate::{
    portway::Portway,
    process::CpuTime,
    report::{Cell, Report, say},
};

/// The cores of one worker and of two. The clients have the last core.
const CORES: [&str; 2] = ["0", "0,1"];
/// How long each round is, in seconds.
const SECONDS: u64 = 3;
/// The size of the text, and the words of which it is made.
const SIZE: usize = 100 * 1024;
const WORDS: [&str; 16] = [
    "harbour", "of", "the", "evening", "a", "lantern", "over", "quay", "and", "seven", "herons",
    "wait", "for", "rain", "that", "comes",
];

/// Options of `workers`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    tools: load::Tools,
    /// How often each number of workers is measured
    #[arg(long)]
    rounds: Option<usize>,
}

/// What a number of workers did in a round.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Round {
    /// Answers in a second.
    answers: u64,
    /// Time of a core for each answer.
    cost: Duration,
}

/// Measures the figure.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<Report> {
    let columns =
        ["workers", "answers a second", "lowest", "highest", "times", "cost of an answer"];
    let mut report = Report::new("Answers by one worker and by two", &columns);
    let folder = tempfile::Builder::new().prefix("portway-bench-workers-").tempdir()?;
    fs::write(folder.path().join("text.txt"), text())?;
    let mut rounds = [vec![], vec![]];
    // In turn, so that neither has the better part of the time.
    for number in 1..=options.rounds.unwrap_or_else(|| settings.choose(5, 2)) {
        for (cores, rounds) in CORES.iter().zip(&mut rounds) {
            rounds.push(round(settings, options, cores, folder.path()).await?);
        }
        say(&format!("  round {number}: {rounds:?}"));
    }
    let [one, two] = rounds.map(|mut rounds: Vec<Round>| {
        rounds.sort_unstable_by_key(|round| round.answers);
        rounds
    });
    let middle = |rounds: &[Round]| rounds.get(rounds.len() / 2).copied().context("no round");
    let base = middle(&one)?.answers;
    for (workers, rounds) in [(1, one), (2, two)] {
        let Round { answers, cost } = middle(&rounds)?;
        let ends = [rounds.first(), rounds.last()].map(|round| round.map_or(0, |it| it.answers));
        report.row([
            Cell::Count(workers),
            Cell::Count(answers),
            Cell::Count(ends[0]),
            Cell::Count(ends[1]),
            Cell::ratio(answers, base),
            Cell::Cost(cost),
        ]);
    }
    report.note(format!(
        "A text of {} KB is compressed by gzip while it is sent, over 64 kept connections, {SECONDS} s in \
         each round; medians of the rounds. One worker has a core for itself, two workers have both cores \
         and share the second one with the clients (wrk).",
        SIZE / 1024
    ));
    Ok(report)
}

async fn round(
    settings: &Settings,
    options: &Options,
    cores: &str,
    folder: &Path,
) -> anyhow::Result<Round> {
    let mut portway = Portway::start_on(&settings.program, cores).await?;
    let spec = json!({ "hosts": ["localhost"], "https": false, "files": folder });
    let client = portway.client()?;
    let new =
        NewSite { name: Some("text".to_owned()), owner: None, spec, message: None, rollout: None };
    let view = client.create_site(&new, Uuid::now_v7()).await?;
    portway.wait(&client, view.summary.revision, Duration::from_secs(30)).await?;
    let url = format!("http://localhost:{}/text.txt", portway.http_port());
    ask(options, &url, 1).await?;
    let before = CpuTime::of(portway.edge_pid()?)?;
    let answered = ask(options, &url, SECONDS).await?;
    let spent = CpuTime::of(portway.edge_pid()?)?.since(before);
    portway.stop().await?;
    let cost = spent / u32::try_from(answered.max(1))?;
    Ok(Round { answers: answered / SECONDS, cost })
}

async fn ask(options: &Options, url: &str, seconds: u64) -> anyhow::Result<u64> {
    let mut command = Command::new("taskset");
    command.args(["-c", load::CORE]).arg(&options.tools.wrk);
    command.args(["-t1", "-c64", &format!("-d{seconds}s"), "-H", "Accept-Encoding: gzip", url]);
    let ended = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let text = String::from_utf8_lossy(&ended.context("cannot start wrk")?.stdout).into_owned();
    load::wrk(&text).with_context(|| format!("{url} was not answered: {text}"))
}

/// Returns words in an order that does not repeat soon, the same ones each time.
fn text() -> String {
    let (mut text, mut state) = (String::with_capacity(SIZE + 16), 7_u32);
    while text.len() < SIZE {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let place = usize::try_from(state >> 16).unwrap_or(0) % WORDS.len();
        text.extend(WORDS.get(place).into_iter().chain(&[" "]).copied());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_long_enough_and_always_the_same() {
        let text = text();
        assert!((SIZE..SIZE + 16).contains(&text.len()));
        assert_eq!(text, super::text());
        assert!(text.contains("herons") && !text.contains("  "));
    }
}
