//! What the parts of a checkpoint cost that do not wait for a network: the decision, parcels, and the plan of a restore. The pause
//! is `seal` in `store`.
//!
//! `cargo bench -p benches --bench shipping`.

use std::hint::black_box;

use bedload_lsm::RunId;
use bedload_snapshot::testing::{ShipScene, decode_parcel, encode_parcel};
use bedload_snapshot::{
    Attempt, CheckpointId, Claim, ClaimedRun, ClaimedSlice, ClaimedStack, Hex, JobName, KeyGroups, ParcelName,
    RestorePlan, Timings, Upload, WorkerName,
};
use benches::spread;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Bytes that a parcel is made of: a run of counters, which compresses by half.
fn run_bytes(count: usize) -> Vec<u8> {
    let number = |index: u64| if index.is_multiple_of(2) { spread(index) } else { index >> 6 };
    (0..count as u64 / 8).flat_map(|index| number(index).to_le_bytes()).collect()
}

fn decision(criterion: &mut Criterion) {
    let scene = ShipScene::new(5_000, 20);
    criterion.bench_function("ship decision, 100,000 slices", |bencher| bencher.iter(|| black_box(scene.plan())));
}

fn parcels(criterion: &mut Criterion) {
    let run = run_bytes(8 << 20);
    let parcel = bytes::Bytes::from(encode_parcel(&run));
    let mut group = criterion.benchmark_group("parcel");
    group.throughput(Throughput::Bytes(run.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| black_box(encode_parcel(&run).len())));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| black_box(decode_parcel(&parcel, run.len() as u64).expect("it is sound").len()));
    });
    group.finish();
}

fn restore_plan(criterion: &mut Criterion) {
    let claims: Vec<Claim> = (0..100).map(claim).collect();
    let groups = KeyGroups { first: 100, last: 27_000 };
    criterion.bench_function("restore plan, 100 claims of 1,000 slices", |bencher| {
        bencher.iter(|| black_box(RestorePlan::new(&claims, groups).expect("all is covered").runs.len()));
    });
}

/// The claim of one of 100 workers: a hundred tiles with ten slices each.
fn claim(worker: u32) -> Claim {
    let groups = KeyGroups::of_worker(32_768, 100, worker);
    let run = |sequence: u64| ClaimedRun {
        parcel: ParcelName { run: RunId { opening: u64::from(worker), sequence }, upload: Upload(1) },
        bytes: 1 << 20,
        digest: Hex([0; 32]),
        parcel_bytes: 1 << 19,
        parcel_digest: Hex([0; 32]),
    };
    let stack = |tile: u32| {
        let part = KeyGroups::of_worker(groups.count(), 100, tile);
        let keys = KeyGroups { first: groups.first + part.first, last: groups.first + part.last }.keys();
        let slices = (0..10).map(|slice| ClaimedSlice { run: if slice == 9 { 9 + tile } else { slice }, bytes: 1000 });
        ClaimedStack::new(&keys, slices.collect())
    };
    Claim {
        job: JobName::new("job").expect("a fine name"),
        checkpoint: CheckpointId { epoch: 1, number: 1 },
        worker: WorkerName::new(&format!("w-{worker}")).expect("a fine name"),
        attempt: Attempt(1),
        groups,
        clocks: Vec::new(),
        runs: (0..109).map(run).collect(),
        stacks: (0..100).map(stack).collect(),
        timings: Timings::default(),
        attachment: Default::default(),
    }
}

criterion_group!(benches, decision, parcels, restore_plan);
criterion_main!(benches);
