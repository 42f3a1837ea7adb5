//! Text in aligned columns, optionally in colour.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use anstyle::{AnsiColor, Style};

use netlink_remote::text::escaped;

/// Rows that determine the widths of the columns. A wider cell in a later row moves the rest of
/// its line to the right.
const SAMPLE: usize = 512;

/// Bytes of those rows, at most: rows of long cells are fewer.
const SAMPLE_BYTES: usize = 1 << 20;

/// Letters of a line of words.
const NOTE: usize = 80;

/// Upper limit for the width of a column.
const WIDEST: usize = 48;

/// The meaning of a cell, shown as a colour: the colours of `ip -color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// No meaning.
    Plain,
    /// Secondary.
    Dim,
    /// Primary.
    Bold,
    /// The name of a link.
    Name,
    /// An IPv4 address.
    Inet,
    /// An IPv6 address.
    Inet6,
    /// A link-layer address.
    LinkAddress,
    /// A good state.
    Good,
    /// A bad state.
    Bad,
}

impl Paint {
    /// The style on a terminal.
    fn style(self) -> Style {
        let style = Style::new();
        let colour = |colour: AnsiColor| style.fg_color(Some(colour.into()));
        match self {
            Self::Plain => style,
            Self::Dim => style.dimmed(),
            Self::Bold => style.bold(),
            Self::Name => colour(AnsiColor::Cyan),
            Self::Inet => colour(AnsiColor::Magenta),
            Self::Inet6 => colour(AnsiColor::Blue),
            Self::LinkAddress => colour(AnsiColor::Yellow),
            Self::Good => colour(AnsiColor::Green),
            Self::Bad => colour(AnsiColor::Red),
        }
    }
}

/// A text with a meaning, harmless on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    /// A cell. Control, bidirectional and invisible characters, which the name or alias of a link
    /// may hold, become visible escapes.
    pub(crate) fn new(text: String, paint: Paint) -> Self {
        let text = match escaped(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(escaped) => escaped,
        };
        Self { text, paint }
    }

    /// A cell without a meaning.
    pub(crate) fn plain(text: String) -> Self {
        Self::new(text, Paint::Plain)
    }

    /// A cell with an address or a prefix.
    pub(crate) fn address(text: String) -> Self {
        let paint = match text.as_str() {
            "all" | "default" => Paint::Plain,
            address if address.contains(':') => Paint::Inet6,
            _ => Paint::Inet,
        };
        Self::new(text, paint)
    }

    /// Writes the text, optionally in colour.
    fn write(&self, out: &mut impl Write, color: bool) -> io::Result<()> {
        let style = self.paint.style();
        if color && style != Style::new() && !self.text.is_empty() {
            write!(out, "{style}{}{style:#}", self.text)
        } else {
            out.write_all(self.text.as_bytes())
        }
    }
}

/// One line of the cells that are not empty, separated by spaces.
pub(crate) fn line(cells: &[Cell], color: bool) -> String {
    let mut line = Vec::new();
    for cell in cells.iter().filter(|cell| !cell.text.is_empty()) {
        let separator: &[u8] = if line.is_empty() { b"" } else { b" " };
        // Writing to memory does not fail.
        let _ = line.write_all(separator).and_then(|()| cell.write(&mut line, color));
    }
    String::from_utf8(line).unwrap_or_default()
}

/// Cells for [`line()`]: in front of each that is not empty stands the name of its column, except
/// for the first column and the details.
pub(crate) fn labelled(columns: &[&str], cells: Vec<Cell>) -> Vec<Cell> {
    let mut labelled = Vec::new();
    for (position, (name, cell)) in columns.iter().zip(cells).enumerate() {
        if position != 0 && *name != "DETAILS" && !cell.text.is_empty() {
            labelled.push(Cell::new(name.to_lowercase(), Paint::Dim));
        }
        labelled.push(cell);
    }
    labelled
}

/// A text in so many letters: if need be its beginning and its end.
pub(crate) fn shortened(text: &str, letters: usize) -> String {
    let text: Vec<char> = text.chars().collect();
    if text.len() <= letters {
        return text.into_iter().collect();
    }
    let end = letters / 2;
    let beginning = text.iter().take(letters.saturating_sub(end + 1));
    beginning.chain(['…'].iter()).chain(text.iter().skip(text.len() - end)).collect()
}

