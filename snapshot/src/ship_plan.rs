//! Decides what a checkpoint uploads and what its stacks are. Pure: the same inputs, the same plan.
//!
//! The shape of what is shipped is not the shape on the local disk. Locally tiles are merged for reading; a repo gets each
//! delta once, and a whole tile only where that is cheaper than the deltas above it:
//!
//! ```text
//!              shipped before            new deltas      tile rebased in the repo
//!   newest                               [9][8]          [9][8]
//!              [7][6][5][4]              [7][6][5][4]    [7]
//!   oldest     [  base 1..3 ]            [  base 1..3 ]  [  local base 1..6  ]
//! ```
//!
//! A slice covers an interval of seals; the slices of a stack cover all of them, without overlap, newest first. So some slices in
//! a row may be replaced by a local one that covers the same seals, whatever else happens. This is used twice:
//!
//! * A tile is *rebased in the repo*: its base and the deltas that a newer local base has taken in are replaced by that base. When
//!   its own deltas outgrow `ratio` times its base; and when all deltas together would outgrow a share of the state.
//! * A stack that is too long gets local runs of merged deltas in the place of the deltas. They are wide: one upload shortens
//!   many stacks. Never the base.
//!
//! What a delta's upload costs was paid once; it stays in the repo until the last tile has moved on. So deltas of a load that
//! touches all tiles are freed by the tile with the oldest base, and all others must follow in time. What is rebased at one
//! checkpoint is bounded by what it uploads anyway; therefore the second rule looks ahead. Tiles in the order of their bases, oldest
//! first:
//!
//! ```text
//!   held     bytes of the deltas above the base of tile j                             in the repo when those before it moved on
//!   ahead    bytes of the bases of tiles 1 to j, as many deltas for them as it takes     what comes until tile j has moved on
//!   due      tiles 1 to j of the last j where held + ahead is more than the share
//! ```
//!
//! Of those that are due, the one goes first whose local base has taken in the most deltas: right behind its merge, when few stay
//! above it. But when the deltas are more than their share already, the oldest base goes, which alone holds some of them. A
//! checkpoint without deltas rebases nothing.
//!
//! Simulated by the test of uniform load, beside one threshold for the sum over all tiles, and oldest base first among those fresh
//! from a merge (uploaded to changed; in the repo to live, on average and at most):
//!
//! ```text
//! tiles  changed        this rule        one threshold
//!    30      5 %   2.05  2.11  2.20    2.03  2.21  2.50
//!    30      2 %   2.22  2.13  2.23    2.40  2.18  2.43
//!    64      3 %   1.95  2.18  2.32    1.95  2.34  2.59
//!   100      2 %   2.19  2.13  2.24    2.39  2.25  2.45
//! ```
//!
//! Where a checkpoint changes little, one tile outweighs what it changed, and one merged run may. Such a run is uploaded *ahead*: over
//! several checkpoints, a share of each, and takes its place in the stacks when all of it is in the repo. Until then it is kept
//! on the local disk, also when merges have taken it out of the local stacks. One at a time is on its way for each of the two
//! purposes. What would take so many checkpoints that it is old before it can be used, is uploaded with one. Simulated with tiles of 79 MB, beside uploads with one checkpoint (uploaded to changed, on average and at most):
//!
//! ```text
//! tiles  changed        ahead        with one checkpoint
//!     2    12.6 %    2.32   2.50         3.29    4.95
//!    30     0.5 %    3.26   3.90         3.32   12.4
//!    30    0.05 %    4.23   5.90         4.23   88.7
//! ```
//!
//! The averages are what short stacks cost: with the last load some 2,500 deltas come for each base, and each is uploaded once more
//! for every level of merges that keeps 48 slices of them. To pass over small merges while stacks are shorter than 96 was simulated
//! too: 3.99 and 2.64 for the last two loads, with stacks of up to 167 slices.
//!
//! Ranges of shipped stacks are cut where local tiles are cut, and joined again where stacks are equal.

use std::collections::BTreeSet;

use bedload_lsm::{KeyRange, RunId};

