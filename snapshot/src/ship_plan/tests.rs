//! Random loads on a simulated store, and what every plan must keep.

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
    /// Runs that are uploaded ahead, and how much of them was.
    ahead: Vec<(Ahead, u64)>,
}

impl Simulation {
    fn new(tiles: u8, base_bytes: u64, policy: ShipPolicy) -> Simulation {
        let range = |tile: u8| KeyRange {
            start: if tile == 0 { Vec::new() } else { vec![tile] },
            end: (tile + 1 < tiles).then(|| vec![tile + 1]),
        };
        let tiles = (0..tiles).map(|tile| PlanStack { range: range(tile), slices: Vec::new() }).collect();
        let (run_bytes, in_repo) = (BTreeMap::new(), BTreeSet::new());
        let (shipped, ahead) = (None, Vec::new());
        let (next_run, seal, uploaded) = (0, 0, 0);
        let mut simulation = Simulation { policy, tiles, shipped, run_bytes, in_repo, next_run, seal, uploaded, ahead };
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
        let ahead: Vec<Ahead> = self.ahead.iter().map(|(ahead, _)| ahead.clone()).collect();
        let plan = plan_shipping(&ShipInputs {
            tiles: &self.tiles,
            base: self.shipped.as_deref().map(|shipped| (shipped, &delta[..])),
            run_bytes: &|run| self.run_bytes[&run],
            is_shipped: &|run| self.in_repo.contains(&run),
            ahead: &ahead,
            checkpoints_ahead: 1000,
            policy: &self.policy,
        });
        self.uploaded = plan.uploads.iter().map(|run| self.run_bytes[run]).sum();
        self.ahead.retain(|(ahead, _)| !self.in_repo.contains(&ahead.run));
        self.ahead.extend(plan.begin.iter().map(|ahead| (ahead.clone(), 0)));
        for (ahead, sent) in &mut self.ahead {
            let now = plan.allowances.of(ahead.purpose).min(self.run_bytes[&ahead.run] - *sent);
            *sent += now;
            self.uploaded += now;
            if *sent == self.run_bytes[&ahead.run] {
                self.in_repo.insert(ahead.run);
            }
        }
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
        whole in 0u32..9,
    ) {
        let policy = ShipPolicy { ratio: f64::from(ratio), stack_max, whole_max: u64::from(whole) * 100 };
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
        ahead: &[],
        checkpoints_ahead: 1000,
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

/// What checkpoints behind half of `count` others upload, for what changed: on average, and at most; and the longest stack. Each
/// changes `each` bytes of every tile.
fn small_load(tiles: u8, each: u64, count: u32) -> (f64, f64, usize) {
    let mut simulation = Simulation::new(tiles, 79_000_000, ShipPolicy::default());
    let all: Vec<usize> = (0..usize::from(tiles)).collect();
    simulation.checkpoint(&all, each);
    let (mut uploaded, mut most, mut longest) = (0, 0, 0);
    for number in 0..count {
        simulation.compact();
        let plan = simulation.checkpoint(&all, each);
        if number >= count / 2 {
            uploaded += simulation.uploaded;
            most = most.max(simulation.uploaded);
            longest = plan.stacks.iter().map(|stack| stack.slices.len()).max().unwrap().max(longest);
        }
    }
    let changed = (each * u64::from(tiles)) as f64;
    (uploaded as f64 / changed / f64::from(count - count / 2), most as f64 / changed, longest)
}

#[test]
fn tiles_that_outweigh_what_changed_make_no_checkpoint_large() {
    for (tiles, each, count) in [(2, 10_000_000, 300), (30, 400_000, 600)] {
        let (ratio, most, longest) = small_load(tiles, each, count);
        let told = format!("{tiles} tiles, {each} bytes: {ratio:.2} uploaded, {most:.2} at most, {longest} slices");
        assert!(ratio < 3.6 && most < 4.0 && longest < 100, "{told}");
    }
}
