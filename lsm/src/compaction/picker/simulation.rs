//! A store without bytes: flushes of made-up sizes, plans applied, amplification counted.
//!
//! Prints the table in the picker's head and holds its bounds.

use std::ops::Range;

use super::*;

const MIB: u64 = 1 << 20;
/// Bytes of an entry.
const ENTRY: u64 = 118;
/// 20 million entries.
const STATE: u64 = 20_000_000 * ENTRY;

/// Small, fast, and the same everywhere.
pub(super) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

/// A picture that plans can be applied to.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub picture: Picture,
    /// Bytes of all keys that can occur in each tile: how much the same keys come again.
    pub domains: Vec<f64>,
    pub seal: u64,
    free: Vec<usize>,
}

impl Model {
    /// Tiles of these bytes, each with one run.
    pub fn with_tiles(bytes: &[u64]) -> Model {
        let mut model = Model { seal: 1, ..Model::default() };
        for bytes in bytes {
            let run = model.new_run(*bytes);
            model.picture.tiles.push(TilePicture { slices: vec![slice(run, 1, 1, *bytes)], hidden: 0 });
            model.domains.push(*bytes as f64);
        }
        model
    }

    pub fn new_run(&mut self, bytes: u64) -> usize {
        match self.free.pop() {
            Some(run) => {
                self.picture.runs[run].bytes = bytes;
                run
            }
            None => {
                self.picture.runs.push(RunPicture { bytes });
                self.picture.runs.len() - 1
            }
        }
    }

    /// One run with so many bytes in each tile; nothing where there are none.
    pub fn flush(&mut self, shares: &[u64]) {
        self.seal += 1;
        let run = self.new_run(shares.iter().sum());
        for (tile, bytes) in self.picture.tiles.iter_mut().zip(shares) {
            if *bytes > 0 {
                tile.slices.insert(0, slice(run, self.seal, self.seal, *bytes));
            }
        }
    }

    /// What the inputs of an area become in a tile.
    fn merged(&self, tile: usize, area: &Area) -> u64 {
        let slices = &self.picture.tiles[tile].slices;
        let inputs = stack::inputs(slices, area.first, area.last).expect("a plan leaves no slice partly inside");
        self.distinct(tile, &slices[inputs])
    }

    fn distinct(&self, tile: usize, slices: &[SlicePicture]) -> u64 {
        let sum = stack::bytes(slices);
        let largest = slices.iter().map(|slice| slice.bytes).max().unwrap_or(0);
        let domain = self.domains[tile];
        let missing: f64 = slices.iter().map(|slice| 1.0 - (slice.bytes as f64 / domain).min(1.0)).product();
        ((domain * (1.0 - missing)) as u64).clamp(largest, sum)
    }

    pub fn output_bytes(&self, plan: &Plan) -> u64 {
        match plan {
            Plan::Drop { .. } => 0,
            Plan::Merge { area, .. } => area.tiles.clone().map(|tile| self.merged(tile, area)).sum(),
        }
    }

    pub fn apply(&mut self, plan: &Plan) {
        let (area, keep, join) = match plan {
            Plan::Drop { area } => (area, false, false),
            Plan::Merge { area, join_tiles, .. } => (area, true, *join_tiles),
        };
        let run = self.new_run(self.output_bytes(plan));
        for tile in area.tiles.clone() {
            let bytes = self.merged(tile, area);
            let slices = &mut self.picture.tiles[tile].slices;
            let inputs = stack::inputs(slices, area.first, area.last).expect("checked by merged");
            let output = (keep && !inputs.is_empty()).then(|| slice(run, area.first, area.last, bytes));
            slices.splice(inputs, output);
        }
        if join {
            self.join(area.tiles.clone(), run);
        }
        self.collect();
    }

    fn join(&mut self, tiles: Range<usize>, run: usize) {
        let joined = &self.picture.tiles[tiles.clone()];
        let bytes = joined.iter().map(|tile| stack::bytes(&tile.slices)).sum();
        let seals = joined.iter().find_map(|tile| tile.slices.first().map(|slice| (slice.first, slice.last)));
        let slices = seals.map(|(first, last)| slice(run, first, last, bytes)).into_iter().collect();
        let domain = self.domains[tiles.clone()].iter().sum();
        self.picture.tiles.splice(tiles.clone(), [TilePicture { slices, hidden: 0 }]);
        self.domains.splice(tiles, [domain]);
    }

    pub fn split(&mut self, tile: usize) {
        let whole = self.picture.tiles[tile].clone();
        let part = |other: bool| TilePicture {
            slices: whole
                .slices
                .iter()
                .map(|old| SlicePicture { bytes: if other { old.bytes / 2 } else { old.bytes.div_ceil(2) }, ..*old })
                .collect(),
            hidden: 0,
        };
        self.picture.tiles.splice(tile..=tile, [part(false), part(true)]);
        let half = self.domains[tile] / 2.0;
        self.domains.splice(tile..=tile, [half, half]);
    }