/// Bytes of all deltas in the repo, over `ratio` times the bytes of the state.
const HELD_SHARE: f64 = 0.6;
/// Bytes of tiles that a checkpoint uploads as a whole, or of one that is uploaded ahead, over those of its deltas.
const REBASED_SHARE: f64 = 1.5;
/// The same for tiles and runs that shorten stacks together.
const BESIDE_SHARE: f64 = 2.9;
/// The same where stacks are twice as long as they may be: a restore has to read them.
const URGENT_SHARE: f64 = 4.9;

/// What decides, beside the stacks.
#[derive(Clone, Debug, PartialEq)]
pub struct ShipPolicy {
    /// Bytes of deltas over bytes of the base at which a tile is uploaded as a whole (default 2). Smaller: more is uploaded, less
    /// is kept in the repo and read by a restore.
    pub ratio: f64,
    /// How many slices a shipped stack may have before merged ones are uploaded (default 48).
    pub stack_max: usize,
    /// Tiles and merged runs up to this length are uploaded with one checkpoint, however little it changed (default 1 MiB). What is
    /// longer, and outweighs what changed, is uploaded over several.
    pub whole_max: u64,
}

impl Default for ShipPolicy {
    fn default() -> ShipPolicy {
        ShipPolicy { ratio: 2.0, stack_max: 48, whole_max: 1 << 20 }
    }
}

/// A run as a stack sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlanSlice {
    /// The run.
    pub run: RunId,
    /// The seals it covers, both ends inclusive.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// Bytes of its entries inside the stack's range, about.
    pub bytes: u64,
}

/// A stack of slices, newest first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlanStack {
    /// The keys.
    pub range: KeyRange,
    /// The slices.
    pub slices: Vec<PlanSlice>,
}

/// The run of a seal since the base.
#[derive(Clone, Debug)]
pub(crate) struct PlanDelta {
    /// The run.
    pub run: RunId,
    /// The seals it covers.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// The tiles that it holds anything of, in order, and about how many bytes.
    pub tiles: Vec<(usize, u64)>,
}

/// What a run is uploaded for ahead of its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To rebase a tile.
    Rebase,
    /// To shorten stacks.
    Shorten,
}

/// A run that is uploaded over several checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ahead {
    /// What for.
    pub purpose: Purpose,
    /// The run.
    pub run: RunId,
    /// Its slices when it was chosen, each with the keys of its tile.
    pub slices: Vec<(KeyRange, PlanSlice)>,
}

/// What a plan is made from.
pub(crate) struct ShipInputs<'a> {
    /// The frozen tiles, in key order.
    pub tiles: &'a [PlanStack],
    /// The stacks of the checkpoint to build upon, in key order, and the deltas since, oldest first. `None`: there is no such
    /// checkpoint, or not all of its deltas are here.
    pub base: Option<(&'a [PlanStack], &'a [PlanDelta])>,
    /// The length of each run in the repo and each local one.
    pub run_bytes: &'a dyn Fn(RunId) -> u64,
    /// Whether the repo has a run.
    pub is_shipped: &'a dyn Fn(RunId) -> bool,
    /// Runs that earlier plans chose to be uploaded ahead; those that are shipped take their place now.
    pub ahead: &'a [Ahead],
    /// Over how many checkpoints a run may be uploaded.
    pub checkpoints_ahead: u64,
    /// What decides.
    pub policy: &'a ShipPolicy,
}

/// What a checkpoint's stacks are, and what is uploaded for them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ShipPlan {
    /// The stacks, in key order; none is empty.
    pub stacks: Vec<PlanStack>,
    /// Runs that the repo lacks.
    pub uploads: BTreeSet<RunId>,
    /// How many tiles were rebased in the repo.
    pub rebased_tiles: usize,
    /// How many runs of merged deltas are uploaded to shorten stacks.
    pub shortening_runs: usize,
    /// Runs whose upload ahead begins.
    pub begin: Vec<Ahead>,
    /// Runs that were uploaded ahead, and fit nowhere any more.
    pub useless: BTreeSet<RunId>,
    /// How many bytes are uploaded ahead with this checkpoint, for each purpose.
    pub allowances: Allowances,
}

