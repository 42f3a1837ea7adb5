//! Points in time and durations as text.

use std::time::{SystemTime, UNIX_EPOCH};

/// A time by RFC 3339, in UTC with microseconds: `2024-02-29T12:34:56.000789Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    // Only a broken clock is before 1970.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The Gregorian date of a day, counted from 1970-01-01: year, month, day.
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is the last day of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + next, month, day)
}

/// A duration with three digits: `7 ns`, `48.2 µs`, `1.05 ms`, `30.0 s`.
pub(crate) fn duration(nanoseconds: u64) -> String {
    let (unit, name) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        // Rounded to three digits, the next number is 1.00 of the next unit.
        1_000..999_500 => (1e3, "µs"),
        999_500..999_500_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let number = nanoseconds as f64 / unit;
    let decimals = match number {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates() {
        // As date(1) prints them.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000789Z"),
            (951_782_399, "2000-02-28T23:59:59.000789Z"),
            (951_868_799, "2000-02-29T23:59:59.000789Z"),
            (1_709_210_096, "2024-02-29T12:34:56.000789Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000789Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000789Z"),
        ] {
            let time = UNIX_EPOCH + Duration::new(seconds, 789_999);
            assert_eq!(rfc3339(time), text);
        }
    }

    #[test]
    fn durations_have_three_digits() {
        for (nanoseconds, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (1_050, "1.05 µs"),
            (9_994, "9.99 µs"),
            (9_999, "10.0 µs"),
            (48_249, "48.2 µs"),
            (99_999, "100 µs"),
            (500_000, "500 µs"),
            (999_499, "999 µs"),
            (999_999, "1.00 ms"),
            (30_000_000_000, "30.0 s"),
            (1_234_000_000_000, "1234 s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }
}
