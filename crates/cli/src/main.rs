//! The `portway` command: what is typed, what it asks the manager, and what it prints. It wires
//! the crates of the product together; it holds no rules of its own.

mod activation;
mod args;
mod cmd;
mod config;
mod deployed;
mod exit;
mod files;
mod findings;
mod input;
mod kept;
mod login;
mod notify;
mod out;
mod paths;
mod session;
mod signals;
mod telemetry;
mod urls;

use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory, FromArgMatches};

use crate::{
    args::{Cli, Command},
    exit::{Exit, Failure, Outcome},
    findings::Sources,
    out::{ColourWish, Out},
    session::Session,
};

fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Help that nobody reads to its end is no fault.
            error.print().ok();
            return exit.into();
        }
    };
    let out = Out::new(cli.global.output, cli.global.quiet, wish(cli.global.no_color));
    let outcome = run(cli, out.clone());
    finish(&out, outcome)
}

fn parse() -> Result<Cli, clap::Error> {
    let plain = std::env::args_os().any(|word| word == "--no-color");
    let colours = if plain { ColorChoice::Never } else { ColorChoice::Auto };
    let matches = Cli::command().color(colours).try_get_matches()?;
    Cli::from_arg_matches(&matches)
}

fn wish(no_color: bool) -> ColourWish {
    ColourWish {
        none: no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        dumb: std::env::var_os("TERM").is_some_and(|term| term == "dumb"),
    }
}

fn run(cli: Cli, out: Out) -> Outcome {
    // Another part of the process may have been first; it chose the same one.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    // Read while this process has one thread: it takes away variables of the environment.
    let serves = matches!(cli.command, Command::Serve(_) | Command::Edge(_));
    let sockets = if serves { activation::sockets()? } else { Vec::new() };
    // Whatever else is typed waits for one thing at a time; the edge has its own threads.
    let mut builder = if matches!(cli.command, Command::Serve(_)) {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the machine gives no thread").because(&error))?;
    let session = Session::new(cli.global, out).with_sockets(sockets);
    runtime.block_on(Box::pin(cmd::run(&session, cli.command)))
}

fn finish(out: &Out, outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // Where not even an error can be shown, the exit code has to say it.
            let problem = failure.problem.iter().flat_map(|problem| &problem.findings);
            let found: Vec<_> = problem.cloned().collect();
            findings::show(out, &found, &Sources::default()).ok();
            out.failure(&failure).ok();
            failure.exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_says_what_there_is() {
        // The values of this machine's environment are none of the help's.
        let mut command = Cli::command().term_width(100).mut_args(|arg| arg.hide_env_values(true));
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
