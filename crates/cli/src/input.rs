//! What is asked of the user: passwords without echo, confirmations, and secrets on standard input.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::exit::{Exit, Failure};

/// Reads a password: from standard input when told so, otherwise from the terminal, without echo.
pub(crate) fn password(prompt: &str, from_stdin: bool) -> Result<String, Failure> {
    if from_stdin {
        return secret_line();
    }
    require_terminal("--password-stdin")?;
    hidden(prompt)
}

/// Reads a new password twice.
pub(crate) fn new_password(prompt: &str, from_stdin: bool) -> Result<String, Failure> {
    let password = password(prompt, from_stdin)?;
    if !from_stdin && hidden("Once more")? != password {
        return Err(Failure::usage("the two entries differ").help("try again"));
    }
    Ok(password)
}

/// Reads a passphrase, twice where it is new.
pub(crate) fn passphrase(from_stdin: bool, is_new: bool) -> Result<String, Failure> {
    if from_stdin {
        return secret_line();
    }
    require_terminal("--passphrase-stdin")?;
    let passphrase = hidden("Passphrase")?;
    if is_new && hidden("Once more")? != passphrase {
        return Err(Failure::usage("the two entries differ").help("try again"));
    }
    Ok(passphrase)
}

/// Asks for a line; an empty answer means `usual`.
pub(crate) fn line(prompt: &str, usual: Option<&str>) -> Result<String, Failure> {
    require_terminal("the options of this command")?;
    let shown = usual.map(|usual| format!(" [{usual}]")).unwrap_or_default();
    ask(&format!("{prompt}{shown}: "))?;
    let answer = read_line()?;
    match (answer.trim(), usual) {
        ("", Some(usual)) => Ok(usual.to_owned()),
        ("", None) => Err(Failure::usage("nothing was entered")),
        (answer, _) => Ok(answer.to_owned()),
    }
}

/// Asks whether to go on. Without a terminal nobody can say so.
pub(crate) fn confirm(question: &str) -> Result<bool, Failure> {
    ask(&format!("{question} [y/N] "))?;
    Ok(is_yes(&read_line()?))
}

/// Tells whether somebody sits at a terminal.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

fn require_terminal(instead: &str) -> Result<(), Failure> {
    if is_interactive() {
        return Ok(());
    }
    Err(Failure::usage("there is no terminal to ask at").help(format!("use {instead}")))
}

fn hidden(prompt: &str) -> Result<String, Failure> {
    ask(&format!("{prompt}: "))?;
    let silence = Silence::begin()?;
    let line = read_line();
    drop(silence);
    ask("\n")?;
    let line = line?;
    if line.is_empty() { Err(Failure::usage("nothing was entered")) } else { Ok(line) }
}

/// Keeps what is typed from being shown, until it is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> Result<Self, Failure> {
        let before = tcgetattr(io::stdin()).map_err(io::Error::from)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent).map_err(io::Error::from)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that went away needs no echo.
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.0).ok();
    }
}

fn ask(text: &str) -> Result<(), Failure> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes())?;
    stderr.flush()?;
    Ok(())
}

fn read_line() -> Result<String, Failure> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(Failure::new(Exit::Interrupted, "the input ended"));
    }
    Ok(without_break(&line).to_owned())
}

fn secret_line() -> Result<String, Failure> {
    let line = read_line()?;
    if line.is_empty() { Err(Failure::usage("standard input is empty")) } else { Ok(line) }
}

/// A password may end in blanks, but not in the line break that sends it.
fn without_break(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(is_yes("y\n") && is_yes("YES"));
        assert!(!is_yes("") && !is_yes("n") && !is_yes("yep"));
    }

    #[test]
    fn a_password_keeps_its_blanks() {
        assert_eq!(without_break(" a b \r\n"), " a b ");
        assert_eq!(without_break("a\n\n"), "a\n");
    }
}
