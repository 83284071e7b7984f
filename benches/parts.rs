//! What single parts of the store cost: memtable, filter, index, block. Flush, merge and seal are in `store`.
//!
//! `cargo bench -p benches --bench parts`. A million entries, met in random order: what is measured is mostly how many cache
//! lines each must wait for.

use std::hint::black_box;

use bedload_lsm::testing::{BareMemtable, BareRun};
use benches::{OperatorKeys, VALUE_BYTES, map_key, point_key, spread};
use criterion::{Criterion, criterion_group, criterion_main};

const KEYS: u64 = 1_000_000;

fn memtable(criterion: &mut Criterion) {
    let mut table = BareMemtable::new(OperatorKeys, KEYS as usize);
    (0..KEYS).for_each(|number| table.put(&point_key(number), &[number as u8; VALUE_BYTES]));
    let mut group = criterion.benchmark_group("memtable");
    let mut number = 0u64;
    let mut next = || {
        number += 1;
        spread(number) % KEYS
    };
    group.bench_function("probe hit", |bencher| {
        bencher.iter(|| black_box(table.contains(&point_key(next()))));
    });
    group.bench_function("probe miss", |bencher| {
        bencher.iter(|| black_box(table.contains(&point_key(KEYS + next()))));
    });
    group.bench_function("change in place", |bencher| {
        bencher.iter(|| black_box(table.change(&point_key(next()))));
    });
    group.bench_function("insert and remove", |bencher| {
        bencher.iter(|| {
            let key = point_key(KEYS + next());
            table.put(&key, &[1; VALUE_BYTES]);
            black_box(table.remove(&key))
        });
    });
    group.bench_function("insert and remove, scanned", |bencher| {
        let mut table = BareMemtable::new(OperatorKeys, KEYS as usize);
        (0..KEYS).for_each(|entry| table.put(&map_key(entry / 50, entry % 50), &[1; 20]));
        bencher.iter(|| {
            let key = map_key(next() / 50, 50);
            table.put(&key, &[1; 20]);
            black_box(table.remove(&key))
        });
    });
    group.finish();
}

fn run(criterion: &mut Criterion) {
    let mut keys: Vec<_> = (0..KEYS).map(point_key).collect();
    keys.sort_unstable();
    let run = BareRun::new(OperatorKeys, &keys, &[1; VALUE_BYTES]).expect("it is written to memory");
    let mut group = criterion.benchmark_group("run");
    let mut number = 0u64;
    let mut next = || {
        number += 1;
        spread(number) % KEYS
    };
    group.bench_function("filter, absent key", |bencher| {
        bencher.iter(|| black_box(run.may_contain(&point_key(KEYS + next()))));
    });
    group.bench_function("indexes", |bencher| {
        bencher.iter(|| black_box(run.block_of(&point_key(next())).expect("it is whole")));
    });
    group.bench_function("get", |bencher| {
        bencher.iter(|| black_box(run.get(&point_key(next())).expect("it is whole")));
    });
    group.finish();
}

criterion_group!(all, memtable, run);
criterion_main!(all);
