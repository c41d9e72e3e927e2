//! The one place that prints. Results go to standard output, everything else to standard error;
//! colours only where a terminal shows them and nobody asked for none.

mod diff;
mod paint;
mod progress;
mod table;
mod text;

use std::io::{self, IsTerminal, Write};

use rustix::termios::tcgetwinsize;
use serde::Serialize;

pub(crate) use self::{
    diff::unified,
    paint::Paint,
    progress::Progress,
    table::Table,
    text::{clean, clean_line, list, or_dash, time},
};
use crate::{args::Format, exit::Failure};

/// Where and how a command prints.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    format: Format,
    quiet: bool,
    /// For standard output.
    pub(crate) paint: Paint,
    /// For standard error.
    pub(crate) paint_err: Paint,
    width: Option<u16>,
}

/// What decides about colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColourWish {
    /// `--no-color` was given, or `NO_COLOR` is set and not empty (<https://no-color.org>).
    pub(crate) none: bool,
    /// `TERM` is `dumb`.
    pub(crate) dumb: bool,
}

impl Out {
    /// Returns the output of this process.
    pub(crate) fn new(format: Format, quiet: bool, wish: ColourWish) -> Self {
        let colours = |is_terminal: bool| Paint::new(is_terminal && !wish.none && !wish.dumb);
        let width = tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col);
        Self {
            format,
            quiet,
            paint: colours(io::stdout().is_terminal()),
            paint_err: colours(io::stderr().is_terminal()),
            width: width.filter(|columns| *columns > 0),
        }
    }

    /// Tells whether programs read the results.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints a result: as JSON for programs, otherwise as `human` writes it.
    pub(crate) fn show<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(Paint) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(value),
            Format::Table => self.text(&human(self.paint)),
        }
    }

    /// Prints a list: as JSON for programs, otherwise as a table, or `empty` where there is
    /// nothing.
    pub(crate) fn list<T: Serialize>(
        &self,
        items: &[T],
        table: impl FnOnce(&[T]) -> Table,
        empty: &str,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&items),
            Format::Table if items.is_empty() => self.note(empty),
            Format::Table => self.text(&table(items).render(self.width, self.paint)),
        }
    }

    /// Prints a result as JSON.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::failed("the result cannot be written").because(&error))?;
        self.text(&text)
    }

    /// Prints one JSON value on a line of its own.
    pub(crate) fn json_line<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::failed("the result cannot be written").because(&error))?;
        self.text(&text)
    }

    /// Prints a result as text; a missing last line break is added. No text is no line.
    #[expect(clippy::unused_self, reason = "who prints holds an `Out`")]
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        write(&mut io::stdout().lock(), text).map_err(Failure::from)
    }

    /// Says something beside the result. Not for programs, and not when told to be quiet.
    pub(crate) fn note(&self, text: &str) -> Result<(), Failure> {
        if self.quiet || self.is_json() {
            return Ok(());
        }
        write(&mut io::stderr().lock(), text).map_err(Failure::from)
    }

    /// Says something that must be seen, whatever was asked for.
    #[expect(clippy::unused_self, reason = "who prints holds an `Out`")]
    pub(crate) fn error(&self, text: &str) -> Result<(), Failure> {
        write(&mut io::stderr().lock(), text).map_err(Failure::from)
    }

    /// Prints why a command failed. Returns whether it could be printed.
    pub(crate) fn failure(&self, failure: &Failure) -> Result<(), Failure> {
        if failure.is_silent() {
            return Ok(());
        }
        self.error(&self.describe(failure))
    }

    fn describe(&self, failure: &Failure) -> String {
        if self.is_json() {
            return describe_json(failure);
        }
        let paint = &self.paint_err;
        let mut lines = vec![format!("{} {}", paint.bad("error:"), clean(&failure.text))];
        lines.extend(failure.causes.iter().map(|cause| format!("  because: {}", clean(cause))));
        lines.extend(failure.help.iter().map(|help| format!("{} {help}", paint.good("help:"))));
        let request = failure.problem.iter().filter_map(|problem| problem.request_id.as_deref());
        lines.extend(request.map(|id| paint.dim(&format!("request {}", clean(id)))));
        lines.join("\n")
    }

    /// Returns a line that shows that something takes its time.
    pub(crate) fn progress(&self, text: &str) -> Progress {
        Progress::new(text, self.quiet || self.is_json())
    }
}

fn describe_json(failure: &Failure) -> String {
    let value = serde_json::json!({ "error": {
        "exit": failure.exit.name(),
        "code": failure.exit.code(),
        "message": failure.text,
        "causes": failure.causes,
        "help": failure.help,
        "problem": failure.problem,
    }});
    format!("{value:#}")
}

fn write(to: &mut dyn Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        to.write_all(b"\n")?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn out(format: Format) -> Out {
        let paint = Paint::new(false);
        Out { format, quiet: false, paint, paint_err: paint, width: None }
    }

    fn failure() -> Failure {
        let mut failure = Failure::new(Exit::Unreachable, "cannot reach it").help("start it");
        failure.causes.push("no such file".to_owned());
        failure
    }

    #[test]
    fn a_failure_says_what_why_and_what_next() {
        assert_eq!(
            out(Format::Table).describe(&failure()),
            "error: cannot reach it\n  because: no such file\nhelp: start it"
        );
    }

    #[test]
    fn programs_read_a_failure_as_json() {
        let text = out(Format::Json).describe(&failure());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["error"]["exit"], "unreachable");
        assert_eq!(value["error"]["code"], 7);
        assert_eq!(value["error"]["help"], "start it");
    }
}
