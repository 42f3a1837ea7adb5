//! The percentiles of all targets as a picture.
//!
//! Both axes are logarithmic. Each step to the right leaves out nine tenths of the remaining
//! requests, so that the slowest ones have room of their own.

use std::{
    fmt::{self, Write},
    time::SystemTime,
};

use super::{figures::Times, run::Run};
use crate::time::{duration, rfc3339};
use netlink_remote::text::escaped;

const WIDTH: f64 = 960.0;
/// The place of the curves.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 922.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 468.0;
/// The place of the legend.
const LEGEND: f64 = 540.0;
const ROW: f64 = 24.0;
/// The column of pings in the legend.
const PING: f64 = 758.0;

/// Points of a curve on each step.
const POINTS: u32 = 60;

/// Width of a target in the legend, in letters.
const NAME: usize = 46;

/// Light and dark variants of colours that colour-blind people can distinguish (Okabe and Ito's,
/// without their yellow). More targets than colours differ by their marks.
const COLOURS: [(&str, &str); 6] = [
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff8a3d"),
    ("#009e73", "#2fd3a3"),
    ("#b5528b", "#e79ac4"),
    ("#8a6d00", "#e6c04a"),
    ("#444444", "#cccccc"),
];

/// Marks, drawn around the origin.
const MARKS: [&str; 4] =
    ["M-4 -4H4V4H-4Z", "M0 -5.5L5.5 4.5H-5.5Z", "M0 -6L6 0L0 6L-6 0Z", "M0 5.5L5.5 -4.5H-5.5Z"];

/// Draws targets that have been measured.
pub(super) fn svg(runs: &[&Run], time: SystemTime) -> String {
    let mut svg = String::new();
    // Writing to memory does not fail.
    let _ = draw(&mut svg, runs, time);
    svg
}

/// The places of times and shares.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// Logarithms of the shortest and the longest time, in nanoseconds.
    min: f64,
    max: f64,
    /// Steps on the axis of shares: the third ends at 99.9 %.
    steps: u32,
}

impl Scale {
    fn new(runs: &[&Run]) -> Self {
        let all = || runs.iter().flat_map(|run| [&run.figures.request, &run.figures.ping]);
        let min = all().map(Times::min).min().unwrap_or(1).max(1);
        let count = all().map(Times::count).max().unwrap_or(1);
        let steps = count.checked_ilog10().unwrap_or(0).clamp(2, 5);
        let max = all().map(|times| times.quantile(share(f64::from(steps))));
        let max = max.max().unwrap_or(1).max(min + 1);
        let below = ticks().filter(|tick| *tick <= min).last().unwrap_or(1);
        let above = ticks().find(|tick| *tick >= max).unwrap_or(max);
        Self { min: (below as f64).log10(), max: (above as f64).log10(), steps }
    }

    fn y(&self, time: u64) -> f64 {
        let share = ((time.max(1) as f64).log10() - self.min) / (self.max - self.min);
        BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - TOP)
    }

    fn x(&self, steps: f64) -> f64 {
        LEFT + steps / f64::from(self.steps) * (RIGHT - LEFT)
    }
}

/// 1, 2 and 5 times each power of ten: nanoseconds, up to some hours.
fn ticks() -> impl Iterator<Item = u64> {
    (0..14).flat_map(|power| [1, 2, 5].map(|step| step * 10_u64.pow(power)))
}

fn draw(svg: &mut String, runs: &[&Run], time: SystemTime) -> fmt::Result {
    let scale = Scale::new(runs);
    let height = LEGEND + ROW * runs.len() as f64 + 16.0;
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<style>"
    )?;
    style(svg)?;
    writeln!(svg, "</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>")?;
    title(svg, time)?;
    axes(svg, scale)?;
    for (number, run) in runs.iter().enumerate() {
        let class = format!("c{}", number % COLOURS.len());
        let name = escape(&run.target.to_string());
        writeln!(svg, "<g class=\"{class}\" data-target=\"{name}\">")?;
        curve(svg, scale, "ping", &run.figures.ping)?;
        curve(svg, scale, "request", &run.figures.request)?;
        marks(svg, scale, number, &run.figures.request)?;
        legend(svg, number, run)?;
        writeln!(svg, "</g>")?;
    }
    writeln!(svg, "</svg>")
}

