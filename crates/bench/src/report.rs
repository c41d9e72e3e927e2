//! What a figure prints: a table as it stands in `docs/benchmarks.md`, and the same as JSON.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use serde_json::{Map, Value, json};

use crate::samples::Samples;

/// A table with its title and what is to be said beside it.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    notes: Vec<String>,
    faults: Vec<String>,
}

/// What stands in one place of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Words.
    Text(String),
    /// How many.
    Count(u64),
    /// How long.
    Time(Duration),
    /// How much memory, in KiB.
    Memory(u64),
    /// How much memory, in bytes.
    Bytes(u64),
    /// How much time for each of many.
    Cost(Duration),
    /// How many times as much.
    Ratio(f64),
    /// Not measured.
    Nothing,
}

impl Report {
    /// Returns a table without rows.
    pub(crate) fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        let columns = columns.to_vec();
        let title = title.into();
        Self { title, columns, rows: Vec::new(), notes: Vec::new(), faults: Vec::new() }
    }

    /// Adds a row, and tells it to whoever waits.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        let told = self.columns.iter().zip(&cells).map(|(name, cell)| format!("{name} {cell}"));
        say(&format!("  {}", told.collect::<Vec<_>>().join(", ")));
        self.rows.push(cells);
    }

    /// Adds a sentence below the table.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Notes what is wrong with what was measured; then the run fails when all is told.
    pub(crate) fn faults(&mut self, faults: impl IntoIterator<Item = String>) {
        self.faults.extend(faults);
    }

    /// Prints the table, and the same as one line of JSON. What is wrong is an error.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", self.markdown())?;
        writeln!(out, "{}", self.json())?;
        out.flush()?;
        anyhow::ensure!(self.faults.is_empty(), "{}", self.faults.join("\n"));
        Ok(())
    }

    fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("### {}\n\n", self.title);
        text += &line(self.columns.iter().map(|&name| name.to_owned()).collect());
        text += "|";
        text += &"---|".repeat(self.columns.len());
        text += "\n";
        for row in &self.rows {
            text += &line(row.iter().map(ToString::to_string).collect());
        }
        for note in &self.notes {
            text.extend(["\n", note, "\n"]);
        }
        text
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| {
            let fields = self.columns.iter().zip(row);
            fields.map(|(name, cell)| ((*name).to_owned(), cell.json())).collect::<Map<_, _>>()
        };
        let rows: Vec<_> = self.rows.iter().map(object).collect();
        json!({ "title": self.title, "rows": rows, "notes": self.notes })
    }
}

impl Cell {
    /// Returns words.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Returns a number of things.
    pub(crate) fn count(count: usize) -> Self {
        Self::Count(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Returns how many times as much one amount is as another.
    #[expect(clippy::cast_precision_loss, reason = "three digits of it are told")]
    pub(crate) fn ratio(amount: u64, other: u64) -> Self {
        Self::Ratio(amount as f64 / other as f64)
    }

    /// Returns number, median, 99th percentile and maximum, for four columns.
    pub(crate) fn of(samples: &Samples) -> [Self; 4] {
        let time = |duration: Option<Duration>| duration.map_or(Self::Nothing, Self::Time);
        [
            Self::count(samples.count()),
            time(samples.percentile(50)),
            time(samples.percentile(99)),
            time(samples.longest()),
        ]
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Count(count) => json!(count),
            Self::Time(duration) => json!({ "ms": duration.as_secs_f64() * 1000.0 }),
            Self::Memory(kib) => json!({ "kib": kib }),
            Self::Bytes(bytes) => json!({ "bytes": bytes }),
            Self::Cost(cost) => json!({ "us": cost.as_secs_f64() * 1e6 }),
            Self::Ratio(ratio) => json!(ratio),
            Self::Nothing => Value::Null,
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Count(count) => f.write_str(&grouped(*count)),
            Self::Time(duration) => write!(f, "{:.1} ms", duration.as_secs_f64() * 1000.0),
            Self::Memory(kib) => write!(f, "{}.{} MiB", kib / 1024, (kib % 1024) * 10 / 1024),
            Self::Bytes(bytes) => write!(f, "{}.{} KiB", bytes / 1024, (bytes % 1024) * 10 / 1024),
            Self::Cost(cost) => write!(f, "{:.1} µs", cost.as_secs_f64() * 1e6),
            Self::Ratio(ratio) => write!(f, "{ratio:.2}"),
            Self::Nothing => f.write_str("–"),
        }
    }
}

/// Writes a number with a comma before every third digit.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Tells those who wait what goes on.
#[expect(clippy::print_stderr, reason = "the one place that speaks beside the results")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table_and_json() {
        let mut report = Report::new("Things", &["what", "many", "long", "large"]);
        report.row([
            Cell::text("one"),
            Cell::Count(12_345),
            Cell::Time(Duration::from_micros(1_250)),
            Cell::Memory(1_536),
        ]);
        report.row([
            Cell::text("two"),
            Cell::Cost(Duration::from_nanos(13_460)),
            Cell::ratio(3, 2),
            Cell::Bytes(1_536),
        ]);
        report.note("So it is.");

        let text = report.markdown();
        assert!(text.contains("| what | many | long | large |\n|---|---|---|---|\n"), "{text}");
        assert!(
            text.contains(
                "| one | 12,345 | 1.2 ms | 1.5 MiB |\n| two | 13.5 µs | 1.50 | 1.5 KiB |"
            ),
            "{text}"
        );
        assert!(text.ends_with("So it is.\n"), "{text}");
        let json = report.json();
        assert_eq!(json["rows"][0]["many"], 12_345);
        assert_eq!(json["rows"][0]["long"]["ms"], 1.25);
        assert_eq!(json["rows"][1]["long"], 1.5);
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        let texts = [0, 7, 999, 1_000, 100_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "7", "999", "1,000", "100,000", "1,234,567"]);
    }
}
