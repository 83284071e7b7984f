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
//! Ranges of shipped stacks are cut where local tiles are cut, and joined again where stacks are equal.

use std::collections::BTreeSet;

use bedload_lsm::{KeyRange, RunId};

/// Bytes of all deltas in the repo, over `ratio` times the bytes of the state.
const HELD_SHARE: f64 = 0.6;
/// Bytes of tiles that a checkpoint uploads as a whole, over those of its deltas; but one tile, whatever it weighs.
const REBASED_SHARE: f64 = 1.5;

/// What decides, beside the stacks.
#[derive(Clone, Debug, PartialEq)]
pub struct ShipPolicy {
    /// Bytes of deltas over bytes of the base at which a tile is uploaded as a whole (default 2). Smaller: more is uploaded, less
    /// is kept in the repo and read by a restore.
    pub ratio: f64,
    /// How many slices a shipped stack may have before merged ones are uploaded (default 48).
    pub stack_max: usize,
}

impl Default for ShipPolicy {
    fn default() -> ShipPolicy {
        ShipPolicy { ratio: 2.0, stack_max: 48 }
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
}

/// Plans the upload of a frozen state.
pub(crate) fn plan_shipping(inputs: &ShipInputs<'_>) -> ShipPlan {
    let mut planning = match inputs.base {
        Some((shipped, deltas)) => Planning::new(inputs, shipped, deltas),
        None => Planning::whole(inputs),
    };
    let delta_bytes =
        inputs.base.map_or(0, |(_, deltas)| deltas.iter().map(|delta| (inputs.run_bytes)(delta.run)).sum());
    let rebased_tiles = planning.rebase(delta_bytes);
    let shortening_runs = planning.shorten();
    let stacks = planning.finish();
    let runs: BTreeSet<RunId> = stacks.iter().flat_map(|stack| &stack.slices).map(|slice| slice.run).collect();
    let uploads = runs.into_iter().filter(|run| !(inputs.is_shipped)(*run)).collect();
    ShipPlan { stacks, uploads, rebased_tiles, shortening_runs }
}

/// A plan in the making.
struct Planning<'a> {
    inputs: &'a ShipInputs<'a>,
    /// The shipped stacks of each tile's keys: mostly one.
    pieces: Vec<Vec<PlanStack>>,
    /// Runs whose upload is decided: they cost nothing more.
    chosen: BTreeSet<RunId>,
}

