//! Results over the number of keys as a drawing: what an operation costs as the state outgrows memory.
//!
//! One panel for each cost, both axes logarithmic; a colour for each workload, a dash for each store.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::record::Record;
use crate::table::median;

/// What a panel shows.
struct Panel {
    title: &'static str,
    value: fn(&Record) -> Option<f64>,
}

const PANELS: [Panel; 3] = [
    Panel { title: "time, ns an operation", value: |record| record.figures.get("ns").copied() },
    Panel {
        title: "processor time until settled, ns an operation",
        value: |record| Some(record.costs.cpu_settled_seconds * 1e9 / record.operations.max(1) as f64),
    },
    Panel {
        title: "written until settled, bytes an operation",
        value: |record| Some(record.costs.written_settled_bytes as f64 / record.operations.max(1) as f64),
    },
];
const COLOURS: [&str; 6] = ["#1b6ca8", "#d1495b", "#2e933c", "#8f5bb5", "#c9822b", "#4d4d4d"];
const DASHES: [&str; 4] = ["", "6 4", "2 3", "8 3 2 3"];
const PANEL_WIDTH: f64 = 330.0;
const PANEL_HEIGHT: f64 = 300.0;
/// Around the axes of a panel.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 40.0;
const LEGEND_LINE: f64 = 18.0;

/// A curve: one store at one workload.
type Curves<'a> = BTreeMap<(&'a str, &'a str), Vec<(f64, f64)>>;

/// The drawing, as SVG. Workloads and stores are those of the records, which were made at one budget.
pub fn render(records: &[Record]) -> String {
    let names = |name: fn(&Record) -> &str| {
        let mut names: Vec<&str> = records.iter().map(name).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let (stores, workloads) = (names(|record| &record.store), names(|record| &record.workload));
    let legend = stores.len().max(workloads.len()) as f64 * LEGEND_LINE + 12.0;
    let (width, height) = (PANEL_WIDTH * PANELS.len() as f64, PANEL_HEIGHT + legend);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, panel) in PANELS.iter().enumerate() {
        let curves = curves(records, panel.value);
        draw_panel(&mut svg, number as f64 * PANEL_WIDTH, panel.title, &curves, &stores, &workloads);
    }
    for (number, workload) in workloads.iter().enumerate() {
        let y = PANEL_HEIGHT + (number as f64 + 0.7) * LEGEND_LINE;
        line(&mut svg, [LEFT, y - 4.0, LEFT + 34.0, y - 4.0], COLOURS[number % COLOURS.len()], "", 2.0);
        text(&mut svg, LEFT + 42.0, y, "start", workload);
    }
    for (number, store) in stores.iter().enumerate() {
        let y = PANEL_HEIGHT + (number as f64 + 0.7) * LEGEND_LINE;
        let x = PANEL_WIDTH + LEFT;
        line(&mut svg, [x, y - 4.0, x + 34.0, y - 4.0], "#444", DASHES[number % DASHES.len()], 2.0);
        text(&mut svg, x + 42.0, y, "start", store);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Medians over the number of keys. Less than one is left out: it is nothing, and would take the room of the others.
fn curves(records: &[Record], value: fn(&Record) -> Option<f64>) -> Curves<'_> {
    let mut values: BTreeMap<(&str, &str, u64), Vec<f64>> = BTreeMap::new();
    for record in records {
        if let Some(value) = value(record).filter(|value| *value >= 1.0) {
            values.entry((&record.store, &record.workload, record.keys)).or_default().push(value);
        }
    }
    let mut curves = Curves::new();
    for ((store, workload, keys), values) in values {
        curves.entry((store, workload)).or_default().push((keys as f64, median(values)));
    }
    curves
}

fn draw_panel(svg: &mut String, left: f64, title: &str, curves: &Curves<'_>, stores: &[&str], workloads: &[&str]) {
    let points = || curves.values().flatten();
    let Some(x_span) = span(points().map(|point| point.0)) else { return };
    let Some(y_span) = span(points().map(|point| point.1)) else { return };
    let (inner_width, inner_height) = (PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM);
    let place = |value: f64, (low, high): (f64, f64)| (value.log10() - low) / (high - low);
    let x = |value: f64| left + LEFT + place(value, x_span) * inner_width;
    let y = |value: f64| TOP + (1.0 - place(value, y_span)) * inner_height;
    text(svg, left + LEFT, 18.0, "start", title);
    for tick in ticks(y_span) {
        line(svg, [left + LEFT, y(tick), left + PANEL_WIDTH - RIGHT, y(tick)], "#ddd", "", 1.0);
        text(svg, left + LEFT - 6.0, y(tick) + 4.0, "end", &short(tick));
    }
    let mut keys: Vec<f64> = points().map(|point| point.0).collect();
    keys.sort_by(f64::total_cmp);
    keys.dedup();
    for keys in keys {
        line(svg, [x(keys), TOP, x(keys), PANEL_HEIGHT - BOTTOM], "#eee", "", 1.0);
        text(svg, x(keys), PANEL_HEIGHT - BOTTOM + 16.0, "middle", &short(keys));
    }
    text(svg, left + LEFT + inner_width / 2.0, PANEL_HEIGHT - 8.0, "middle", "keys");
    for ((store, workload), points) in curves {
        let number = |names: &[&str], name: &str| names.iter().position(|other| *other == name).unwrap_or(0);
        let colour = COLOURS[number(workloads, workload) % COLOURS.len()];
        let dash = DASHES[number(stores, store) % DASHES.len()];
        for pair in points.windows(2) {
            line(svg, [x(pair[0].0), y(pair[0].1), x(pair[1].0), y(pair[1].1)], colour, dash, 2.0);
        }
        for point in points {
            let (x, y) = (x(point.0), y(point.1));
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>")
                .expect("a string takes all");
        }
    }
}

/// From where to where the logarithms of some values go, with some room; `None` without values.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let logarithms = values.map(f64::log10);
    let (low, high) = logarithms.map(|value| (value, value)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    Some((low - 0.08, high + 0.08))
}

/// 1, 2 and 5 times the powers of ten in a span.
fn ticks((low, high): (f64, f64)) -> impl Iterator<Item = f64> {
    let powers = low.floor() as i32..=high.ceil() as i32;
    let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    all.filter(move |value| (low..=high).contains(&value.log10()))
}

fn short(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{} M", value / 1e6),
        _ if value >= 1e4 => format!("{} k", value / 1e3),
        _ => format!("{value}"),
    }
}

fn line(svg: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str, dash: &str, width: f64) {
    let dash = if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
    writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"{dash}/>"
    )
    .expect("a string takes all");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, what: &str) {
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>")
        .expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_through_the_medians() {
        let record = |keys, ns| Record {
            store: "bedload".to_owned(),
            workload: "load".to_owned(),
            keys,
            memory_mib: 1,
            limit_mib: None,
            repetition: 0,
            operations: 1,
            figures: BTreeMap::from([("ns".to_owned(), ns)]),
            costs: crate::measure::Costs::default(),
        };
        let records =
            [record(1_000_000, 100.0), record(1_000_000, 300.0), record(1_000_000, 200.0), record(5_000_000, 400.0)];
        let curves = curves(&records, PANELS[0].value);
        assert_eq!(curves[&("bedload", "load")], [(1e6, 200.0), (5e6, 400.0)]);
        let svg = render(&records);
        assert!(svg.contains(">5 M<") && svg.matches("<circle").count() == 2, "costs of 0 are left out: {svg}");
    }
}
