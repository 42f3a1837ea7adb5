//! Progress bars on standard error, and lines that do not run into them.

use std::{
    io::{self, Write},
    sync::LazyLock,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// All bars on the screen. Nothing is drawn where standard error is no terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A bar of so many steps, removed from the screen when it is dropped.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Shows a bar. `template` is of [`ProgressStyle`].
    pub(crate) fn new(steps: u64, template: &str) -> Self {
        let bar = ProgressBar::hidden();
        bar.set_length(steps);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(BARS.add(bar))
    }

    pub(crate) fn set_message(&self, text: String) {
        self.0.set_message(text);
    }

    pub(crate) fn advance(&self) {
        self.0.inc(1);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        BARS.remove(&self.0);
    }
}

/// Writes a line to standard error, above the bars.
pub(crate) fn print_line(line: &str) {
    // A standard error that cannot be written leaves no place for the message.
    BARS.suspend(|| {
        let _ = writeln!(io::stderr(), "{line}");
    });
}
