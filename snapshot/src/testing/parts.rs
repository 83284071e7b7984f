//! The ship decision on its own, for benchmarks.

use bedload_lsm::{KeyRange, RunId};

use crate::ship_plan::{PlanDelta, PlanSlice, PlanStack, ShipInputs, ShipPolicy, plan_shipping};

/// A state of many tiles, of which each has a base and some deltas, locally and in the repo.
pub struct ShipScene {
    tiles: Vec<PlanStack>,
    deltas: Vec<PlanDelta>,
    policy: ShipPolicy,
}

impl ShipScene {
    /// `tiles` tiles with `slices` slices each.
    pub fn new(tiles: usize, slices: u64) -> ShipScene {
        let bound = |tile: usize| (tile as u32).to_be_bytes().to_vec();
        let run = |sequence| RunId { opening: 1, sequence };
        let stack = |tile: usize| {
            let young =
                (1..slices).rev().map(|seal| PlanSlice { run: run(seal), first: seal, last: seal, bytes: 10_000 });
            let base = PlanSlice { run: run(1_000_000 + tile as u64), first: 0, last: 0, bytes: 1_000_000 };
            let range = KeyRange { start: bound(tile), end: (tile + 1 < tiles).then(|| bound(tile + 1)) };
            PlanStack { range, slices: young.chain([base]).collect() }
        };
        let delta = PlanDelta {
            run: run(slices),
            first: slices,
            last: slices,
            tiles: (0..tiles).map(|tile| (tile, 10_000)).collect(),
        };
        ShipScene { tiles: (0..tiles).map(stack).collect(), deltas: vec![delta], policy: ShipPolicy::default() }
    }

    /// Decides one checkpoint; gives how many runs it uploads.
    pub fn plan(&self) -> usize {
        let plan = plan_shipping(&ShipInputs {
            tiles: &self.tiles,
            base: Some((&self.tiles, &self.deltas)),
            run_bytes: &|_| 1_000_000,
            is_shipped: &|run| run != self.deltas[0].run,
            ahead: &[],
            checkpoints_ahead: 1000,
            policy: &self.policy,
        });
        plan.uploads.len()
    }
}
