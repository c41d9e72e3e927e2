//! Tables that fit the terminal.

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Row, presets};

use super::{Paint, text::clean_line};

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// On which side a column is flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Table {
    /// Returns a table of columns of words.
    pub(crate) fn new<const N: usize>(columns: [&'static str; N]) -> Self {
        Self { columns: columns.map(|name| (name, Align::Left)).to_vec(), rows: Vec::new() }
    }

    /// Makes a column one of numbers.
    pub(crate) fn right(mut self, column: &str) -> Self {
        for (name, align) in &mut self.columns {
            if *name == column {
                *align = Align::Right;
            }
        }
        self
    }

    /// Adds rows.
    pub(crate) fn rows<const N: usize>(
        mut self,
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Self {
        self.rows.extend(rows.into_iter().map(|row| row.to_vec()));
        self
    }

    /// Writes the table, wrapped to `width` where it is known.
    pub(crate) fn render(&self, width: Option<u16>, paint: Paint) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        if paint.is_on() {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        match width {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width)
            }
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        let heads = self
            .columns
            .iter()
            .map(|(name, align)| cell(&name.to_uppercase(), *align).add_attribute(Attribute::Bold));
        table.set_header(Row::from(heads.collect::<Vec<_>>()));
        for row in &self.rows {
            let aligns = self.columns.iter().map(|(_, align)| *align);
            let cells = row.iter().zip(aligns).map(|(text, align)| cell(&clean_line(text), align));
            table.add_row(Row::from(cells.collect::<Vec<_>>()));
        }
        let last = self.columns.len().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { 2 }));
        }
        let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
        lines.collect()
    }
}

fn cell(text: &str, align: Align) -> Cell {
    let alignment = match align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    };
    Cell::new(text).set_alignment(alignment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let rows = [["app", "12"], ["a-longer-name", "3"]].map(|row| row.map(str::to_owned));
        Table::new(["name", "sites"]).right("sites").rows(rows)
    }

    #[test]
    fn columns_stand_below_their_heads() {
        assert_eq!(
            table().render(None, Paint::new(false)),
            "NAME           SITES\napp               12\na-longer-name      3\n"
        );
    }

    #[test]
    fn a_narrow_terminal_wraps_instead_of_cutting() {
        let text = table().render(Some(16), Paint::new(false));
        assert!(text.lines().all(|line| line.chars().count() <= 16), "{text}");
        let letters: String = text.split_whitespace().collect();
        assert!(letters.contains("a-longe"), "{text}");
    }

    #[test]
    fn a_cell_cannot_command_the_terminal() {
        let rows = [["\u{1b}[2J\nx".to_owned()]];
        let text = Table::new(["name"]).rows(rows).render(None, Paint::new(false));
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
