//! Any claims that may stand in a repo, and any key groups: each wanted key gets the stack that the one claim of its group has for
//! it, and no other key gets one; or the claims do not cover what is wanted once, or disagree, and that is told.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use bedload_lsm::{ErrorKind, RunId};
use bedload_snapshot::testing::claim_fault;
use bedload_snapshot::{
    Attempt, Bound, CheckpointId, Claim, ClaimedRun, ClaimedSlice, ClaimedStack, Hex, JobName, KeyGroups, ParcelName,
    RestorePlan, Timings, Upload, WorkerName,
};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

/// Of a few: mostly small ones, so that claims meet, and sometimes any.
fn draw_group(from: &mut Unstructured<'_>) -> Result<u16> {
    if from.ratio(1, 16)? { from.arbitrary() } else { from.int_in_range(0..=7) }
}

fn draw_groups(from: &mut Unstructured<'_>) -> Result<KeyGroups> {
    let first = draw_group(from)?;
    let last = if from.ratio(1, 16)? { draw_group(from)? } else { first.saturating_add(from.int_in_range(0..=4)?) };
    Ok(KeyGroups { first, last })
}

/// A key in or near some groups.
fn draw_bound(from: &mut Unstructured<'_>, groups: KeyGroups) -> Result<Vec<u8>> {
    let group = groups.first.saturating_add(from.int_in_range(0..=5)?);
    let mut key = group.to_be_bytes().to_vec();
    match from.int_in_range(0..=7)? {
        0 => key.truncate(from.int_in_range(0..=1)?),
        1 => key.push(from.arbitrary()?),
        2 => key.extend(from.arbitrary::<[u8; 2]>()?),
        _ => {}
    }
    Ok(key)
}

fn draw_run(from: &mut Unstructured<'_>) -> Result<ClaimedRun> {
    let sequence = from.int_in_range(0..=7)?;
    // Most claims tell the same of a run.
    let other = u8::from(from.ratio(1, 24)?);
    Ok(ClaimedRun {
        parcel: ParcelName { run: RunId { opening: 7, sequence }, upload: Upload(from.int_in_range(0..=1)?) },
        bytes: 4096 + u64::from(from.ratio(1, 24)?),
        digest: Hex([sequence as u8 + 8 * other; 32]),
        parcel_bytes: if from.ratio(1, 8)? { from.arbitrary()? } else { 1000 },
        parcel_digest: Hex([2; 32]),
    })
}

fn draw_claim(from: &mut Unstructured<'_>, groups: KeyGroups, number: usize) -> Result<Claim> {
    let mut runs = BTreeMap::new();
    for _ in 0..from.int_in_range(0..=4)? {
        let run = draw_run(from)?;
        runs.insert(run.parcel.run, run);
    }
    let runs: Vec<ClaimedRun> = runs.into_values().collect();
    let mut bounds = BTreeSet::new();
    for _ in 0..from.int_in_range(0..=5)? {
        bounds.insert(draw_bound(from, groups)?);
    }
    let keys = groups.keys();
    if from.arbitrary()? {
        bounds.insert(keys.start);
    }
    let mut bounds: Vec<Vec<u8>> = bounds.into_iter().collect();
    let ends_with_claim = from.arbitrary()?;
    let mut stacks = Vec::new();
    while let Some(start) = (!bounds.is_empty()).then(|| bounds.remove(0)) {
        let end = bounds.first().cloned();
        if from.ratio(1, 6)? {
            continue;
        }
        let mut slices = Vec::new();
        for _ in 0..from.int_in_range(0..=3)? {
            let run = from.int_in_range(0..=runs.len().saturating_sub(1) as u32)?;
            slices.push(ClaimedSlice { run, bytes: from.int_in_range(0..=1000)? });
        }
        let end = match end {
            None if ends_with_claim => keys.end.clone(),
            None => break,
            end => end,
        };
        stacks.push(ClaimedStack { start: Bound(start), end: end.map(Bound), slices });
    }
    Ok(Claim {
        job: JobName::new("late-board").expect("a fine name"),
        checkpoint: CheckpointId { epoch: 3, number: 18 },
        worker: WorkerName::new(&format!("w-{number}")).expect("a fine name"),
        attempt: Attempt(5),
        groups,
        clocks: (0..from.int_in_range(0..=2)?).map(|_| from.arbitrary()).collect::<Result<_>>()?,
        runs,
        stacks,
        timings: Timings::default(),
        attachment: Default::default(),
    })
}

fn draw(from: &mut Unstructured<'_>) -> Result<(Vec<Claim>, KeyGroups)> {
    let wanted = draw_groups(from)?;
    let mut claims = Vec::new();
    let mut next = from.int_in_range(0..=2)?;
    for number in 0..from.int_in_range(0..=4)? {
        // Most claims stand side by side, as those of a checkpoint do.
        let groups = match from.ratio(1, 8)? {
            true => draw_groups(from)?,
            false => KeyGroups { first: next, last: next + from.int_in_range(0..=3)? },
        };
        next = groups.last.saturating_add(1).min(u16::MAX - 4);
        let claim = draw_claim(from, groups, number)?;
        if claim_fault(&claim).is_none() {
            claims.push(claim);
        }
    }
    if from.arbitrary()? {
        claims.reverse();
    }
    Ok((claims, wanted))
}

