//! Text for people: tables, names and values in columns; and the way to standard output.

use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes one line.
///
/// # Errors
/// As [`print`].
pub(crate) fn line(text: impl AsRef<str>) -> anyhow::Result<()> {
    print(&format!("{}\n", text.as_ref()))
}

/// Writes a value as JSON, laid out for reading.
///
/// # Errors
/// As [`print`].
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// Text that cannot steer the terminal.
#[must_use]
pub fn shown(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

/// A text in the place of what the terminal shows: each line clears what is left of the old one, so that nothing flickers.
#[must_use]
pub(crate) fn over(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

/// Rows under headings. Columns that hold only numbers are aligned to the right.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: impl IntoIterator<Item = &'static str>) -> Self {
        Self { head: head.into_iter().collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| shown(&cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The whole of it, with a line end.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        self.render(std::io::stdout().is_terminal())
    }

    fn render(&self, styled: bool) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([self.head[column].len()]).max().unwrap_or(0)
        };
        let right = |column: usize| {
            let number = |cell: &String| cell == "-" || cell.starts_with(|c: char| c.is_ascii_digit());
            let mut cells = self.rows.iter().filter_map(|row| row.get(column)).filter(|cell| *cell != "-").peekable();
            cells.peek().is_some() && cells.all(number)
        };
        let columns: Vec<_> = (0..self.head.len()).map(|column| (width(column), right(column))).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (cell, &(width, right)) in cells.zip(&columns) {
                let pad = " ".repeat(width - cell.chars().count().min(width));
                line += &if right { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
            }
            line.trim_end().to_owned()
        };
        let head = line(&mut self.head.iter().copied());
        let mut text = if styled { format!("\x1b[1m{head}\x1b[0m\n") } else { format!("{head}\n") };
        for row in &self.rows {
            text += &line(&mut row.iter().map(String::as_str));
            text.push('\n');
        }
        text
    }
}

/// Names and values, one pair a line.
#[must_use]
pub(crate) fn pairs<N: AsRef<str>>(pairs: impl IntoIterator<Item = (N, String)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (shown(name.as_ref()), shown(&value))).collect();
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let mut table = Table::new(["NAME", "BACKLOG", "TYPE"]);
        table.row(["a".to_owned(), "1,000".to_owned(), "Shared".to_owned()]);
        table.row(["longer".to_owned(), "7".to_owned(), "-".to_owned()]);
        assert_eq!(table.render(false), "NAME    BACKLOG  TYPE\na         1,000  Shared\nlonger        7  -\n");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
    }
}