/// Bytes that are uploaded ahead with one checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowances {
    rebase: u64,
    shorten: u64,
}

impl Allowances {
    /// How many for one purpose.
    pub fn of(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Rebase => self.rebase,
            Purpose::Shorten => self.shorten,
        }
    }

    fn left(&mut self, purpose: Purpose) -> &mut u64 {
        match purpose {
            Purpose::Rebase => &mut self.rebase,
            Purpose::Shorten => &mut self.shorten,
        }
    }
}

/// Plans the upload of a frozen state.
pub(crate) fn plan_shipping(inputs: &ShipInputs<'_>) -> ShipPlan {
    let mut planning = match inputs.base {
        Some((shipped, deltas)) => Planning::new(inputs, shipped, deltas),
        None => Planning::whole(inputs),
    };
    let delta_bytes =
        inputs.base.map_or(0, |(_, deltas)| deltas.iter().map(|delta| (inputs.run_bytes)(delta.run)).sum());
    let useless = planning.use_ahead();
    planning.allow(delta_bytes);
    planning.rebase();
    planning.share_rest();
    planning.shorten();
    planning.finish(useless)
}

/// A plan in the making.
struct Planning<'a> {
    inputs: &'a ShipInputs<'a>,
    /// The shipped stacks of each tile's keys: mostly one.
    pieces: Vec<Vec<PlanStack>>,
    /// Runs whose upload is decided: they cost nothing more.
    chosen: BTreeSet<RunId>,
    rebased_tiles: usize,
    shortening_runs: usize,
    begin: Vec<Ahead>,
    /// How many bytes may be uploaded beside the deltas.
    allowed: Allowances,
    /// What is left of them.
    allowances: Allowances,
}