/// A line of a table.
#[derive(Debug)]
enum Line {
    Row(Vec<Cell>),
    Note(String),
}

impl Line {
    fn row(&self) -> Option<&Vec<Cell>> {
        match self {
            Self::Row(row) => Some(row),
            Self::Note(_) => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Row(row) => row.iter().map(|cell| cell.text.len()).sum(),
            Self::Note(text) => text.len(),
        }
    }
}

/// A table, written while its rows are added.
#[derive(Debug)]
pub(crate) struct Table<W> {
    out: W,
    color: bool,
    widths: Vec<usize>,
    /// The heading and the first lines, until they have determined the widths.
    sample: Option<Vec<Line>>,
    /// The columns that the sample leaves empty and that are therefore not shown, by their names. A later
    /// cell of such a column is shown with its name.
    hidden: Vec<Option<String>>,
    /// Whether empty columns are left out.
    hides: bool,
    /// Bytes of the sample's cells.
    sample_bytes: usize,
}

impl<W: Write> Table<W> {
    /// A table without rows.
    pub(crate) fn new(out: W, columns: &[&str], color: bool) -> Self {
        let heading: Vec<_> =
            columns.iter().map(|name| Cell::new((*name).to_owned(), Paint::Dim)).collect();
        Self {
            out,
            color,
            widths: vec![0; columns.len()],
            sample: Some(vec![Line::Row(heading)]),
            hidden: vec![None; columns.len()],
            hides: false,
            sample_bytes: 0,
        }
    }

    /// Leaves out the columns that are empty in all of the first rows, if there is a row.
    pub(crate) fn without_empty_columns(self) -> Self {
        Self { hides: true, ..self }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, row: Vec<Cell>) -> io::Result<()> {
        self.add(Line::Row(row))
    }

    /// Adds lines of words below a row, each line up to [`NOTE`] letters.
    pub(crate) fn note(&mut self, words: &[String]) -> io::Result<()> {
        let mut line = String::new();
        for word in words {
            let word = escaped(word);
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > NOTE {
                self.add(Line::Note(std::mem::take(&mut line)))?;
            }
            line.push_str(if line.is_empty() { "    " } else { " " });
            line.push_str(&word);
        }
        if line.is_empty() { Ok(()) } else { self.add(Line::Note(line)) }
    }

    fn add(&mut self, line: Line) -> io::Result<()> {
        match &mut self.sample {
            Some(sample) if sample.len() < SAMPLE && self.sample_bytes < SAMPLE_BYTES => {
                self.sample_bytes += line.bytes();
                sample.push(line);
            }
            Some(_) => {
                self.settle()?;
                self.write(&line)?;
            }
            None => self.write(&line)?,
        }
        Ok(())
    }

