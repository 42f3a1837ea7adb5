//! The figures as text.

use super::{
    figures::{Events, nanoseconds},
    run::Run,
};
use crate::{
    table::{Cell, Paint, Table, line},
    time::duration,
};

/// Width of a target, in letters: with its figures a line has a hundred at most.
const NAME: usize = 40;

const PERCENTILES: &str = "\
A request asks for one link and waits for the answer; p99: 99 of 100 took that long or less.";

const SHARES: &str = "\
The median request: PING (to the stub and back), KERNEL (its sendmsg) and PROXY (the rest).";

const DUMPS: &str = "\
Dumps of all routes, one after the other: DATAGRAMS and MiB per second, ROUTES in one dump.";

const EVENTS: &str =
    "EVENTS per second of routes that come and go; LOST: dropped by the far kernel.";

/// A column: its heading, the meaning of its cells, and the cells.
struct Column {
    name: &'static str,
    paint: Paint,
    cells: Vec<String>,
}

/// Tables with a row for each target, and notes beneath.
pub(super) fn tables(runs: &[&Run], color: bool) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let column = |name, paint, cell: &dyn Fn(&Run) -> String| Column {
        name,
        paint,
        cells: runs.iter().map(|run| cell(run)).collect(),
    };
    let quantile = |name, paint, share| {
        column(name, paint, &move |run| duration(run.figures.request.quantile(share)))
    };
    let max = |run: &Run| duration(run.figures.request.max());
    let count = |run: &Run| grouped(run.figures.request.count());
    let latency = [
        quantile("p50", Paint::Bold, 0.5),
        quantile("p90", Paint::Plain, 0.9),
        quantile("p99", Paint::Plain, 0.99),
        quantile("p99.9", Paint::Plain, 0.999),
        column("max", Paint::Plain, &max),
        column("REQUESTS", Paint::Dim, &count),
    ];
    let shares = [
        column("p50", Paint::Bold, &|run| duration(run.figures.request.median())),
        column("= PING", Paint::Plain, &|run| duration(run.figures.ping.median())),
        column("+ KERNEL", Paint::Plain, &|run| duration(run.figures.kernel.median())),
        column("+ PROXY", Paint::Plain, &|run| duration(run.figures.proxy())),
        column("CONNECT", Paint::Plain, &connect),
    ];
    let mut rates = vec![
        column("DATAGRAMS/s", Paint::Bold, &|run| datagrams(run)),
        column("MiB/s", Paint::Plain, &|run| mebibytes(run)),
        column("ROUTES", Paint::Dim, &routes),
    ];
    let mut notes = vec![DUMPS.to_owned()];
    if runs.iter().any(|run| run.figures.events.is_some()) {
        rates.push(column("EVENTS/s", Paint::Bold, &events));
        rates.push(column("LOST", Paint::Dim, &lost));
        notes.push(EVENTS.to_owned());
        for run in runs {
            if let Some(Events::LeftOut(reason)) = &run.figures.events {
                notes.push(format!("No events of {}: {reason}.", run.target));
            }
        }
    }
    let names = column("TARGET", Paint::Name, &|run| run.short_name(NAME));
    let mut text = String::new();
    for (columns, notes) in [
        (latency.as_slice(), vec![PERCENTILES.to_owned()]),
        (&shares, vec![SHARES.to_owned()]),
        (&rates, notes),
    ] {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&table(&names, columns, color));
        for note in notes {
            text.push_str(&line(&[Cell::new(format!("  {note}"), Paint::Dim)], color));
            text.push('\n');
        }
    }
    text
}

/// A table with names to the left, figures to the right.
fn table(names: &Column, columns: &[Column], color: bool) -> String {
    let widths: Vec<usize> = columns.iter().map(Column::width).collect();
    let headings: Vec<String> = columns
        .iter()
        .zip(&widths)
        .map(|(column, width)| format!("{:>width$}", column.name))
        .collect();
    let headings: Vec<&str> =
        std::iter::once(names.name).chain(headings.iter().map(String::as_str)).collect();
    let mut table = Table::new(Vec::new(), &headings, color);
    for (row, name) in names.cells.iter().enumerate() {
        let mut cells = vec![Cell::new(name.clone(), names.paint)];
        for (column, width) in columns.iter().zip(&widths) {
            let text = column.cells.get(row).map(String::as_str).unwrap_or_default();
            cells.push(Cell::new(format!("{text:>width$}"), column.paint));
        }
        // Writing to memory does not fail.
        let _ = table.row(cells);
    }
    let _ = table.finish();
    String::from_utf8(std::mem::take(table.out())).unwrap_or_default()
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.chars().count());
        cells.chain([self.name.chars().count()]).max().unwrap_or_default()
    }
}

fn connect(run: &Run) -> String {
    let time = run.figures.connect.unwrap_or_default();
    duration(nanoseconds(time))
}

fn datagrams(run: &Run) -> String {
    let dump = &run.figures.dump;
    grouped(dump.per_second(dump.datagrams).round() as u64)
}

fn routes(run: &Run) -> String {
    let routes = &run.figures.routes;
    match routes.complete {
        Some(complete) => grouped(complete),
        None => format!(">{}", grouped(routes.so_far)),
    }
}

fn mebibytes(run: &Run) -> String {
    let dump = &run.figures.dump;
    format!("{:.1}", dump.per_second(dump.bytes) / f64::from(1 << 20))
}

fn events(run: &Run) -> String {
    match &run.figures.events {
        Some(Events::Measured { events, throughput, .. }) => {
            grouped(throughput.per_second(*events).round() as u64)
        }
        _ => "-".to_owned(),
    }
}

fn lost(run: &Run) -> String {
    match &run.figures.events {
        Some(Events::Measured { lost, .. }) => grouped(*lost),
        _ => "-".to_owned(),
    }
}

/// A number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
