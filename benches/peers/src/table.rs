//! Results as tables: medians, and how they stand to the best RocksDB set-up of each row.
//!
//! A row is one figure of one workload. `×` says how many times better than the best RocksDB set-up of that row a store is:
//! 2.0 is half the time, or half the bytes; below 1 is worse.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::record::Record;
use crate::stores::CONTESTANTS;
use crate::workloads::WORKLOADS;

/// Runs that belong together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    keys: u64,
    memory_mib: u64,
    limit_mib: Option<u64>,
}

/// Which of two values of a row is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    Less,
    More,
    /// A count that only explains others.
    Neither,
}

/// One line: a median for each store that has one.
struct Row {
    name: String,
    better: Better,
    medians: BTreeMap<String, f64>,
}

/// All tables of some results.
pub fn render(records: &[Record], markdown: bool) -> String {
    let mut groups: BTreeMap<Group, Vec<&Record>> = BTreeMap::new();
    for record in records {
        let group = Group { keys: record.keys, memory_mib: record.memory_mib, limit_mib: record.limit_mib };
        groups.entry(group).or_default().push(record);
    }
    let mut text = String::new();
    for (group, records) in groups {
        let limit = group.limit_mib.map_or(String::new(), |mib| format!(", {mib} MiB for everything"));
        let title = format!("{} keys, {} MiB budget{limit}", group.keys, group.memory_mib);
        let repetitions = repetitions(&records);
        let heading = if markdown { "### " } else { "" };
        writeln!(text, "\n{heading}{title}, medians of {repetitions}\n").expect("a string takes all");
        table(&mut text, &figure_rows(&records), &records, markdown);
        let heading = if markdown { "#### " } else { "" };
        writeln!(text, "\n{heading}Costs of the same runs\n").expect("a string takes all");
        table(&mut text, &cost_rows(&records), &records, markdown);
    }
    text
}

/// How many runs a median is of, as `3` or `2 to 3`.
fn repetitions(records: &[&Record]) -> String {
    let mut runs: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for record in records {
        *runs.entry((&record.store, &record.workload)).or_default() += 1;
    }
    let (least, most) = (runs.values().min().unwrap_or(&0), runs.values().max().unwrap_or(&0));
    if least == most { most.to_string() } else { format!("{least} to {most}") }
}

/// The main figure of one run, for progress.
pub fn brief(record: &Record) -> String {
    let main = record.figures.iter().filter(|(name, _)| is_main(name)).map(|(name, value)| {
        let (name, unit) = unit(name);
        format!("{name} {}{unit}", number(*value)).trim_start().to_owned()
    });
    main.collect::<Vec<_>>().join(", ")
}

fn is_main(name: &str) -> bool {
    let others = ["without_", "checkpoints", "scanned", "settled_written", "_max_", "p50_ns", "late_", "whole_"];
    !others.iter().any(|other| name.contains(other))
}

fn figure_rows(records: &[&Record]) -> Vec<Row> {
    let mut rows = Vec::new();
    for workload in WORKLOADS {
        let of_workload: Vec<&Record> =
            records.iter().filter(|record| record.workload == workload.name).copied().collect();
        let names: std::collections::BTreeSet<&String> =
            of_workload.iter().flat_map(|record| record.figures.keys()).collect();
        for name in names {
            let value = |record: &Record| record.figures.get(name).copied();
            let (short, unit) = unit(name);
            let short = short.replace('_', " ");
            let label = format!("{} {short}", workload.name).trim_end().to_owned();
            let name_and_unit = format!("{label}, {}", if unit.is_empty() { "count" } else { unit.trim() });
            let better = match name.as_str() {
                "throughput_ratio" => Better::More,
                _ if unit.is_empty() => Better::Neither,
                _ => Better::Less,
            };
            rows.push(Row { name: name_and_unit, better, medians: medians(&of_workload, value) });
        }
    }
    rows
}

/// Costs of whole processes, where they say something: for workloads that do a given number of operations.
fn cost_rows(records: &[&Record]) -> Vec<Row> {
    let mut rows = Vec::new();
    for workload in WORKLOADS {
        let of_workload: Vec<&Record> =
            records.iter().filter(|record| record.workload == workload.name).copied().collect();
        if of_workload.is_empty() || matches!(workload.name, "open" | "rescale" | "cold-get") {
            continue;
        }
        let mut add = |name: &str, value: fn(&Record) -> f64| {
            let medians = medians(&of_workload, |record| Some(value(record)));
            rows.push(Row { name: format!("{} {name}", workload.name), better: Better::Less, medians });
        };
        add("CPU until settled, ns/op", |record| {
            record.costs.cpu_settled_seconds * 1e9 / record.operations.max(1) as f64
        });
        add("written until settled, B/op", |record| {
            record.costs.written_settled_bytes as f64 / record.operations.max(1) as f64
        });
        add("peak RSS, MiB", |record| record.costs.peak_mib);
        add("anonymous memory, MiB", |record| record.costs.anonymous_mib);
        add("mapped files, MiB", |record| record.costs.mapped_mib);
        add("disk, MiB", |record| record.costs.disk_bytes as f64 / f64::from(1 << 20));
    }
    rows
}