    /// The writer, which has all rows but those of the sample.
    pub(crate) fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Writes the remaining rows.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.settle()?;
        self.out.flush()
    }

    /// Determines the widths and writes the rows of the sample.
    fn settle(&mut self) -> io::Result<()> {
        let sample = self.sample.take().unwrap_or_default();
        let rows = || sample.iter().filter_map(Line::row);
        if self.hides && rows().nth(1).is_some() {
            let is_empty = |column: usize| {
                rows().skip(1).all(|row| row.get(column).is_none_or(|cell| cell.text.is_empty()))
            };
            let heading = rows().next().into_iter().flatten().enumerate();
            let hidden =
                heading.map(|(column, name)| is_empty(column).then(|| name.text.to_lowercase()));
            self.hidden = hidden.collect();
        }
        for row in rows() {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count()).min(WIDEST);
            }
        }
        sample.iter().enumerate().try_for_each(|(at, line)| match (at, line) {
            (0, Line::Row(heading)) => {
                let shown = heading.iter().zip(&self.hidden);
                let blank = |(cell, hidden): (&Cell, &Option<_>)| match hidden {
                    Some(_) => Cell::plain(String::new()),
                    None => cell.clone(),
                };
                let heading = shown.map(blank).collect();
                self.write(&Line::Row(heading))
            }
            (_, line) => self.write(line),
        })
    }

    /// Writes a line without trailing spaces.
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let row = match line {
            Line::Row(row) => row,
            Line::Note(text) => return writeln!(self.out, "{text}"),
        };
        let last = row.iter().rposition(|cell| !cell.text.is_empty());
        let used = last.map_or(0, |last| last + 1);
        for (position, (cell, width)) in row.iter().zip(&self.widths).take(used).enumerate() {
            if let Some(Some(name)) = self.hidden.get(position) {
                if cell.text.is_empty() {
                    continue;
                }
                write!(self.out, "{name} ")?;
            }
            cell.write(&mut self.out, self.color)?;
            if Some(position) != last {
                let gap = width.saturating_sub(cell.text.chars().count()) + 2;
                write!(self.out, "{:gap$}", "")?;
            }
        }
        writeln!(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Paint, SAMPLE, SAMPLE_BYTES, Table, line, shortened};

    fn plain(texts: &[&str]) -> Vec<Cell> {
        texts.iter().map(|text| Cell::plain((*text).to_owned())).collect()
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let mut table = Table::new(Vec::new(), &["A", "B", "C"], false);
        table.row(plain(&["long", "", "x"])).unwrap();
        table.row(plain(&["s", "t", ""])).unwrap();
        table.row(plain(&[])).unwrap();
        table.finish().unwrap();
        let text = String::from_utf8(table.out).unwrap();
        assert_eq!(text, "A     B  C\nlong     x\ns     t\n\n");
    }

    #[test]
    fn a_column_that_is_empty_is_not_shown() {
        let mut table = Table::new(Vec::new(), &["A", "SRC", "C"], false).without_empty_columns();
        table.row(plain(&["long", "", "x"])).unwrap();
        table.note(&["one".to_owned(), "x".repeat(70), "two".to_owned()]).unwrap();
        for _ in 0..SAMPLE {
            table.row(plain(&["s", "", "t"])).unwrap();
        }
        table.row(plain(&["s", "late", "t"])).unwrap();
        table.finish().unwrap();
        let text = String::from_utf8(table.out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let note = format!("    one {}", "x".repeat(70));
        assert_eq!(lines[..5], ["A     C", "long  x", &note, "    two", "s     t"]);
        assert_eq!(*lines.last().unwrap(), "s     src late  t");
    }

    #[test]
    fn rows_after_the_sample_are_written_at_once() {
        let mut table = Table::new(Vec::new(), &["A"], false);
        for _ in 0..SAMPLE + 10 {
            table.row(plain(&["row"])).unwrap();
        }
        assert!(table.sample.is_none() && !table.out.is_empty());
        table.finish().unwrap();
        assert_eq!(String::from_utf8(table.out).unwrap().lines().count(), SAMPLE + 11);
    }

    #[test]
    fn a_sample_of_long_cells_ends_early() {
        let mut table = Table::new(Vec::new(), &["A"], false);
        let long = "x".repeat(SAMPLE_BYTES / 4);
        for _ in 0..6 {
            table.row(plain(&[&long])).unwrap();
        }
        assert!(table.sample.is_none());
    }

    #[test]
    fn a_long_text_is_shown_by_its_ends() {
        let target = "ssh://ci@gateway,ssh://ci@test01,sudo:";
        assert_eq!(shortened(target, 38), target);
        assert_eq!(shortened(target, 20), "ssh://ci@…st01,sudo:");
        assert_eq!(shortened(target, 21).chars().count(), 21);
    }

    #[test]
    fn names_do_not_control_the_terminal() {
        let cell = Cell::new("a\u{202e}b\u{200b}".to_owned(), Paint::Name);
        assert_eq!(line(&[cell], false), "a\\u{202e}b\\u{200b}");
        let cell = Cell::new("a\u{1b}[2Jb".to_owned(), Paint::Name);
        assert_eq!(line(std::slice::from_ref(&cell), false), "a\\u{1b}[2Jb");
        assert_eq!(line(&[cell], true), "\u{1b}[36ma\\u{1b}[2Jb\u{1b}[0m");
    }
}