impl<'a> Planning<'a> {
    /// Ships the local stacks as they are.
    fn whole(inputs: &'a ShipInputs<'a>) -> Planning<'a> {
        let pieces = inputs.tiles.iter().map(|tile| vec![tile.clone()]).collect();
        Planning::of(inputs, pieces, BTreeSet::new())
    }

    fn of(inputs: &'a ShipInputs<'a>, pieces: Vec<Vec<PlanStack>>, chosen: BTreeSet<RunId>) -> Planning<'a> {
        let (allowed, allowances) = (Allowances::default(), Allowances::default());
        let (rebased_tiles, shortening_runs, begin) = (0, 0, Vec::new());
        Planning { inputs, pieces, chosen, rebased_tiles, shortening_runs, begin, allowed, allowances }
    }

    /// What was shipped, cut along the local tiles, under the new deltas.
    fn new(inputs: &'a ShipInputs<'a>, shipped: &[PlanStack], deltas: &[PlanDelta]) -> Planning<'a> {
        let mut pieces = cut(inputs.tiles, shipped);
        for delta in deltas {
            for (tile, bytes) in &delta.tiles {
                let pieces = &mut pieces[*tile];
                let bytes = bytes / pieces.len().max(1) as u64;
                for piece in pieces {
                    piece.slices.insert(0, PlanSlice { run: delta.run, first: delta.first, last: delta.last, bytes });
                }
            }
        }
        for (pieces, tile) in pieces.iter_mut().zip(inputs.tiles) {
            // What is empty here need not be hidden there.
            if tile.slices.is_empty() {
                pieces.clear();
            }
        }
        let chosen = deltas.iter().map(|delta| delta.run).collect();
        Planning::of(inputs, pieces, chosen)
    }

    /// What it costs to upload a run; nothing when that is decided or done.
    fn cost(&self, run: RunId) -> u64 {
        if self.chosen.contains(&run) || (self.inputs.is_shipped)(run) { 0 } else { (self.inputs.run_bytes)(run) }
    }

    /// Puts the runs that were uploaded ahead into their places; gives those that have none any more.
    fn use_ahead(&mut self) -> BTreeSet<RunId> {
        let mut useless = BTreeSet::new();
        for ahead in self.inputs.ahead.iter().filter(|ahead| (self.inputs.is_shipped)(ahead.run)) {
            let mut used = 0;
            for (range, slice) in &ahead.slices {
                for tile in 0..self.pieces.len() {
                    // Cuts may have been made since; where tiles were joined, the slice shows a part only.
                    if self.inputs.tiles[tile].range.intersect(range) != self.inputs.tiles[tile].range {
                        continue;
                    }
                    if ahead.purpose == Purpose::Rebase && self.can_rebase(tile, *slice) {
                        self.put_base(tile, *slice);
                        used += 1;
                    } else if ahead.purpose == Purpose::Shorten && self.replaced(tile, *slice) > 1 {
                        self.replace(tile, *slice);
                        used += 1;
                    }
                }
            }
            match ahead.purpose {
                _ if used == 0 => {
                    useless.insert(ahead.run);
                }
                Purpose::Rebase => self.rebased_tiles += used,
                Purpose::Shorten => self.shortening_runs += 1,
            }
        }
        useless
    }

    /// Says what may be uploaded beside the deltas.
    fn allow(&mut self, delta_bytes: u64) {
        let is_urgent = (0..self.pieces.len()).any(|tile| self.longest(tile) > 2 * self.inputs.policy.stack_max);
        let all = if is_urgent { URGENT_SHARE } else { BESIDE_SHARE };
        let share = |share: f64| (delta_bytes as f64 * share) as u64;
        self.allowed = Allowances { rebase: share(REBASED_SHARE), shorten: share(all) };
        self.allowances = self.allowed;
    }

    /// Takes what tiles need from what there is for tiles and stacks.
    fn share_rest(&mut self) {
        let left = if self.is_ahead(Purpose::Rebase) { 0 } else { self.allowances.rebase };
        self.allowed.shorten = self.allowed.shorten.saturating_sub(self.allowed.rebase - left);
        self.allowances.shorten = self.allowed.shorten;
    }

    /// The length of a tile's longest stack.
    fn longest(&self, tile: usize) -> usize {
        self.pieces[tile].iter().map(|piece| piece.slices.len()).max().unwrap_or(0)
    }

    /// Takes what an upload costs from what a checkpoint may upload. Where that is too little the answer is no: the upload waits for
    /// the next checkpoint, or begins ahead of its use when it is too much for any. What would take too many checkpoints is uploaded
    /// with this one.
    fn is_affordable(&mut self, purpose: Purpose, run: RunId) -> bool {
        let (cost, left, allowed) = (self.cost(run), self.allowances.of(purpose), self.allowed.of(purpose));
        let at_once = allowed.max(self.inputs.policy.whole_max);
        let takes_long = allowed > 0 && cost > allowed.saturating_mul(self.inputs.checkpoints_ahead);
        if cost <= left || left == allowed && (cost <= at_once || takes_long) {
            *self.allowances.left(purpose) = left.saturating_sub(cost);
            self.chosen.insert(run);
            return true;
        }
        if cost > at_once && !takes_long && !self.is_ahead(purpose) {
            let slices = self.inputs.tiles.iter().flat_map(|tile| {
                let of_run = tile.slices.iter().filter(|slice| slice.run == run);
                of_run.map(|slice| (tile.range.clone(), *slice))
            });
            let ahead = Ahead { purpose, run, slices: slices.collect() };
            self.begin.push(ahead);
        }
        false
    }

    /// Whether an upload ahead is on its way.
    fn is_ahead(&self, purpose: Purpose) -> bool {
        let is_on_its_way = |ahead: &Ahead| ahead.purpose == purpose && !(self.inputs.is_shipped)(ahead.run);
        self.inputs.ahead.iter().any(is_on_its_way) || self.begin.iter().any(|ahead| ahead.purpose == purpose)
    }

    /// Rebases tiles in the repo, as long as they may be uploaded.
    fn rebase(&mut self) {
        let allowed = self.allowances.rebase;
        while self.allowances.rebase > 0 && !self.is_ahead(Purpose::Rebase) {
            let is_first = self.allowances.rebase == allowed;
            let cost_max = if is_first { u64::MAX } else { self.allowances.rebase };
            let Some((tile, base)) = self.next_due(cost_max) else { return };
            if !self.is_affordable(Purpose::Rebase, base.run) {
                return;
            }
            self.put_base(tile, base);
            self.rebased_tiles += 1;
        }
    }

    /// Puts a base below what is newer in a tile, in the place of what it covers.
    fn put_base(&mut self, tile: usize, base: PlanSlice) {
        let pieces = &mut self.pieces[tile];
        let bytes = base.bytes / pieces.len() as u64;
        for piece in pieces {
            piece.slices.retain(|slice| slice.first > base.last);
            piece.slices.push(PlanSlice { bytes, ..base });
        }
        self.join(tile);
    }

    /// The tile to be rebased next, and its local base, whose upload costs at most `cost_max`.
    fn next_due(&self, cost_max: u64) -> Option<(usize, PlanSlice)> {
        let candidate = |tile: usize| {
            let base = *self.inputs.tiles[tile].slices.last()?;
            (self.can_rebase(tile, base) && self.cost(base.run) <= cost_max).then_some((tile, base))
        };
        let most_let_go = |due: Vec<usize>| {
            let candidates = due.into_iter().filter_map(candidate);
            candidates.max_by_key(|(tile, base)| (self.bytes_let_go(*tile, base.last), usize::MAX - *tile))
        };
        let outgrown = |tile: &usize| {
            let sums = self.sums(*tile);
            sums.deltas as f64 > self.inputs.policy.ratio * sums.base as f64
        };
        most_let_go((0..self.pieces.len()).filter(outgrown).collect()).or_else(|| {
            let DueTogether { order, is_over } = self.due_together();
            if is_over { order.into_iter().find_map(candidate) } else { most_let_go(order) }
        })
    }

    /// The tiles that must be rebased one after the other, so that all deltas together stay within their share.
    fn due_together(&self) -> DueTogether {
        let live: u64 = self.inputs.tiles.iter().filter_map(|tile| tile.slices.last()).map(|base| base.bytes).sum();
        let held_max = live as f64 * HELD_SHARE * self.inputs.policy.ratio;
        let sums: Vec<TileSums> = (0..self.pieces.len()).map(|tile| self.sums(tile)).collect();
        let mut order: Vec<usize> = (0..sums.len()).filter(|tile| sums[*tile].deltas > 0).collect();
        order.sort_by_key(|tile| (sums[*tile].base_last, *tile));
        let mut ahead: u64 = order.iter().map(|tile| sums[*tile].base).sum();
        let (mut held, mut met, mut due) = (0, BTreeSet::new(), 0);
        for (place, tile) in order.iter().enumerate().rev() {
            let deltas = self.deltas(*tile).filter(|slice| met.insert(slice.run));
            held += deltas.map(|slice| (self.inputs.run_bytes)(slice.run)).sum::<u64>();
            if due == 0 && held as f64 + ahead as f64 / REBASED_SHARE > held_max {
                due = place + 1;
            }
            ahead -= sums[*tile].base;
        }
        order.truncate(due);
        DueTogether { order, is_over: held as f64 > held_max }
    }

    fn sums(&self, tile: usize) -> TileSums {
        let bases = self.pieces[tile].iter().filter_map(|piece| piece.slices.last());
        TileSums {
            base: bases.clone().map(|base| base.bytes).sum(),
            deltas: self.deltas(tile).map(|slice| slice.bytes).sum(),
            base_last: bases.map(|base| base.last).min().unwrap_or(u64::MAX),
        }
    }

    /// The slices of a tile above its bases.
    fn deltas(&self, tile: usize) -> impl Iterator<Item = &PlanSlice> {
        let pieces = self.pieces[tile].iter();
        pieces.flat_map(|piece| piece.slices.split_last().map_or(&[][..], |(_, deltas)| deltas))
    }

    /// Bytes of the runs of a tile's deltas that a base up to `seal` takes the place of.
    fn bytes_let_go(&self, tile: usize, seal: u64) -> u64 {
        let runs: BTreeSet<RunId> =
            self.deltas(tile).filter(|slice| slice.last <= seal).map(|slice| slice.run).collect();
        runs.into_iter().map(self.inputs.run_bytes).sum()
    }

    /// Whether a local base is newer than those shipped, and ends where slices end.
    fn can_rebase(&self, tile: usize, base: PlanSlice) -> bool {
        self.pieces[tile].iter().all(|piece| {
            let is_newer = piece.slices.last().is_none_or(|shipped| shipped.last < base.last);
            is_newer && piece.slices.iter().all(|slice| slice.last <= base.last || slice.first > base.last)
        })
    }

    /// Replaces deltas by merged ones where stacks are too long.
    fn shorten(&mut self) {
        let mut uploaded = 0;
        let mut longest_first: Vec<usize> = (0..self.pieces.len()).collect();
        longest_first.sort_by_key(|tile| std::cmp::Reverse(self.longest(*tile)));
        for tile in longest_first {
            while self.longest(tile) > self.inputs.policy.stack_max {
                let Some((slice, cost)) = self.best_merged(tile) else { break };
                if !self.is_affordable(Purpose::Shorten, slice.run) {
                    break;
                }
                uploaded += usize::from(cost > 0);
                self.replace(tile, slice);
            }
        }
        if uploaded > 0 {
            // What is uploaded anyway shortens other stacks too.
            for tile in 0..self.pieces.len() {
                for slice in self.inputs.tiles[tile].slices.clone() {
                    if self.cost(slice.run) == 0 && self.replaced(tile, slice) > 1 {
                        self.replace(tile, slice);
                    }
                }
            }
        }
        self.shortening_runs += uploaded;
    }

    /// The local slice that replaces the most shipped ones for its cost.
    fn best_merged(&self, tile: usize) -> Option<(PlanSlice, u64)> {
        let candidates = self.inputs.tiles[tile].slices.iter().filter_map(|slice| {
            let replaced = self.replaced(tile, *slice);
            (replaced > 1).then(|| (*slice, self.cost(slice.run), replaced))
        });
        let worth = |(_, cost, replaced): &(PlanSlice, u64, usize)| *cost as f64 / (*replaced - 1) as f64;
        let best = candidates.min_by(|left, right| worth(left).total_cmp(&worth(right)));
        best.map(|(slice, cost, _)| (slice, cost))
    }

    /// How many slices of the tile's shortest stack a local slice can take the place of; 0 where it does not fit.
    fn replaced(&self, tile: usize, local: PlanSlice) -> usize {
        let replaced = |piece: &PlanStack| {
            let deltas = piece.slices.split_last().map_or(&[][..], |(_, deltas)| deltas);
            let fits = piece.slices.iter().all(|slice| is_apart(slice, &local) || is_inside(slice, &local));
            let spares_base = piece.slices.last().is_none_or(|base| is_apart(base, &local));
            if fits && spares_base { deltas.iter().filter(|slice| is_inside(slice, &local)).count() } else { 0 }
        };
        self.pieces[tile].iter().map(replaced).min().unwrap_or(0)
    }

    /// Puts a local slice into the place of those it covers.
    fn replace(&mut self, tile: usize, local: PlanSlice) {
        let pieces = &mut self.pieces[tile];
        let bytes = local.bytes / pieces.len() as u64;
        for piece in pieces {
            let at = piece.slices.iter().position(|slice| is_inside(slice, &local)).expect("some are replaced");
            piece.slices.retain(|slice| !is_inside(slice, &local));
            piece.slices.insert(at, PlanSlice { bytes, ..local });
        }
    }

    /// Joins neighbouring stacks of a tile that are equal but for their ranges.
    fn join(&mut self, tile: usize) {
        let joined = join(std::mem::take(&mut self.pieces[tile]));
        self.pieces[tile] = joined;
    }

    fn finish(self, useless: BTreeSet<RunId>) -> ShipPlan {
        let pieces = self.pieces.into_iter().flat_map(join);
        let stacks: Vec<PlanStack> = pieces.filter(|piece| !piece.slices.is_empty()).collect();
        let runs: BTreeSet<RunId> = stacks.iter().flat_map(|stack| &stack.slices).map(|slice| slice.run).collect();
        ShipPlan {
            stacks,
            uploads: runs.into_iter().filter(|run| !(self.inputs.is_shipped)(*run)).collect(),
            rebased_tiles: self.rebased_tiles,
            shortening_runs: self.shortening_runs,
            begin: self.begin,
            useless,
            allowances: self.allowances,
        }
    }
}