    fn split_large(&mut self, tuning: &PickerTuning) {
        let mut tile = 0;
        while tile < self.picture.tiles.len() {
            if wants_split(stack::bytes(&self.picture.tiles[tile].slices), tuning) && self.picture.jobs.is_empty() {
                self.split(tile);
            } else {
                tile += 1;
            }
        }
    }

    /// Forgets the files that no slice reaches.
    fn collect(&mut self) {
        let mut reached = vec![false; self.picture.runs.len()];
        for slice in self.picture.tiles.iter().flat_map(|tile| &tile.slices) {
            reached[slice.run] = true;
        }
        for run in &self.free {
            reached[*run] = true;
        }
        for (run, reached) in reached.iter().enumerate() {
            if !reached {
                self.picture.runs[run].bytes = 0;
                self.free.push(run);
            }
        }
    }

    fn file_bytes(&self) -> u64 {
        self.picture.runs.iter().map(|run| run.bytes).sum()
    }

    fn files(&self) -> usize {
        self.picture.runs.len() - self.free.len()
    }

    fn live_bytes(&self) -> u64 {
        (0..self.domains.len()).map(|tile| self.distinct(tile, &self.picture.tiles[tile].slices)).sum()
    }
}

pub(super) fn slice(run: usize, first: u64, last: u64, bytes: u64) -> SlicePicture {
    SlicePicture { run, first, last, bytes, entries: bytes / ENTRY, tombstones: 0, expired: false, absent: false }
}

/// What a load came to.
#[derive(Default)]
struct Outcome {
    written: u64,
    flushed: u64,
    jobs: u64,
    space_peak: f64,
    space_sum: f64,
    stack_most: usize,
    stack_sum: f64,
    files_most: usize,
    samples: f64,
    stalls: u64,
}

impl Outcome {
    fn write_amplification(&self) -> f64 {
        self.written as f64 / self.flushed as f64
    }

    fn stack_average(&self) -> f64 {
        self.stack_sum / self.samples
    }

    fn print(&self, name: &str, model: &Model) {
        println!(
            "{name:<34} {:>5} {:>6.2} {:>6.2} {:>6.2} {:>6} {:>6.1} {:>6} {:>6} {:>6}",
            model.picture.tiles.len(),
            self.write_amplification(),
            self.space_peak,
            self.space_sum / self.samples,
            self.stack_most,
            self.stack_average(),
            self.files_most,
            self.jobs,
            self.stalls
        );
    }
}

struct Load<'a> {
    name: &'a str,
    flushes: u64,
    /// Bytes that merges may write for each byte flushed; `None` for as many as they want.
    merge_share: Option<f64>,
}

/// Runs a load: `shares` makes the bytes of the next flush for each tile.
fn run(load: &Load, mut model: Model, mut shares: impl FnMut(&Model) -> Vec<u64>) -> Outcome {
    let tuning = PickerTuning::default();
    let mut outcome = Outcome::default();
    let mut budget = 0.0;
    let mut running: Option<Plan> = None;
    let mut flush = 0;
    while flush < load.flushes {
        let next = shares(&model);
        let bytes: u64 = next.iter().sum();
        if load.merge_share.is_some() && pressure(&model.picture, &tuning) >= 1.0 {
            outcome.stalls += 1;
        } else {
            model.flush(&next);
            outcome.flushed += bytes;
            outcome.written += bytes;
            flush += 1;
        }
        model.split_large(&tuning);
        outcome.stack_most = outcome.stack_most.max(longest(&model));
        budget = load.merge_share.map_or(f64::INFINITY, |share| budget + share * bytes as f64);
        loop {
            if running.is_none() {
                running = pick(&model.picture, &tuning);
                let Some(Plan::Merge { area, .. }) = &running else { break };
                model.picture.jobs = vec![area.clone()];
            }
            let plan = running.as_ref().expect("picked above");
            let output = model.output_bytes(plan);
            note_space(&mut outcome, &model, output);
            if output as f64 > budget {
                break;
            }
            budget -= output as f64;
            outcome.written += output;
            outcome.jobs += 1;
            model.picture.jobs.clear();
            model.apply(plan);
            running = None;
        }
        if running.is_none() && load.merge_share.is_some() {
            budget = 0.0;
        }
        note_space(&mut outcome, &model, 0);
        outcome.files_most = outcome.files_most.max(model.files());
        let slices: usize = model.picture.tiles.iter().map(|tile| tile.slices.len()).sum();
        outcome.stack_sum += slices as f64 / model.picture.tiles.len() as f64;
        outcome.space_sum += model.file_bytes() as f64 / model.live_bytes() as f64;
        outcome.samples += 1.0;
    }
    outcome.print(load.name, &model);
    outcome
}

fn longest(model: &Model) -> usize {
    model.picture.tiles.iter().map(|tile| tile.slices.len()).max().unwrap_or(0)
}

