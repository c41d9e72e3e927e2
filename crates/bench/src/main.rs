//! Measures the figures of `docs/benchmarks.md`: Portway as its user starts it, and its peers in the
//! same run on the same machine.
//!
//! Every server listens on loopback, on ports that were free, keeps its files in a temporary folder,
//! and is ended by its process id. Each figure prints a table and the same as one line of JSON.

mod figures;
mod fleet;
mod origin;
mod peer;
mod ports;
mod portway;
mod process;
mod report;
mod samples;
mod sites;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::{figures::Settings, report::Report};

/// What can be typed.
#[derive(Debug, Parser)]
#[command(name = "portway-bench", about = "Measures the figures of docs/benchmarks.md")]
struct Cli {
    /// The program to measure [default: `portway` beside this one]
    #[arg(long, global = true, value_name = "PATH")]
    portway: Option<PathBuf>,
    /// Smaller numbers, for a look rather than a figure
    #[arg(long, global = true)]
    quick: bool,
    #[command(subcommand)]
    figure: Figure,
}

/// The figures.
#[derive(Debug, Subcommand)]
enum Figure {
    /// How soon a site that was made through the API answers through the edge
    Publish(figures::publish::Options),
    /// How soon the API answers while there are many sites
    Api(figures::api::Options),
    /// How many requests are lost by changes under load
    Changes(figures::changes::Options),
    /// How many requests are lost by upgrades of the edge, and changes at the same time
    Upgrade(figures::upgrade::Options),
    /// What is lost when the manager is killed again and again
    Kills(figures::kills::Options),
    /// What a request costs the edge, beside its peers
    Edge(figures::edge::Options),
    /// How many more answers two workers give than one
    Workers(figures::workers::Options),
    /// How long a plan takes that says what comes to many nodes
    Plan(figures::plan::Options),
    /// How soon a change of one site is served by many nodes
    Nodes(figures::nodes::Options),
    /// What the first deployment of many sites to one node takes
    First(figures::first::Options),
    /// What fails while changes come to nodes of every engine
    Rollouts(figures::rollouts::Options),
    /// How much memory manager and edge take
    Memory(figures::memory::Options),
    /// What fails while a target dies and returns every second
    Toggle(figures::toggle::Options),
    /// What fails, and what is done twice, while an application closes idle connections at will
    Closing(figures::closing::Options),
    /// Whether anything fails or grows under everything that an open port meets, for hours
    Soak(figures::soak::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // Whatever runs is dropped, and with it everything that it started.
    let ended = tokio::select! {
        ended = run(cli) => ended,
        stopped = tokio::signal::ctrl_c() => {
            stopped.context("cannot wait for Ctrl-C").and_then(|()| anyhow::bail!("stopped"))
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("portway-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let program = match cli.portway {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("portway"),
    };
    anyhow::ensure!(
        program.is_file(),
        "{} is missing; build it (`make build`), or name it by --portway",
        program.display()
    );
    let settings = Settings { program, quick: cli.quick };
    let report = measure(cli.figure, &settings).await?;
    report.print()
}

async fn measure(figure: Figure, settings: &Settings) -> anyhow::Result<Report> {
    match figure {
        Figure::Publish(options) => Box::pin(figures::publish::run(settings, &options)).await,
        Figure::Api(options) => Box::pin(figures::api::run(settings, &options)).await,
        Figure::Changes(options) => Box::pin(figures::changes::run(settings, &options)).await,
        Figure::Upgrade(options) => Box::pin(figures::upgrade::run(settings, &options)).await,
        Figure::Kills(options) => Box::pin(figures::kills::run(settings, &options)).await,
        Figure::Edge(options) => Box::pin(figures::edge::run(settings, &options)).await,
        Figure::Workers(options) => Box::pin(figures::workers::run(settings, &options)).await,
        Figure::Plan(options) => Box::pin(figures::plan::run(settings, &options)).await,
        Figure::Nodes(options) => Box::pin(figures::nodes::run(settings, &options)).await,
        Figure::First(options) => Box::pin(figures::first::run(settings, &options)).await,
        Figure::Rollouts(options) => Box::pin(figures::rollouts::run(settings, &options)).await,
        Figure::Memory(options) => Box::pin(figures::memory::run(settings, &options)).await,
        Figure::Toggle(options) => Box::pin(figures::toggle::run(settings, &options)).await,
        Figure::Closing(options) => Box::pin(figures::closing::run(settings, &options)).await,
        Figure::Soak(options) => Box::pin(figures::soak::run(settings, &options)).await,
    }
}
