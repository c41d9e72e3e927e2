//! `completions`

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{
    args::Cli,
    exit::{Exit, Failure, Outcome},
    out::Out,
};

/// `portway completions`
pub(super) fn run(out: &Out, shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "portway", &mut script);
    let script = String::from_utf8(script)
        .map_err(|error| Failure::failed("the completions are not text").because(&error))?;
    out.text(&script)?;
    Ok(Exit::Ok)
}
