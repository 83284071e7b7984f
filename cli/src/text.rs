//! Sizes, times and numbers as people read them.

use std::time::{Duration, SystemTime};

/// Bytes in IEC units, three digits: `1.44 MiB`.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", units[unit])
}

/// A time span, two or three digits: `16 µs`, `2.4 ms`, `31.0 s`.
pub fn span(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// The same of so many microseconds.
pub fn span_us(micros: u64) -> String {
    span(Duration::from_micros(micros))
}

/// A moment, in milliseconds since 1970: `2026-11-25T02:04:02Z (3 min ago)`, as seen `now_ms`.
pub fn moment(at_ms: u64, now_ms: u64) -> String {
    format!("{} ({})", rfc3339(at_ms), ago(at_ms, now_ms))
}

/// A moment as RFC 3339 has it, to the second.
pub fn rfc3339(at_ms: u64) -> String {
    // The last moment that is written with four digits of a year: what lies behind it is no time that a clock has shown.
    let last = 253_402_300_799_000;
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms.min(last));
    humantime::format_rfc3339_seconds(at).to_string()
}

/// How long ago a moment was, in its greatest unit: `3 min ago`.
pub fn ago(at_ms: u64, now_ms: u64) -> String {
    let (seconds, where_from) = match now_ms.checked_sub(at_ms) {
        Some(past) => (past / 1000, "ago"),
        None => ((at_ms - now_ms) / 1000, "ahead"),
    };
    let (count, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3_600 => (seconds / 60, "min"),
        3_600..86_400 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{count} {unit} {where_from}")
}

/// A number with commas: `336,776`.
pub fn number(value: impl Into<i128>) -> String {
    let value: i128 = value.into();
    let digits = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something: `1 run`, `2,000 runs`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", number(count as u64), if count == 1 { "" } else { "s" })
}

/// A long time as a whole number of its greatest unit that fits: `90 d`, `36 h`, `1500 ms`.
pub fn life(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let unit = units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "ms"));
    format!("{} {name}", millis / unit)
}

/// Text from elsewhere without what a terminal would obey: control characters are told by their names. Ends of lines stay.
pub fn plain(text: &str) -> String {
    let tell = |c: char| if c.is_control() && c != '\n' { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(tell).collect()
}

/// Columns that fit their widest cell; the first is aligned to the left, the others to the right. Two blanks stand before each line.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                line.push_str(&format!("{cell:<width$}"));
            } else {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let sizes = [0, 1023, 1024, 1_507_329, 1 << 30, (999 << 20) + (1 << 19), u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.00 KiB", "1.44 MiB", "1.00 GiB", "0.98 GiB", "16.0 EiB"]);
    }

    #[test]
    fn spans_change_their_unit() {
        let spans = [16, 2_400, 31_000, 31_000_000].map(|micros| span(Duration::from_micros(micros)));
        assert_eq!(spans, ["16 µs", "2.4 ms", "31 ms", "31.0 s"]);
    }

    #[test]
    fn moments_are_told_by_date_and_by_distance() {
        assert_eq!(moment(1_795_572_242_000, 1_795_572_442_999), "2026-11-25T02:04:02Z (3 min ago)");
        let distances =
            [0, 59_999, 60_000, 7_200_000, 200_000_000].map(|past| ago(1_000_000_000 - past, 1_000_000_000));
        assert_eq!(distances, ["0 s ago", "59 s ago", "1 min ago", "2 h ago", "2 d ago"]);
        assert_eq!(ago(65_000, 5_000), "1 min ahead");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn numbers_have_commas() {
        assert_eq!([0, 999, 336_776, -1_000].map(number), ["0", "999", "336,776", "-1,000"]);
    }

    #[test]
    fn lives_and_counts_are_whole() {
        let lives = [7_776_000_000, 129_600_000, 60_000, 1_500, 0].map(|millis| life(Duration::from_millis(millis)));
        assert_eq!(lives, ["90 d", "36 h", "1 min", "1500 ms", "0 ms"]);
        assert_eq!([0, 1, 2_000].map(|count| counted(count, "run")), ["0 runs", "1 run", "2,000 runs"]);
    }

    #[test]
    fn a_terminal_obeys_nobody_else() {
        assert_eq!(plain("a\u{1b}[31m\rb\nµ"), "a\\u{1b}[31m\\rb\nµ");
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["bcd".to_owned(), "2,000".to_owned()]];
        assert_eq!(table(&rows), "  a        1\n  bcd  2,000\n");
    }
}