impl<'a> Planning<'a> {
    /// Ships the local stacks as they are.
    fn whole(inputs: &'a ShipInputs<'a>) -> Planning<'a> {
        let pieces = inputs.tiles.iter().map(|tile| vec![tile.clone()]).collect();
        Planning { inputs, pieces, chosen: BTreeSet::new() }
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
        Planning { inputs, pieces, chosen }
    }

    /// What it costs to upload a run; nothing when that is decided or done.
    fn cost(&self, run: RunId) -> u64 {
        if self.chosen.contains(&run) || (self.inputs.is_shipped)(run) { 0 } else { (self.inputs.run_bytes)(run) }
    }

    /// Rebases tiles in the repo, one at least where one is due, for up to [`REBASED_SHARE`] times `delta_bytes`; gives how many.
    fn rebase(&mut self, delta_bytes: u64) -> usize {
        let budget = (delta_bytes as f64 * REBASED_SHARE) as u64;
        let (mut spent, mut rebased) = (0, 0);
        while budget > 0
            && let Some((tile, base)) = self.next_due(if spent == 0 { u64::MAX } else { budget.saturating_sub(spent) })
        {
            spent += self.cost(base.run);
            rebased += 1;
            self.chosen.insert(base.run);
            let pieces = &mut self.pieces[tile];
            let bytes = base.bytes / pieces.len() as u64;
            for piece in pieces {
                piece.slices.retain(|slice| slice.first > base.last);
                piece.slices.push(PlanSlice { bytes, ..base });
            }
            self.join(tile);
        }
        rebased
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

    /// Replaces deltas by merged ones where stacks are too long; gives how many runs are uploaded for that.
    fn shorten(&mut self) -> usize {
        let mut uploaded = 0;
        for tile in 0..self.pieces.len() {
            while self.pieces[tile].iter().any(|piece| piece.slices.len() > self.inputs.policy.stack_max) {
                let Some((slice, cost)) = self.best_merged(tile) else { break };
                uploaded += usize::from(cost > 0);
                self.chosen.insert(slice.run);
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
        uploaded
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

    fn finish(self) -> Vec<PlanStack> {
        let pieces = self.pieces.into_iter().flat_map(join).filter(|piece| !piece.slices.is_empty());
        pieces.collect()
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
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A simulated store: keys are tiles of one byte, local stacks are merged at random, and what was shipped is kept.
    struct Simulation {
        policy: ShipPolicy,
        tiles: Vec<PlanStack>,
        shipped: Option<Vec<PlanStack>>,
        run_bytes: BTreeMap<RunId, u64>,
        in_repo: BTreeSet<RunId>,
        next_run: u64,
        seal: u64,
        uploaded: u64,
    }

    impl Simulation {
        fn new(tiles: u8, base_bytes: u64, policy: ShipPolicy) -> Simulation {
            let range = |tile: u8| KeyRange {
                start: if tile == 0 { Vec::new() } else { vec![tile] },
                end: (tile + 1 < tiles).then(|| vec![tile + 1]),
            };
            let tiles = (0..tiles).map(|tile| PlanStack { range: range(tile), slices: Vec::new() }).collect();
            let (run_bytes, in_repo) = (BTreeMap::new(), BTreeSet::new());
            let mut simulation =
                Simulation { policy, tiles, shipped: None, run_bytes, in_repo, next_run: 0, seal: 0, uploaded: 0 };
            for tile in 0..simulation.tiles.len() {
                let run = simulation.run(base_bytes);
                simulation.tiles[tile].slices.push(PlanSlice { run, first: 0, last: 0, bytes: base_bytes });
            }
            simulation
        }

        fn run(&mut self, bytes: u64) -> RunId {
            self.next_run += 1;
            let run = RunId { opening: 1, sequence: self.next_run };
            self.run_bytes.insert(run, bytes);
            run
        }

        /// A seal whose delta has `bytes` in each of these tiles; then the checkpoint.
        fn checkpoint(&mut self, touched: &[usize], bytes: u64) -> ShipPlan {
            self.seal += 1;
            let run = self.run(bytes * touched.len() as u64);
            let slice = PlanSlice { run, first: self.seal, last: self.seal, bytes };
            for tile in touched {
                self.tiles[*tile].slices.insert(0, slice);
            }
            let tiles = touched.iter().map(|tile| (*tile, bytes)).collect();
            let delta = [PlanDelta { run, first: self.seal, last: self.seal, tiles }];
            let plan = plan_shipping(&ShipInputs {
                tiles: &self.tiles,
                base: self.shipped.as_deref().map(|shipped| (shipped, &delta[..])),
                run_bytes: &|run| self.run_bytes[&run],
                is_shipped: &|run| self.in_repo.contains(&run),
                policy: &self.policy,
            });
            self.uploaded = plan.uploads.iter().map(|run| self.run_bytes[run]).sum();
            self.in_repo.extend(&plan.uploads);
            self.shipped = Some(plan.stacks.clone());
            plan
        }

        /// Makes one slice of those `from` on (0: the newest) in a tile.
        fn merge(&mut self, tile: usize, from: usize, to: usize) {
            let slices = &self.tiles[tile].slices[from..to];
            let bytes = if to == self.tiles[tile].slices.len() {
                slices.last().expect("a merge has inputs").bytes
            } else {
                slices.iter().map(|slice| slice.bytes).sum()
            };
            let (first, last) = (slices[slices.len() - 1].first, slices[0].last);
            let run = self.run(bytes);
            self.tiles[tile].slices.splice(from..to, [PlanSlice { run, first, last, bytes }]);
        }

        /// As the store does: rebase a tile when its young bytes outgrow 0.4 of its base, or up to 30 % less, by chance;
        /// merge young ones eight at a time.
        fn compact(&mut self) {
            for tile in 0..self.tiles.len() {
                let slices = &self.tiles[tile].slices;
                let young: u64 = slices[..slices.len() - 1].iter().map(|slice| slice.bytes).sum();
                let chance = (tile as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                let ratio = 0.4 * (1.0 - 0.3 * (chance as f64 / f64::from(u32::MAX)));
                if young as f64 > ratio * slices[slices.len() - 1].bytes as f64 {
                    let count = slices.len();
                    // The newest one stays above it.
                    self.merge(tile, 1, count);
                    continue;
                }
                // Eight neighbours of about one size, smallest first.
                let mut from = 0;
                while from + 8 < self.tiles[tile].slices.len() {
                    let eight = &self.tiles[tile].slices[from..from + 8];
                    let most = eight.iter().map(|slice| slice.bytes).max().expect("eight");
                    if eight.iter().all(|slice| slice.bytes * 4 > most) {
                        self.merge(tile, from, from + 8);
                    } else {
                        from += 1;
                    }
                }
            }
        }

        fn repo_bytes(&self) -> u64 {
            let stacks = self.shipped.iter().flatten();
            let runs: BTreeSet<RunId> = stacks.flat_map(|stack| &stack.slices).map(|slice| slice.run).collect();
            runs.iter().map(|run| self.run_bytes[run]).sum()
        }
    }

    /// Every seal that touched a tile is covered, once, in order.
    fn check_stacks(plan: &ShipPlan, simulation: &Simulation, touched: &BTreeMap<usize, BTreeSet<u64>>) {
        for pair in plan.stacks.windows(2) {
            assert!(pair[0].range.end.as_ref().is_some_and(|end| *end <= pair[1].range.start), "{pair:?}");
        }
        for stack in &plan.stacks {
            for pair in stack.slices.windows(2) {
                assert!(pair[0].first > pair[1].last, "slices out of order: {stack:?}");
            }
        }
        for (tile, seals) in touched {
            let key = &simulation.tiles[*tile].range.start;
            let stack = plan.stacks.iter().find(|stack| stack.range.contains(key)).expect("the tile was touched");
            for seal in seals {
                let covers = stack.slices.iter().filter(|slice| (slice.first..=slice.last).contains(seal)).count();
                assert_eq!(covers, 1, "seal {seal} of tile {tile}: {stack:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_seal_is_lost_or_doubled(
            steps in proptest::collection::vec((0usize..6, 0usize..6, any::<u32>()), 1..60),
            stack_max in 2usize..8,
            ratio in 1u32..4,
        ) {
            let policy = ShipPolicy { ratio: f64::from(ratio), stack_max };
            let mut simulation = Simulation::new(6, 1000, policy);
            let mut touched: BTreeMap<usize, BTreeSet<u64>> = (0..6).map(|tile| (tile, BTreeSet::from([0]))).collect();
            for (left, right, random) in steps {
                let range = left.min(right)..left.max(right) + 1;
                let tiles: Vec<usize> = range.collect();
                let plan = simulation.checkpoint(&tiles, u64::from(random % 700) + 1);
                for tile in tiles {
                    touched.get_mut(&tile).unwrap().insert(simulation.seal);
                }
                check_stacks(&plan, &simulation, &touched);
                for tile in 0..6 {
                    let count = simulation.tiles[tile].slices.len();
                    let from = (random as usize >> (3 * tile)) % count;
                    if count - from > 1 && random >> tile & 1 == 0 {
                        simulation.merge(tile, from, count.min(from + 3));
                    }
                }
            }
        }
    }

    /// What 100 checkpoints behind 300 others upload, for what changed; what the repo holds, for what lives, on average and at
    /// most; the most that one checkpoint uploads, for what changed. Each changes `share` of every tile.
    fn uniform_load(tiles: u8, share: f64) -> (f64, f64, f64, f64) {
        let base_bytes = 1_000_000;
        let (each, live) = ((base_bytes as f64 * share) as u64, base_bytes * u64::from(tiles));
        let mut simulation = Simulation::new(tiles, base_bytes, ShipPolicy::default());
        let all: Vec<usize> = (0..usize::from(tiles)).collect();
        simulation.checkpoint(&all, each);
        let (mut uploaded, mut most, mut held, mut held_most) = (0, 0, 0.0, 0.0);
        for number in 0..400 {
            simulation.compact();
            simulation.checkpoint(&all, each);
            // Behind the start, where all tiles are of one age.
            if number >= 300 {
                uploaded += simulation.uploaded;
                most = most.max(simulation.uploaded);
                let share = simulation.repo_bytes() as f64 / live as f64;
                (held, held_most) = (held + share, f64::max(held_most, share));
            }
        }
        let changed = (each * u64::from(tiles)) as f64;
        (uploaded as f64 / changed / 100.0, held / 100.0, held_most, most as f64 / changed)
    }

    #[test]
    fn uniform_load_uploads_little_more_than_what_changed() {
        for (tiles, share) in [(30, 0.05), (64, 0.03), (100, 0.02), (30, 0.02)] {
            let (ratio, held, held_most, most) = uniform_load(tiles, share);
            let told = format!(
                "{tiles} tiles, {share} changed: {ratio:.2} uploaded, {most:.2} at most; {held:.2} in the repo, \
                 {held_most:.2} at most"
            );
            assert!(ratio < 2.3 && held < 2.25 && held_most < 2.4 && most < 4.1, "{told}");
        }
    }

    #[test]
    fn a_checkpoint_without_deltas_uploads_nothing() {
        let mut simulation = Simulation::new(8, 1_000_000, ShipPolicy::default());
        let all: Vec<usize> = (0..8).collect();
        for _ in 0..8 {
            simulation.checkpoint(&all, 200_000);
        }
        // All are due now: there are newer local bases, and more deltas than there may be.
        (0..8).for_each(|tile| simulation.merge(tile, 0, simulation.tiles[tile].slices.len()));
        let shipped = simulation.shipped.clone().expect("checkpoints were taken");
        let plan = plan_shipping(&ShipInputs {
            tiles: &simulation.tiles,
            base: Some((&shipped, &[])),
            run_bytes: &|run| simulation.run_bytes[&run],
            is_shipped: &|run| simulation.in_repo.contains(&run),
            policy: &simulation.policy,
        });
        assert_eq!((plan.uploads.len(), plan.stacks), (0, shipped));
        simulation.checkpoint(&all, 1);
        assert!(simulation.uploaded >= 1_000_000, "the next one goes on: {}", simulation.uploaded);
    }

    #[test]
    fn load_on_few_tiles_rebases_those() {
        let mut simulation = Simulation::new(40, 1_000_000, ShipPolicy::default());
        simulation.checkpoint(&[3, 4], 500_000);
        let mut uploaded = 0;
        for _ in 0..200 {
            simulation.compact();
            simulation.checkpoint(&[3, 4], 500_000);
            uploaded += simulation.uploaded;
        }
        let ratio = uploaded as f64 / (200.0 * 2.0 * 500_000.0);
        assert!(ratio < 1.8, "{ratio} times what changed was uploaded");
        let repo = simulation.repo_bytes();
        assert!(repo < 46_000_000, "the repo holds {repo} bytes of 40 MB");
    }

    #[test]
    fn many_small_checkpoints_keep_stacks_short() {
        let mut simulation = Simulation::new(16, 10_000_000, ShipPolicy::default());
        let all: Vec<usize> = (0..16).collect();
        let mut longest = 0;
        let mut uploaded = 0;
        for _ in 0..1000 {
            let plan = simulation.checkpoint(&all, 1_000);
            uploaded += simulation.uploaded;
            longest = plan.stacks.iter().map(|stack| stack.slices.len()).max().unwrap();
            simulation.compact();
        }
        assert!(longest <= 60, "{longest} slices");
        let ratio = (uploaded - 160_000_000) as f64 / 16_000_000.0;
        assert!(ratio < 3.0, "{ratio} times what changed was uploaded");
    }
}
