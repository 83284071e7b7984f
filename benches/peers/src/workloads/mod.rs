//! The work that is measured. Each workload is deterministic from a seed and checks what it reads.
//!
//! | workload | what it does | file |
//! |---|---|---|
//! | load | puts every key once, in random order | `updates` |
//! | rmw-uniform, rmw-zipf | adds one to a counter inside a value | `updates` |
//! | sliding | puts a new key and deletes the oldest one, at a steady size | `updates` |
//! | get-hit, get-miss | looks up a key that is (not) there | `gets` |
//! | cold-get | gets, and gets of 64 at once, with files out of the page cache | `gets` |
//! | list | appends to lists in random order, then reads and deletes each | `lists` |
//! | map | scans whole maps of 10 to 100 entries; between scans, inserts and deletes entries | `maps` |
//! | timers | pops every timer due, in order, and sets as many new ones | `timers` |
//! | checkpoint | counts, with a checkpoint each second | `checkpoint` |
//! | ship | counts, with a checkpoint after each so many updates that is shipped | `ship` |
//! | open | opens from cold files, up to the first get | `rescale` |
//! | rescale | one store becomes two, two become one | `rescale` |
//!
//! Keys and choices are drawn before the clock starts where drawing them is not free.

mod checkpoint;
mod fill;
mod gets;
mod lists;
mod maps;
mod rescale;
mod ship;
mod timers;
mod updates;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::data::{Random, Zipf};
use crate::measure::{Baseline, Costs, Meter};
use crate::store::{Setup, Store};

pub use fill::{Fill, fill};

/// Operations of a turn: what a store with transactions commits together.
pub const TURN_OPERATIONS: u64 = 10_000;

/// A kind of work.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    /// What the store holds before.
    pub fill: Fill,
    /// Operations for each key by default.
    share: f64,
    /// Operations are never more than this by default: stores that take 20 µs each must come to an end.
    most: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Load,
    UpdateUniform,
    UpdateZipf,
    GetHit,
    GetMiss,
    List,
    Map,
    Timers,
    Sliding,
    Checkpoint,
    Ship,
    Open,
    Rescale,
    ColdGet,
}

const fn workload(name: &'static str, kind: Kind, fill: Fill, share: f64, most: u64) -> Workload {
    Workload { name, fill, share, most, kind }
}

/// All of them, in the order of the tables.
pub const WORKLOADS: &[Workload] = &[
    workload("load", Kind::Load, Fill::NoPoints, 1.0, u64::MAX),
    workload("rmw-uniform", Kind::UpdateUniform, Fill::Points, 4.0, 10_000_000),
    workload("rmw-zipf", Kind::UpdateZipf, Fill::Points, 4.0, 10_000_000),
    workload("get-hit", Kind::GetHit, Fill::Points, 2.0, 4_000_000),
    workload("get-miss", Kind::GetMiss, Fill::Points, 2.0, 4_000_000),
    workload("list", Kind::List, Fill::NoLists, 1.0, u64::MAX),
    workload("map", Kind::Map, Fill::Maps, 0.5, 1_000_000),
    workload("timers", Kind::Timers, Fill::Timers, 2.0, 5_000_000),
    workload("sliding", Kind::Sliding, Fill::Points, 2.0, 5_000_000),
    workload("checkpoint", Kind::Checkpoint, Fill::Points, 0.0, 0),
    // Operations are those between two checkpoints.
    workload("ship", Kind::Ship, Fill::Points, 0.05, u64::MAX),
    workload("open", Kind::Open, Fill::Points, 0.0, 0),
    workload("rescale", Kind::Rescale, Fill::Points, 0.0, 0),
    workload("cold-get", Kind::ColdGet, Fill::Points, 0.004, 4_000),
];

impl Workload {
    pub fn named(name: &str) -> Result<Workload> {
        let found = WORKLOADS.iter().find(|workload| workload.name == name);
        let names = || WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ");
        found.copied().ok_or_else(|| anyhow::anyhow!("there is no workload {name:?}; there are {}", names()))
    }

    /// Operations when nothing else is asked for.
    pub fn operations(&self, keys: u64) -> u64 {
        ((keys as f64 * self.share) as u64).min(self.most)
    }

    /// Whether a store can do it at all: maps in memory have no files, and a hash map has no order.
    pub fn suits<S: Store>(&self) -> bool {
        match self.kind {
            Kind::Checkpoint | Kind::Ship | Kind::Open | Kind::Rescale | Kind::ColdGet => S::HAS_FILES,
            Kind::Map | Kind::Timers => S::HAS_ORDER,
            _ => true,
        }
    }
}