fn style(svg: &mut String) -> fmt::Result {
    writeln!(
        svg,
        "text {{ font: 13px system-ui, 'DejaVu Sans', sans-serif; fill: #222 }}\n\
         .title {{ font-size: 18px; font-weight: 600 }}\n\
         .minor {{ fill: #666 }}\n\
         .page {{ fill: #fff }}\n\
         .grid {{ stroke: #e2e2e2; fill: none }}\n\
         .axis {{ stroke: #888; fill: none }}\n\
         .request {{ stroke-width: 2.5; fill: none; stroke-linejoin: round }}\n\
         .ping {{ stroke-width: 1.2; fill: none; stroke-dasharray: 5 3; stroke-linejoin: round }}\n\
         .mark {{ stroke: none }}"
    )?;
    for (number, (light, _)) in COLOURS.iter().enumerate() {
        writeln!(
            svg,
            ".c{number} path {{ stroke: {light} }} .c{number} .mark {{ fill: {light} }}"
        )?;
    }
    writeln!(
        svg,
        "@media (prefers-color-scheme: dark) {{\n\
         text {{ fill: #ddd }} .minor {{ fill: #999 }} .page {{ fill: #16181c }}\n\
         .grid {{ stroke: #2c3036 }} .axis {{ stroke: #777 }}"
    )?;
    for (number, (_, dark)) in COLOURS.iter().enumerate() {
        writeln!(svg, ".c{number} path {{ stroke: {dark} }} .c{number} .mark {{ fill: {dark} }}")?;
    }
    writeln!(svg, "}}")
}

fn title(svg: &mut String, time: SystemTime) -> fmt::Result {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let time = rfc3339(time);
    // To the minute.
    let time = time.get(..16).unwrap_or_default().replace('T', " ");
    let from = escape(&name.to_string_lossy());
    writeln!(
        svg,
        "<title>nlr bench: percentiles of a request's time</title>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"34\">What a netlink request costs</text>\n\
         <text class=\"minor\" x=\"{LEFT}\" y=\"56\">nlr bench on {from}, {time} UTC. Solid: one \
         link asked for, until its answer is there. Dashed: ping, to the stub and back.</text>"
    )
}

fn axes(svg: &mut String, scale: Scale) -> fmt::Result {
    for tick in ticks() {
        let power = (tick as f64).log10();
        if power < scale.min || power > scale.max {
            continue;
        }
        let y = scale.y(tick);
        writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            y + 4.5,
            // Ticks have no digits after the point.
            duration(tick).replace(".00", "").replace(".0", "")
        )?;
    }
    let half = (0.5_f64.recip().log10(), "50 %".to_owned());
    let steps = (0..=scale.steps).map(|steps| (f64::from(steps), percent(steps)));
    for (steps, label) in std::iter::once(half).chain(steps) {
        let x = scale.x(steps);
        writeln!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} {TOP}V{BOTTOM}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            BOTTOM + 20.0
        )?;
    }
    let (middle, centre) = ((TOP + BOTTOM) / 2.0, (LEFT + RIGHT) / 2.0);
    writeln!(
        svg,
        "<path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>\n\
         <text class=\"minor\" transform=\"translate(20 {middle}) rotate(-90)\" \
         text-anchor=\"middle\">time</text>\n\
         <text class=\"minor\" x=\"{centre}\" y=\"{}\" text-anchor=\"middle\">share of all \
         requests within that time (percentile)</text>",
        BOTTOM + 42.0
    )
}

/// The share at the end of a step as text: of the third, `99.9 %`.
fn percent(steps: u32) -> String {
    match steps {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        _ => format!("99.{} %", "9".repeat(steps.saturating_sub(2) as usize)),
    }
}

