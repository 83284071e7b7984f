//! What every plan must keep, and single cases that say why.

use proptest::prelude::*;

use super::simulation::{Model, Random, slice};
use super::*;

fn small_tuning() -> PickerTuning {
    PickerTuning::derived(4, 0.4, 12, 64 << 10)
}

/// What must hold of every plan.
fn check(picture: &Picture, plan: &Plan) {
    let (area, join) = match plan {
        Plan::Drop { area } => (area, false),
        Plan::Merge { area, join_tiles, .. } => (area, *join_tiles),
    };
    assert!(area.first <= area.last && area.tiles.start < area.tiles.end && area.tiles.end <= picture.tiles.len());
    for job in &picture.jobs {
        let apart = job.tiles.end <= area.tiles.start || area.tiles.end <= job.tiles.start;
        assert!(apart || job.last < area.first || area.last < job.first, "{plan:?} touches {job:?}");
    }
    let (mut most, mut all, mut frees) = (0, 0, false);
    for tile in area.tiles.clone() {
        let slices = &picture.tiles[tile].slices;
        let inputs = stack::inputs(slices, area.first, area.last).expect("no slice lies partly inside");
        let inside = |slice: &SlicePicture| area.first <= slice.first && slice.last <= area.last;
        assert!(slices.iter().enumerate().all(|(index, slice)| inputs.contains(&index) == inside(slice)));
        if join {
            assert_eq!(inputs.len(), slices.len());
        }
        if matches!(plan, Plan::Drop { .. }) {
            assert!(inputs.is_empty() || inputs.end == slices.len());
            assert!(slices[inputs.clone()].iter().all(|slice| slice.expired));
        }
        for slice in &slices[inputs.clone()] {
            let reached: u64 = picture
                .tiles
                .iter()
                .flat_map(|tile| &tile.slices)
                .filter(|s| s.run == slice.run)
                .map(|s| s.bytes)
                .sum();
            frees |= picture.runs[slice.run].bytes > reached;
            frees |= inputs.end == slices.len() && slice.tombstones > 0;
        }
        most = most.max(inputs.len());
        all += inputs.len();
    }
    match plan {
        Plan::Drop { .. } => assert!(all > 0),
        Plan::Merge { .. } => assert!(most > 1 || frees || join, "{plan:?} gains nothing"),
    }
}