fn medians(records: &[&Record], value: impl Fn(&Record) -> Option<f64>) -> BTreeMap<String, f64> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for record in records {
        if let Some(value) = value(record) {
            values.entry(record.store.clone()).or_default().push(value);
        }
    }
    values.into_iter().map(|(store, values)| (store, median(values))).collect()
}

/// The middle value, or the mean of the two in the middle. Of at least one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

fn table(text: &mut String, rows: &[Row], records: &[&Record], markdown: bool) {
    let stores = stores_of(records);
    let mut lines = vec![header(&stores)];
    for row in rows {
        let best = best_rocksdb(row);
        let mut cells = vec![row.name.clone()];
        cells.extend(
            stores
                .iter()
                .map(|store| row.medians.get(*store).map_or(String::new(), |value| cell(*value, best, row.better))),
        );
        lines.push(cells);
    }
    let widths: Vec<usize> = (0..=stores.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    for (index, line) in lines.iter().enumerate() {
        let padded = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let width = *width;
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let padded: Vec<String> = padded.collect();
        if markdown {
            writeln!(text, "| {} |", padded.join(" | ")).expect("a string takes all");
            if index == 0 {
                let rule = widths.iter().enumerate().map(|(column, _)| if column == 0 { "---" } else { "---:" });
                writeln!(text, "|{}|", rule.collect::<Vec<_>>().join("|")).expect("a string takes all");
            }
        } else {
            writeln!(text, "{}", padded.join("  ").trim_end()).expect("a string takes all");
        }
    }
}

/// The stores that have results, in the order of this program; behind them those that this build was made without.
fn stores_of<'a>(records: &[&'a Record]) -> Vec<&'a str> {
    let mut stores: Vec<&str> = records.iter().map(|record| record.store.as_str()).collect();
    let place = |name: &str| CONTESTANTS.iter().position(|store| store.name == name).unwrap_or(usize::MAX);
    stores.sort_by_key(|name| (place(name), *name));
    stores.dedup();
    stores
}

fn header(stores: &[&str]) -> Vec<String> {
    std::iter::once(String::new()).chain(stores.iter().map(|store| (*store).to_owned())).collect()
}

/// The best value of all RocksDB set-ups in a row.
fn best_rocksdb(row: &Row) -> Option<f64> {
    let theirs = row.medians.iter().filter(|(store, _)| store.starts_with("rocksdb")).map(|(_, value)| *value);
    match row.better {
        Better::Less => theirs.reduce(f64::min),
        Better::More => theirs.reduce(f64::max),
        Better::Neither => None,
    }
}

fn cell(value: f64, best: Option<f64>, better: Better) -> String {
    let Some(best) = best.filter(|best| *best > 0.0 && value > 0.0) else { return number(value) };
    let times = if better == Better::More { value / best } else { best / value };
    format!("{} ({}×)", number(value), number(times))
}

/// A figure's name without its unit, and the unit.
fn unit(name: &str) -> (&str, &'static str) {
    let units = [("_ns", " ns"), ("_us", " µs"), ("_ms", " ms"), ("_bytes", " B"), ("_ratio", " ratio")];
    if name == "ns" {
        return ("", " ns");
    }
    units.iter().find_map(|(end, unit)| Some((name.strip_suffix(end)?, *unit))).unwrap_or((name, ""))
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => {
            let digits = format!("{value:.0}");
            let mut grouped = String::new();
            for (index, digit) in digits.chars().enumerate() {
                let behind = digits.len() - index;
                if index > 0 && behind.is_multiple_of(3) && !grouped.ends_with('-') {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        size if size >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(store: &str, repetition: u32, ns: f64) -> Record {
        let figures = BTreeMap::from([("ns".to_owned(), ns)]);
        Record {
            store: store.to_owned(),
            workload: "get-hit".to_owned(),
            keys: 10,
            memory_mib: 1,
            limit_mib: None,
            repetition,
            operations: 1,
            figures,
            costs: crate::measure::Costs::default(),
        }
    }

    #[test]
    fn ratios_are_to_the_best_rocksdb_by_medians() {
        let runs = [("bedload", [100.0, 900.0, 110.0]), ("rocksdb-flink", [500.0; 3]), ("rocksdb-tuned", [330.0; 3])];
        let records: Vec<Record> = runs
            .iter()
            .flat_map(|(store, values)| (0..3).map(|index| record(store, index as u32, values[index])))
            .collect();
        let text = render(&records, false);
        assert!(text.contains("110 (3.00×)"), "{text}");
        assert!(text.contains("500 (0.66×)"), "{text}");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(0.0), "0");
    }
}