/// The share after so many steps.
fn share(steps: f64) -> f64 {
    1.0 - 10_f64.powf(-steps)
}

/// The end of a curve, in steps: a step needs ten times as many requests as the one before.
fn end(scale: Scale, times: &Times) -> f64 {
    (times.count().max(1) as f64).log10().min(f64::from(scale.steps))
}

fn curve(svg: &mut String, scale: Scale, class: &str, times: &Times) -> fmt::Result {
    let end = end(scale, times);
    write!(svg, "<path class=\"{class}\" d=\"M{:.1} {:.1}", scale.x(0.0), scale.y(times.min()))?;
    let points = (1..).map(|point| f64::from(point) / f64::from(POINTS));
    for steps in points.take_while(|steps| *steps < end).chain([end]) {
        write!(svg, "L{:.1} {:.1}", scale.x(steps), scale.y(times.quantile(share(steps))))?;
    }
    writeln!(svg, "\"/>")
}

fn marks(svg: &mut String, scale: Scale, number: usize, times: &Times) -> fmt::Result {
    let end = end(scale, times);
    let half = 0.5_f64.recip().log10();
    for steps in std::iter::once(half).chain((1..=scale.steps).map(f64::from)) {
        if steps <= end {
            let at = (scale.x(steps), scale.y(times.quantile(share(steps))));
            mark(svg, number, at)?;
        }
    }
    Ok(())
}

fn mark(svg: &mut String, number: usize, (x, y): (f64, f64)) -> fmt::Result {
    let shape = MARKS.get(number % MARKS.len()).copied().unwrap_or_default();
    writeln!(svg, "<path class=\"mark\" transform=\"translate({x:.1} {y:.1})\" d=\"{shape}\"/>")
}

fn legend(svg: &mut String, number: usize, run: &Run) -> fmt::Result {
    let y = LEGEND + ROW * number as f64;
    let (request, ping) = (&run.figures.request, &run.figures.ping);
    writeln!(
        svg,
        "<path class=\"request\" d=\"M{LEFT} {y}h34\"/>\n\
         <path class=\"ping\" d=\"M{PING} {y}h34\"/>\n\
         <text x=\"{}\" y=\"{text}\">{}\
         <tspan class=\"minor\" dx=\"12\">50 %: {}, 99 %: {}</tspan></text>\n\
         <text class=\"minor\" x=\"{}\" y=\"{text}\">ping 50 %: {}</text>",
        LEFT + 44.0,
        escape(&run.short_name(NAME)),
        duration(request.median()),
        duration(request.quantile(0.99)),
        PING + 44.0,
        duration(ping.median()),
        text = y + 4.5,
    )?;
    mark(svg, number, (LEFT + 17.0, y))
}

/// Text in XML, inside quotes too. XML has no control characters: they, and invisible characters,
/// become visible escapes.
fn escape(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for letter in escaped(text).chars() {
        match letter {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\'' => xml.push_str("&#39;"),
            // No characters of XML either.
            '\u{fffe}' | '\u{ffff}' => xml.push('\u{fffd}'),
            letter => xml.push(letter),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        assert_eq!(escape("exec:a<b>&\"c'\n"), "exec:a&lt;b&gt;&amp;&quot;c&#39;\\n");
        assert_eq!(escape("a\u{202e}b\u{ffff}"), "a\\u{202e}b\u{fffd}");
    }

    #[test]
    fn shares_and_their_names() {
        let names: Vec<_> = (0..5).map(percent).collect();
        assert_eq!(names, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!((share(3.0) - 0.999).abs() < 1e-9 && share(0.0).abs() < 1e-9);
    }

    #[test]
    fn longer_is_higher_and_rarer_is_further() {
        let scale = Scale { min: 3.0, max: 6.0, steps: 4 };
        assert_eq!((scale.y(1_000), scale.y(1_000_000)), (BOTTOM, TOP));
        assert!(scale.y(5_000) > scale.y(6_000));
        assert_eq!((scale.x(0.0), scale.x(4.0)), (LEFT, RIGHT));
    }
}
