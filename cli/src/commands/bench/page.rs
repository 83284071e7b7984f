//! The report as one page that needs nothing else: style and charts stand in it, for light and for dark.

use super::chart::{Bar, Scale, bars, curve, escaped};
use super::report::{CheckpointLine, LatencyNs, Report, micros, nanos, place};
use crate::text::{number, size};

const STYLE: &str = "
:root { color-scheme: light dark; --back: #fbfbf9; --text: #1d2329; --dim: #66707a; --line: #dfe2e4; --main: #1f6f8b; \
--soft: #1f6f8b22; --mark: #c26a1b; --card: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --back: #14181b; --text: #e6e8ea; --dim: #98a2ab; --line: #2c3338; \
--main: #63b7d1; --soft: #63b7d122; --mark: #e09a52; --card: #1a1f23; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 3rem; max-width: 48rem; background: var(--back); color: var(--text); \
font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.05rem; margin: 0 0 .25rem; }
p { margin: 0 0 1rem; color: var(--dim); overflow-wrap: anywhere; }
section { margin: 1.25rem 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
section p { font-size: .875rem; margin: 0 0 .5rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1rem; margin: 1.5rem 0 0; }
dt { color: var(--dim); font-size: .8125rem; } dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--dim); font-variant-numeric: tabular-nums; }
.grid { stroke: var(--line); } .mark { stroke: var(--mark); stroke-dasharray: 2 3; }
.curve { fill: none; stroke: var(--main); stroke-width: 2; stroke-linejoin: round; } .area { fill: var(--soft); }
.dot { fill: transparent; } .bar { fill: var(--main); }
.dot:hover { fill: var(--main); } .bar:hover { fill: var(--mark); }
";

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut body = head(report);
    body += &section(
        "Throughput",
        "Updates a second, over time. Where a checkpoint began, a dashed line stands.",
        &throughput(report),
    );
    body += &section(
        "Latency of an update",
        "What so many of all updates did not exceed, with the pauses of checkpoints. Each line is ten times the one below.",
        &latency(&report.updates.latency_ns),
    );
    let each = |scale: Scale, of: fn(&CheckpointLine) -> u64, told: fn(u64) -> String| {
        let bar =
            |line: &CheckpointLine| Bar { name: line.checkpoint.clone(), value: of(line) as f64, told: told(of(line)) };
        bars(&report.checkpoints.each.iter().map(bar).collect::<Vec<_>>(), scale, |value| told(value as u64))
    };
    body += &section(
        "Pause of each checkpoint",
        "What the operator waits for: the state is frozen, and it goes on.",
        &each(Scale::FromZero, |line| line.pause_us, micros),
    );
    let first = size(report.checkpoints.first.uploaded_bytes);
    body += &section(
        "Bytes uploaded for each checkpoint",
        &format!("What was not in the repo yet. The first one, before the updates, has everything: {first}."),
        &each(Scale::BytesFromZero, |line| line.uploaded_bytes, size),
    );
    body += &section(
        "Duration of each checkpoint",
        "From its beginning until it exists.",
        &each(Scale::FromZero, |line| line.took_us, micros),
    );
    body += &section(
        "Restore",
        &format!(
            "Of checkpoint {}, {} of runs: lazily, it serves before all is local; else it serves when all is.",
            report.restore.checkpoint,
            size(report.restore.bytes)
        ),
        &restore(report),
    );
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>bedload bench</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n\
         </html>\n"
    )
}

fn head(report: &Report) -> String {
    let Report { updates, checkpoints, restore, .. } = report;
    let words = format!(
        "{} keys with a counter each, {} of memory, {} processors, bedload {}. State in {}; repo {}.",
        number(report.keys),
        size(report.memory_bytes),
        report.processors,
        report.version,
        report.directory,
        place(report)
    );
    let figures = [
        ("updates a second", number(updates.per_s.round() as i64)),
        ("p99 of an update", nanos(updates.latency_ns.p99)),
        ("pause, p99", micros(checkpoints.pause_us.p99)),
        ("uploaded, p50", size(checkpoints.uploaded_bytes.p50)),
        ("first get, lazily", micros(restore.lazy_first_get_us)),
        ("restored equal", if report.equal { "yes" } else { "no" }.to_owned()),
    ];
    let figure = |(name, value): &(&str, String)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escaped(value));
    let figures: String = figures.iter().map(figure).collect();
    format!("<h1>bedload bench</h1>\n<p>{}</p>\n<dl>{figures}</dl>\n", escaped(&words))
}

fn section(title: &str, words: &str, chart: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n<p>{}</p>\n{chart}\n</section>\n", escaped(title), escaped(words))
}

fn throughput(report: &Report) -> String {
    let seconds = |ms: u64| ms as f64 / 1e3;
    // A point stands in the middle of its part of the time.
    let points: Vec<(f64, f64)> =
        report.updates.throughput.iter().map(|rate| (seconds(rate.from_ms + 125), rate.updates_per_s)).collect();
    let mark = |line: &CheckpointLine| (seconds(line.at_ms), format!("checkpoint {}", line.checkpoint));
    let marks: Vec<(f64, String)> = report.checkpoints.each.iter().map(mark).collect();
    curve(&points, &marks, |value| number(value.round() as i64))
}

fn latency(latency: &LatencyNs) -> String {
    let LatencyNs { p50, p90, p99, p99_9, p99_99, max } = *latency;
    let shares = [("p50", p50), ("p90", p90), ("p99", p99), ("p99.9", p99_9), ("p99.99", p99_99), ("max", max)];
    let shares = shares.map(|(name, ns)| Bar { name: name.to_owned(), value: ns as f64, told: nanos(ns) });
    bars(&shares, Scale::Tenfold, |ns| nanos(ns as u64))
}

fn restore(report: &Report) -> String {
    let restore = &report.restore;
    let steps = [
        ("lazily: first get", restore.lazy_first_get_us),
        ("lazily: all local", restore.lazy_all_local_us),
        ("as a whole: first get", restore.eager_first_get_us),
    ];
    let steps = steps.map(|(name, us)| Bar { name: name.to_owned(), value: us as f64, told: micros(us) });
    bars(&steps, Scale::FromZero, |us| micros(us as u64))
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::example;
    use super::*;

    #[test]
    fn a_page_needs_nothing_else_and_quotes_what_it_shows() {
        let page = page(&example());
        assert_eq!(page.matches("<svg").count(), 6);
        for foreign in ["http", "src=", "href", "<script", "@import", "url(", "<state>"] {
            assert!(!page.contains(foreign), "{foreign:?} stands in the page");
        }
        assert!(page.contains("/var/lib/&lt;state&gt;") && page.contains("prefers-color-scheme: dark"));
        for told in ["1,000,000", "p99.99", "640 ns", "checkpoint 1-2", "2.00 MiB", "lazily: all local"] {
            assert!(page.contains(told), "{told:?} is missing");
        }
    }
}