/// Whether each wanted group is in one claim.
fn covers_once(claims: &[Claim], wanted: KeyGroups) -> bool {
    if wanted.first > wanted.last {
        return false;
    }
    // How many claims have a group changes at these alone.
    let starts = claims.iter().flat_map(|claim| [Some(claim.groups.first), claim.groups.last.checked_add(1)]);
    let mut groups =
        starts.flatten().chain([wanted.first]).filter(|group| (wanted.first..=wanted.last).contains(group));
    groups.all(|group| {
        claims.iter().filter(|claim| (claim.groups.first..=claim.groups.last).contains(&group)).count() == 1
    })
}

/// The stacks that hold a part of what is wanted, each with the number of its claim.
fn used(claims: &[Claim], wanted: KeyGroups) -> Vec<(usize, &ClaimedStack)> {
    let keys = wanted.keys();
    let stacks =
        claims.iter().enumerate().flat_map(|(number, claim)| claim.stacks.iter().map(move |stack| (number, stack)));
    stacks.filter(|(_, stack)| !stack.slices.is_empty() && stack.range().overlaps(&keys)).collect()
}

fn check(claims: &[Claim], wanted: KeyGroups, plan: &RestorePlan) {
    assert_eq!(plan.groups, wanted);
    assert!(plan.runs.is_sorted_by(|left, right| left.parcel.run < right.parcel.run), "a run is planned twice");
    let places: BTreeSet<usize> = plan.stacks.iter().flat_map(|stack| stack.runs.iter().copied()).collect();
    assert!(places.into_iter().eq(0..plan.runs.len()), "each run is needed, and is there");
    assert!(
        plan.stacks
            .is_sorted_by(|left, right| { left.range.end.as_ref().is_some_and(|end| *end <= right.range.start) })
    );

    // What a key gets changes at these keys alone.
    let keys = wanted.keys();
    let used = used(claims, wanted);
    let ranges = used.iter().map(|(_, stack)| stack.range()).chain(plan.stacks.iter().map(|stack| stack.range.clone()));
    let bounds: BTreeSet<Vec<u8>> = ranges
        .chain([keys.clone()])
        .flat_map(|range| [Some(range.start), range.end])
        .flatten()
        .chain([Vec::new()])
        .collect();
    for key in &bounds {
        let expected: Vec<_> = used
            .iter()
            .filter(|(_, stack)| keys.contains(key) && stack.range().contains(key))
            .map(|(number, stack)| {
                let run = |slice: &ClaimedSlice| (claims[*number].runs[slice.run as usize].parcel.run, slice.bytes);
                (*number, stack.slices.iter().map(run).collect::<Vec<_>>())
            })
            .collect();
        let planned: Vec<_> = plan
            .stacks
            .iter()
            .filter(|stack| stack.range.contains(key))
            .map(|stack| {
                assert_eq!(stack.runs.len(), stack.bytes.len());
                let runs = stack.runs.iter().zip(&stack.bytes);
                (stack.claim, runs.map(|(place, bytes)| (plan.runs[*place].parcel.run, *bytes)).collect::<Vec<_>>())
            })
            .collect();
        assert!(expected.len() <= 1, "the claims cover a key once");
        assert_eq!(planned, expected, "key {}", key.escape_ascii());
    }

    let clipped = used.iter().filter(|(_, stack)| !keys.covers(&stack.range()));
    let clipped: BTreeSet<RunId> = clipped
        .flat_map(|(number, stack)| {
            stack.slices.iter().map(|slice| claims[*number].runs[slice.run as usize].parcel.run)
        })
        .collect();
    assert_eq!(plan.clipped_runs, clipped.len());
    let parcels = plan.runs.iter().map(|run| u128::from(run.parcel_bytes)).sum::<u128>();
    assert_eq!(u128::from(plan.parcel_bytes()), parcels.min(u128::from(u64::MAX)));
    for claim in claims.iter().filter(|claim| claim.groups.overlaps(wanted)) {
        let readings = plan.clocks.readings();
        assert!(claim.clocks().readings().iter().zip(readings).all(|(claimed, planned)| claimed <= planned));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok((claims, wanted)) = draw(&mut Unstructured::new(bytes)) else { return };
    let mut told = BTreeMap::new();
    let used = used(&claims, wanted);
    let mut runs = used
        .iter()
        .flat_map(|(number, stack)| stack.slices.iter().map(|slice| claims[*number].runs[slice.run as usize]));
    let agree =
        runs.all(|run| *told.entry(run.parcel.run).or_insert((run.bytes, run.digest)) == (run.bytes, run.digest));
    let expected = match covers_once(&claims, wanted) {
        false => Err(ErrorKind::Fix),
        true if !agree => Err(ErrorKind::Damaged),
        true => Ok(()),
    };
    let planned = RestorePlan::new(&claims, wanted);
    assert_eq!(planned.as_ref().map(drop).map_err(|error| error.kind()), expected, "{planned:?}");
    if let Ok(plan) = planned {
        check(&claims, wanted, &plan);
    }
});