/// Tiles that are due because of what all tiles hold together.
struct DueTogether {
    /// Oldest base first.
    order: Vec<usize>,
    /// All deltas are more than their share already.
    is_over: bool,
}

/// Bytes of a tile's shipped stacks.
struct TileSums {
    /// Of the oldest slices.
    base: u64,
    /// Of the others.
    deltas: u64,
    /// The last seal of the oldest base.
    base_last: u64,
}

fn is_inside(slice: &PlanSlice, outer: &PlanSlice) -> bool {
    outer.first <= slice.first && slice.last <= outer.last
}

fn is_apart(slice: &PlanSlice, other: &PlanSlice) -> bool {
    slice.last < other.first || other.last < slice.first
}

/// Joins neighbours that touch and have the same slices.
fn join(stacks: Vec<PlanStack>) -> Vec<PlanStack> {
    let mut joined: Vec<PlanStack> = Vec::with_capacity(stacks.len());
    for stack in stacks {
        let same = |left: &PlanSlice, right: &PlanSlice| {
            (left.run, left.first, left.last) == (right.run, right.first, right.last)
        };
        match joined.last_mut() {
            Some(last)
                if last.range.end.as_ref() == Some(&stack.range.start)
                    && last.slices.len() == stack.slices.len()
                    && last.slices.iter().zip(&stack.slices).all(|(left, right)| same(left, right)) =>
            {
                last.range.end = stack.range.end;
                for (left, right) in last.slices.iter_mut().zip(stack.slices) {
                    left.bytes += right.bytes;
                }
            }
            _ => joined.push(stack),
        }
    }
    joined
}