/// One run of a workload.
#[derive(Clone, Debug)]
pub struct Task {
    pub setup: Setup,
    /// A directory beside the store's, for checkpoints and second stores; does not exist yet.
    pub beside: PathBuf,
    pub keys: u64,
    pub operations: u64,
    /// Seconds of the workloads that are given a time and not a count.
    pub seconds: f64,
    pub checkpoints: u64,
    pub seed: u64,
    pub limit_bytes: Option<u64>,
    /// Memory of the process before anything else.
    pub baseline: Baseline,
}

/// What a run found: named figures with their units at the end of the name (`_ns`, `_ms`, `_bytes`, `_ratio`), and what it
/// cost.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub operations: u64,
    pub figures: BTreeMap<String, f64>,
    pub costs: Costs,
}

impl Task {
    pub fn meter(&self) -> Result<Meter> {
        Meter::start(self.baseline, &self.setup.directory, self.limit_bytes)
    }

    /// Numbers of keys that exist.
    fn draw_uniform(&self) -> Vec<u32> {
        let mut random = Random::new(self.seed);
        (0..self.operations).map(|_| random.below(self.keys) as u32).collect()
    }

    fn draw_zipf(&self) -> Vec<u32> {
        let (mut random, zipf) = (Random::new(self.seed), Zipf::new(self.keys, 0.99));
        (0..self.operations).map(|_| zipf.draw(&mut random) as u32).collect()
    }

    /// Takes the baseline anew: what was drawn is not the store's memory.
    fn rebased(&self) -> Task {
        Task { baseline: Baseline::take(), ..self.clone() }
    }
}

/// Runs `workload`; the store in the task's directory holds the workload's fill already, or is filled here when it lives in
/// memory alone.
pub fn run<S: Store>(workload: Workload, task: &Task) -> Result<Outcome> {
    ensure!(workload.suits::<S>(), "{} needs what this store lacks: files, or an order of keys", workload.name);
    ensure!(task.keys <= u64::from(u32::MAX), "{} keys are too many: they are numbered with 32 bits", task.keys);
    match workload.kind {
        Kind::Load => updates::load::<S>(task),
        Kind::UpdateUniform => updates::count::<S>(task, task.draw_uniform()),
        Kind::UpdateZipf => updates::count::<S>(task, task.draw_zipf()),
        Kind::Sliding => updates::slide::<S>(task),
        Kind::GetHit => gets::hit::<S>(task, task.draw_uniform()),
        Kind::GetMiss => gets::miss::<S>(task, task.draw_uniform()),
        Kind::ColdGet => gets::cold::<S>(task),
        Kind::List => lists::append_and_fire::<S>(task),
        Kind::Map => maps::scan_and_change::<S>(task),
        Kind::Timers => timers::fire::<S>(task),
        Kind::Checkpoint => checkpoint::each_second::<S>(task),
        Kind::Ship => ship::after_each_count::<S>(task),
        Kind::Open => rescale::open::<S>(task),
        Kind::Rescale => rescale::split_and_merge::<S>(task),
    }
}

/// Opens the store of a task, filling it when it keeps no files.
fn open_filled<S: Store>(task: &Task, what: Fill) -> Result<S> {
    let mut store = S::open(&task.setup)?;
    if !S::HAS_FILES {
        fill(&mut store, what, task.keys)?;
    }
    Ok(store)
}

/// Runs operations, numbered from 0, in turns.
fn in_turns<S: Store>(
    store: &mut S,
    count: u64,
    mut operation: impl FnMut(&mut S::Turn<'_>, u64) -> Result<()>,
) -> Result<()> {
    let mut done = 0;
    while done < count {
        let end = count.min(done + TURN_OPERATIONS);
        store.turn(|turn| {
            for number in done..end {
                operation(turn, number)?;
            }
            Ok(())
        })?;
        done = end;
    }
    Ok(())
}

/// Ends a run of one phase: settles, measures, and names the time of an operation `ns`.
fn finish<S: Store>(task: &Task, store: &mut S, meter: Meter, operations: u64) -> Result<Outcome> {
    let stopped = meter.stop()?;
    store.settle()?;
    let costs = stopped.settled(&task.setup.directory)?;
    let figures = BTreeMap::from([("ns".to_owned(), nanoseconds(costs.seconds, operations))]);
    Ok(Outcome { operations, figures, costs })
}

fn nanoseconds(seconds: f64, operations: u64) -> f64 {
    seconds * 1e9 / operations.max(1) as f64
}
