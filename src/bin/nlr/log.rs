//! `-v` and `-vv`: the library's tracing events, one line each on standard error.
//!
//! ```text
//! [0.419s transport::ssh] connect{to=ssh://ci@test01}: connected by TCP address=10.2.0.2:22
//! ```
//!
//! The library records no secret. Texts of the far end are in the events as they came, and are
//! made harmless here.

use std::{
    fmt::{self, Write},
    io,
    time::Instant,
};

use anstyle::Style;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter, format::Writer, layer,
    },
    layer::SubscriberExt,
    registry::{LookupSpan, Registry},
    util::SubscriberInitExt,
};

use super::{failure::Failure, progress};
use netlink_remote::text::one_line;

/// The crate whose events `-v` shows.
const LIBRARY: &str = "netlink_remote";

/// Filters instead of `-v`, such as `netlink_remote::transport=trace`.
const VARIABLE: &str = "NLR_LOG";

/// Starts the log: level debug for `-v`, trace for more, and without `-v` the filters of
/// `NLR_LOG`. Without any of them tracing stays off, and costs nothing.
pub(crate) fn start(verbosity: u8) -> Result<(), Failure> {
    let filter = match verbosity {
        0 => match std::env::var_os(VARIABLE).filter(|filters| !filters.is_empty()) {
            None => return Ok(()),
            Some(filters) => {
                filters.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
                    Failure::usage(format_args!(
                        "{VARIABLE}: expected filters of tracing, such as `{LIBRARY}=debug`"
                    ))
                })?
            }
        },
        1 => Targets::new().with_target(LIBRARY, LevelFilter::DEBUG),
        _ => Targets::new().with_target(LIBRARY, LevelFilter::TRACE),
    };
    let choice = anstream::AutoStream::choice(&io::stderr());
    let format = Format { start: Instant::now(), color: choice != anstream::ColorChoice::Never };
    let lines = layer().with_ansi(false).event_format(format).with_writer(Stderr);
    // Fails only for a second subscriber, and this is the first.
    let _ = Registry::default().with(filter).with(lines).try_init();
    Ok(())
}

/// The layout of a line.
struct Format {
    start: Instant,
    color: bool,
}

impl Format {
    /// Time since the start and the module of the library, as far as its second level.
    fn head(&self, module: &str) -> String {
        let module = module.strip_prefix(LIBRARY).unwrap_or(module).trim_start_matches("::");
        let end = module.match_indices("::").nth(1).map_or(module.len(), |(end, _)| end);
        let module = module.get(..end).unwrap_or_default();
        let gap = if module.is_empty() { "" } else { " " };
        let time = self.start.elapsed().as_secs_f64();
        let style = if self.color { Style::new().dimmed() } else { Style::new() };
        format!("{style}[{time:.3}s{gap}{module}]{style:#}")
    }
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            text.push_str(span.name());
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(text, "{{{fields}}}")?;
            }
            text.push_str(": ");
        }
        context.field_format().format_fields(Writer::new(&mut text), event)?;
        write!(writer, "{} {}", self.head(event.metadata().target()), one_line(&text))
    }
}

/// Standard error, below the progress bars.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl io::Write for Stderr {
    /// Takes a whole line: the layer hands over each event at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        progress::print_line(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_time_and_the_module() {
        let head = |color, module| Format { start: Instant::now(), color }.head(module);
        assert_eq!(head(false, "netlink_remote::transport::ssh::tcp"), "[0.000s transport::ssh]");
        assert_eq!(head(false, "netlink_remote::frames"), "[0.000s frames]");
        assert_eq!(head(false, "netlink_remote"), "[0.000s]");
        assert_eq!(head(true, "nlr"), "\u{1b}[2m[0.000s nlr]\u{1b}[0m");
    }
}