/// Cuts shipped stacks along local tiles. Each tile's keys are covered, by empty stacks where nothing was shipped.
fn cut(tiles: &[PlanStack], shipped: &[PlanStack]) -> Vec<Vec<PlanStack>> {
    let parts = parts_of(tiles, shipped);
    let mut next = 0;
    let mut cut = Vec::with_capacity(tiles.len());
    for tile in tiles {
        let mut pieces = Vec::new();
        let mut at = Some(tile.range.start.clone());
        while let (Some(start), Some(stack)) = (&at, shipped.get(next)) {
            let range = stack.range.intersect(&tile.range);
            if range.is_empty() {
                break;
            }
            if *start < range.start {
                let gap = KeyRange { start: start.clone(), end: Some(range.start.clone()) };
                pieces.push(PlanStack { range: gap, slices: Vec::new() });
            }
            let part = |slice: &PlanSlice| PlanSlice { bytes: slice.bytes / parts[next], ..*slice };
            let ends_here = stack.range.end == range.end;
            at = range.end.clone();
            pieces.push(PlanStack { slices: stack.slices.iter().map(part).collect(), range });
            if !ends_here {
                break;
            }
            next += 1;
        }
        if let Some(start) = at {
            let rest = KeyRange { start, end: tile.range.end.clone() };
            if !rest.is_empty() {
                pieces.push(PlanStack { range: rest, slices: Vec::new() });
            }
        }
        cut.push(pieces);
    }
    cut
}

/// How many tiles each shipped stack is cut over.
fn parts_of(tiles: &[PlanStack], shipped: &[PlanStack]) -> Vec<u64> {
    let starts: Vec<&[u8]> = tiles.iter().map(|tile| &tile.range.start[..]).collect();
    let part = |stack: &PlanStack| {
        let first = starts.partition_point(|start| *start <= &stack.range.start[..]);
        let last =
            stack.range.end.as_ref().map_or(starts.len(), |end| starts.partition_point(|start| *start < &end[..]));
        1 + last.saturating_sub(first) as u64
    };
    shipped.iter().map(part).collect()
}

#[cfg(test)]
mod tests;