fn note_space(outcome: &mut Outcome, model: &Model, output: u64) {
    let live = model.live_bytes();
    // Of a state that is just beginning a single merge is half.
    if live < STATE / 4 {
        return;
    }
    let space = (model.file_bytes() + output) as f64 / live as f64;
    outcome.space_peak = outcome.space_peak.max(space);
}

/// The state, in tiles between half and all of `most` bytes.
fn state(all: u64, most: u64, random: &mut Random) -> Model {
    let mut tiles = Vec::new();
    let mut left = all;
    while left > 0 {
        let bytes = (most / 2 + random.below(most / 2)).min(left);
        tiles.push(bytes);
        left -= bytes;
    }
    Model::with_tiles(&tiles)
}

/// Spreads `bytes` over tiles by weight, a little unevenly.
fn spread(bytes: u64, weights: &[f64], random: &mut Random) -> Vec<u64> {
    let all: f64 = weights.iter().sum();
    let part = |weight: &f64| {
        let jitter = 0.92 + random.below(1000) as f64 / 6250.0;
        (bytes as f64 * weight / all * jitter) as u64
    };
    weights.iter().map(part).collect()
}

/// Weights where each hot tile draws so many times what its size would.
fn hot(model: &Model, one_in: usize, heat: f64) -> Vec<f64> {
    let weight = |(tile, domain): (usize, &f64)| if tile % one_in == one_in / 2 { domain * heat } else { *domain };
    model.domains.iter().enumerate().map(weight).collect()
}

fn load(name: &str, flushes: u64, merge_share: Option<f64>) -> Load<'_> {
    Load { name, flushes, merge_share }
}

fn header() {
    println!(
        "{:<34} {:>5} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}",
        "load", "tiles", "WA", "peak", "space", "stack", "avg", "files", "jobs", "stalls"
    );
}

#[test]
fn uniform_updates_stay_within_bounds() {
    header();
    for (name, share) in [
        ("uniform 64 MiB", None),
        ("uniform 64 MiB, 4.5 x merging", Some(4.5)),
        ("uniform 64 MiB, 1.2 x merging", Some(1.2)),
    ] {
        let random = &mut Random(1);
        let model = state(STATE, 128 * MIB, random);
        let outcome = run(&load(name, 200, share), model, |model| spread(64 * MIB, &model.domains, random));
        assert!(outcome.write_amplification() < 5.0, "{name}");
        assert!(outcome.stack_average() <= 10.0, "{name}");
        assert!(outcome.space_peak <= if share.is_none() { 1.5 } else { 2.8 }, "{name}");
    }
}

#[test]
fn skewed_updates_stay_within_bounds() {
    header();
    for (name, one_in, heat) in [
        ("5 % of tiles take all", 20, 1e12),
        ("5 % of tiles take 95 %", 20, 361.0),
        ("20 % of tiles take 80 %", 5, 16.0),
    ] {
        for flush in [64 * MIB, MIB] {
            let random = &mut Random(2);
            let model = state(STATE, 128 * MIB, random);
            let flushes = if flush == MIB { 2000 } else { 150 };
            let name = format!("{name}, {} MiB", flush / MIB);
            let outcome =
                run(&load(&name, flushes, None), model, |model| spread(flush, &hot(model, one_in, heat), random));
            assert!(outcome.space_peak <= 1.5, "{name}");
            assert!(outcome.write_amplification() < 8.0, "{name}");
        }
    }
}

#[test]
fn tiny_flushes_breed_neither_files_nor_jobs() {
    header();
    for (name, tiles, heat) in [
        ("tiny 100 KB", STATE, 1.0),
        ("tiny 100 KB, 5 % hot", STATE, 361.0),
        ("tiny 100 KB, 95 GB", STATE * 40, 1.0),
        ("tiny 100 KB, 95 GB, 5 % hot", STATE * 40, 361.0),
    ] {
        let random = &mut Random(3);
        let model = state(tiles, 128 * MIB, random);
        let tiles = model.domains.len();
        let flushes = 5000;
        let outcome = run(&load(name, flushes, None), model, |model| spread(100_000, &hot(model, 20, heat), random));
        assert!(outcome.jobs < flushes, "{name}");
        assert!(outcome.files_most < 3 * tiles + 50, "{name}");
        assert!(outcome.write_amplification() < 8.0, "{name}");
        assert!(outcome.stack_most <= 2 * PickerTuning::default().stack_max, "{name}");
    }
}

#[test]
fn growing_state_stays_within_bounds() {
    header();
    for (name, flush, flushes) in [("growing, 64 MiB", 64 * MIB, 80), ("growing, 1 MiB", MIB, 3000)] {
        let random = &mut Random(4);
        let mut model = Model::with_tiles(&[1]);
        model.domains = vec![1e15];
        let outcome = run(&load(name, flushes, None), model, |model| spread(flush, &model.domains, random));
        assert!(outcome.write_amplification() < 10.0, "{name}");
    }
}
