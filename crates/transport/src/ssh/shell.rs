//! Whether the login shell takes commands as shells of the POSIX family do.
//!
//! What a shell is called says little: it is asked to print a text in which every way of quoting that
//! is not ours shows, before anything else is given to it.

use std::time::Duration;

use super::{
    connection::{Connection, Wants},
    exec::{Line, exec},
};
use crate::{Output, TransportError, quote, said::brief};

/// fish halves the backslashes, csh stumbles over the line's end and the exclamation mark.
const TEXT: &str = "it's \\\\ \"!x\" $HOME `id` *\n~end";
/// How long a shell may take to start. Some read much before they do.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much of what it prints is looked at.
const LIMIT: usize = 1 << 16;

/// Proves that words arrive as they are, or says what is in the way.
pub(super) async fn prove(connection: &Connection) -> Result<(), TransportError> {
    let output = ask(connection, format!("printf %s {}", quote::quote(TEXT))).await?;
    if output.is_success() && output.stdout == TEXT.as_bytes() {
        return Ok(());
    }
    let reason = if output.stdout.ends_with(TEXT.as_bytes()) {
        let said = brief(&output.stdout_text());
        format!("it prints a text of its own before that of a command (`{said}`)")
    } else {
        let name = ask(connection, "echo $SHELL".to_owned()).await?;
        reason_of(&name, &output)
    };
    Err(TransportError::OddLoginShell {
        address: connection.address(),
        user: connection.user().to_owned(),
        reason,
    })
}

fn reason_of(name: &Output, output: &Output) -> String {
    let name = name.stdout_text();
    let name = name.trim();
    if name.starts_with('/') && !name.contains(char::is_whitespace) {
        return format!("{name} reads quotes in a way of its own");
    }
    let said = [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream));
    format!("it runs no commands and says `{}`", brief(&said.concat()))
}

async fn ask(connection: &Connection, text: String) -> Result<Output, TransportError> {
    let lease = connection.lease(Wants::ToAct).await?;
    let what = "the login shell's greeting";
    let line = Line { what, text, stdin: Vec::new(), patience: PATIENCE, limit: LIMIT };
    exec(connection, lease, line).await
}