/// A store after a random history.
fn history(seed: u64, steps: u64, tuning: &PickerTuning) -> Model {
    let random = &mut Random(seed);
    let mut model = Model::with_tiles(&vec![40 << 10; 1 + random.below(12) as usize]);
    for _ in 0..steps {
        let scale = 1 << random.below(14);
        let sparse = random.below(4) == 0;
        let share = |_| if sparse && random.below(3) > 0 { 0 } else { random.below(scale) };
        let shares: Vec<u64> = (0..model.domains.len()).map(share).collect();
        model.flush(&shares);
        for tile in &mut model.picture.tiles {
            if let Some(slice) = tile.slices.first_mut().filter(|slice| slice.last == model.seal) {
                slice.tombstones = if random.below(6) == 0 { slice.entries } else { 0 };
                slice.expired = slice.tombstones == 0 && random.below(8) == 0;
                slice.absent = random.below(30) == 0;
            }
        }
        if random.below(10) == 0 && model.domains.len() < 40 {
            let tile = random.below(model.domains.len() as u64) as usize;
            model.split(tile);
        }
        if random.below(2) == 0
            && let Some(plan) = pick(&model.picture, tuning)
        {
            check(&model.picture, &plan);
            model.apply(&plan);
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn plans_are_sound_and_come_to_an_end(seed: u64, steps in 0u64..80) {
        let tuning = small_tuning();
        let mut model = history(seed, steps, &tuning);
        let mut plans = 0;
        while let Some(plan) = pick(&model.picture, &tuning) {
            check(&model.picture, &plan);
            prop_assert_eq!(Some(plan.clone()), pick(&model.picture, &tuning));
            model.apply(&plan);
            plans += 1;
            prop_assert!(plans < 2000, "no end: {:?}", plan);
        }
        let longest = model.picture.tiles.iter().map(|tile| tile.slices.len()).max().unwrap_or(0);
        prop_assert!(longest <= tuning.stack_max);
    }

    #[test]
    fn plans_keep_out_of_running_jobs(seed: u64, steps in 10u64..80) {
        let tuning = small_tuning();
        let mut model = history(seed, steps, &tuning);
        while let Some(plan) = pick(&model.picture, &tuning) {
            check(&model.picture, &plan);
            let (Plan::Merge { area, .. } | Plan::Drop { area }) = plan;
            model.picture.jobs.push(area);
            prop_assert!(model.picture.jobs.len() < 2000);
        }
    }
}

#[test]
fn nothing_is_planned_for_an_empty_store() {
    assert_eq!(pick(&Picture::default(), &small_tuning()), None);
    let empty = Picture { tiles: vec![TilePicture::default()], ..Picture::default() };
    assert_eq!(pick(&empty, &small_tuning()), None);
    assert!(pressure(&empty, &small_tuning()) == 0.0);
}

#[test]
fn small_slices_of_many_tiles_become_one_file() {
    let mut model = Model::with_tiles(&[40 << 10; 10]);
    for _ in 0..4 {
        model.flush(&[100; 10]);
    }
    let area = Area { tiles: 0..10, first: 2, last: 5 };
    let plan = Plan::Merge { area, why: Why::Wide, join_tiles: false };
    assert_eq!(pick(&model.picture, &small_tuning()), Some(plan));
}

#[test]
fn a_hot_tile_rebases_alone() {
    let mut model = Model::with_tiles(&[40 << 10; 10]);
    let mut shares = [0; 10];
    (shares[3], shares[4]) = (30 << 10, 10);
    model.flush(&shares);
    let area = Area { tiles: 3..4, first: 1, last: 2 };
    let plan = Plan::Merge { area, why: Why::Rebase, join_tiles: false };
    assert_eq!(pick(&model.picture, &small_tuning()), Some(plan));
}

#[test]
fn a_wide_merge_reaches_over_a_tile_that_has_it_behind() {
    let mut model = Model::with_tiles(&[40 << 10; 5]);
    for _ in 0..4 {
        model.flush(&[100, 100, 0, 100, 100]);
    }
    model.picture.tiles[2].slices[0].last = 5;
    let area = Area { tiles: 0..5, first: 2, last: 5 };
    let plan = Plan::Merge { area, why: Why::Wide, join_tiles: false };
    assert_eq!(pick(&model.picture, &small_tuning()), Some(plan));
}

#[test]
fn what_lives_of_a_mostly_dead_file_moves() {
    let mut model = Model::with_tiles(&[40 << 10; 5]);
    model.flush(&[1000; 5]);
    let run = model.picture.tiles[0].slices[0].run;
    model.picture.runs[run].bytes = 100 << 10;
    let area = Area { tiles: 0..5, first: 2, last: 2 };
    let plan = Plan::Merge { area, why: Why::Dead, join_tiles: false };
    assert_eq!(pick(&model.picture, &small_tuning()), Some(plan));
}

#[test]
fn expired_slices_leave_only_when_nothing_older_overlaps() {
    let mut model = Model::with_tiles(&[40 << 10, 40 << 10]);
    model.flush(&[10, 10]);
    for tile in &mut model.picture.tiles {
        tile.slices[0].expired = true;
    }
    assert_eq!(pick(&model.picture, &small_tuning()), None);
    model.picture.tiles[0].slices.pop();
    let area = Area { tiles: 0..1, first: 2, last: 2 };
    assert_eq!(pick(&model.picture, &small_tuning()), Some(Plan::Drop { area }));
}

#[test]
fn tombstones_bring_a_rebase_forward() {
    let mut model = Model::with_tiles(&[40 << 10]);
    let run = model.new_run(2000);
    let entries = model.picture.tiles[0].slices[0].entries;
    let tombstones = SlicePicture { entries: entries / 2, tombstones: entries / 2, ..slice(run, 2, 2, 2000) };
    model.picture.tiles[0].slices.insert(0, tombstones);
    let area = Area { tiles: 0..1, first: 1, last: 2 };
    let plan = Plan::Merge { area, why: Why::Rebase, join_tiles: false };
    assert_eq!(pick(&model.picture, &small_tuning()), Some(plan));
}

#[test]
fn jobs_that_need_absent_bytes_come_last() {
    let mut model = Model::with_tiles(&[40 << 10, 40 << 10]);
    model.flush(&[30 << 10, 20 << 10]);
    model.picture.tiles[0].slices[1].absent = true;
    let order: Vec<_> = std::iter::from_fn(|| {
        let plan = pick(&model.picture, &small_tuning())?;
        model.apply(&plan);
        let (Plan::Merge { area, .. } | Plan::Drop { area }) = plan;
        Some(area.tiles)
    })
    .collect();
    assert_eq!(order, [1..2, 0..1]);
}

#[test]
fn small_neighbours_are_joined() {
    let mut model = Model::with_tiles(&[40 << 10, 1000, 1000, 40 << 10]);
    let area = Area { tiles: 1..3, first: 1, last: 1 };
    assert_eq!(pick(&model.picture, &small_tuning()), Some(Plan::Merge { area, why: Why::Join, join_tiles: true }));
    let plan = pick(&model.picture, &small_tuning()).unwrap();
    model.apply(&plan);
    assert_eq!(model.picture.tiles.len(), 3);
    assert_eq!(pick(&model.picture, &small_tuning()), None);
}

#[test]
fn pressure_rises_with_stacks_and_with_young_bytes() {
    let tuning = small_tuning();
    let mut model = Model::with_tiles(&[40 << 10]);
    assert!(pressure(&model.picture, &tuning) == 0.0);
    model.flush(&[(40 << 10) * 8 / 10]);
    let ratio = pressure(&model.picture, &tuning);
    assert!(ratio > 0.4 && ratio < 0.6, "{ratio}");
    for _ in 0..30 {
        model.flush(&[1]);
    }
    assert!(pressure(&model.picture, &tuning) == 1.0);
}
