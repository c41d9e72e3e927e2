//! Checks of this repository that no compiler makes: `cargo xtask arch` and `cargo xtask tidy`.
//!
//! Each check reads everything, prints all faults at once as `file:line: what; how to mend it`, and
//! ends with status 1 if there was one. Nothing is ever changed: mending is the author's work.

mod arch;
mod fault;
mod tidy;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use crate::fault::Fault;

const HELP: &str = "\
Checks of this repository.

Usage: cargo xtask <check>

  arch   crates depend only on crates of lower layers, and keep what else they promise
  tidy   files begin and end as they should and hold nothing that belongs to one machine
";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let faults = match arguments.as_slice() {
        [check] if check == "arch" => arch::faults(&root()?)?,
        [check] if check == "tidy" => tidy::faults(&root()?)?,
        [help] if help == "help" || help == "--help" || help == "-h" => {
            io::stdout().write_all(HELP.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {
            io::stderr().write_all(HELP.as_bytes())?;
            return Ok(ExitCode::from(2));
        }
    };
    report(faults)
}

/// Prints the faults in the order of files and lines, and returns the status to end with.
fn report(mut faults: Vec<Fault>) -> anyhow::Result<ExitCode> {
    faults.sort();
    let mut out = io::stderr().lock();
    for fault in &faults {
        writeln!(out, "{fault}")?;
    }
    if faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{} to mend", counted(faults.len()))?;
    Ok(ExitCode::FAILURE)
}

fn counted(faults: usize) -> String {
    if faults == 1 { "1 fault".to_owned() } else { format!("{faults} faults") }
}

/// Returns the top folder of the checkout one stands in.
fn root() -> anyhow::Result<PathBuf> {
    let top = output_of("git", &["rev-parse", "--show-toplevel"], None)?;
    Ok(PathBuf::from(String::from_utf8(top)?.trim_end()))
}

/// Runs a program in `folder` and returns what it printed; a status other than 0 is an error.
fn output_of(
    program: &str,
    arguments: &[&str],
    folder: Option<&PathBuf>,
) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {} failed: {}", arguments.join(" "), said.trim_end());
    }
    Ok(output.stdout)
}
