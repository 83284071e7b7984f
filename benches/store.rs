//! What single operations of the store cost.
//!
//! `cargo bench -p benches` runs all; `cargo bench -p benches -- update` those with "update" in their name. Machines are noisy:
//! compare within one run.

use std::hint::black_box;
use std::time::Duration;

use bedload_lsm::{Env, Store, Tuning};
use benches::{OperatorKeys, VALUE_BYTES, map_key, point_key, spread};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const KEYS: u64 = 1_000_000;

/// A store of a million entries, flushed and merged.
fn loaded(memory: usize, threads: usize) -> (TempDir, Env, Store) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let env = Env::builder().memory(memory).threads(threads).build().expect("threads start");
    let mut store = Store::options().env(&env).shape(OperatorKeys).open(directory.path()).expect("an empty directory");
    for number in 0..KEYS {
        store.put(&point_key(number), &[number as u8; VALUE_BYTES]).expect("the disk has room");
    }
    store.flush().expect("the disk has room");
    while env.step_background(&mut || 2) {}
    store.refresh();
    (directory, env, store)
}

fn reads(criterion: &mut Criterion) {
    let (_directory, _env, store) = loaded(64 << 20, 0);
    let mut group = criterion.benchmark_group("read");
    let mut number = 0u64;
    group.bench_function("get hit, uniform", |bencher| {
        bencher.iter(|| {
            number += 1;
            black_box(store.get(&point_key(spread(number) % KEYS)).expect("a healthy disk").is_some())
        });
    });
    group.bench_function("get miss", |bencher| {
        bencher.iter(|| {
            number += 1;
            black_box(store.get(&point_key(KEYS + number)).expect("a healthy disk").is_none())
        });
    });
    let keys: Vec<_> = (0..64).map(|index| point_key(spread(index) % KEYS)).collect();
    group.throughput(Throughput::Elements(64));
    group.bench_function("multi_get of 64", |bencher| {
        bencher.iter(|| black_box(store.multi_get(&keys).expect("a healthy disk").len()));
    });
    group.throughput(Throughput::Elements(1000));
    group.bench_function("scan 1000 entries", |bencher| {
        bencher.iter(|| {
            number += 1;
            let mut scan = store.scan(&point_key(number)[..]..).expect("a healthy disk");
            let mut bytes = 0;
            for _ in 0..1000 {
                let Some((key, value)) = scan.next_entry().expect("a healthy disk") else { break };
                bytes += key.len() + value.len();
            }
            black_box(bytes)
        });
    });
    group.finish();
}

fn writes(criterion: &mut Criterion) {
    let (_directory, _env, mut store) = loaded(512 << 20, 1);
    let mut group = criterion.benchmark_group("write");
    let mut number = 0u64;
    group.bench_function("put, uniform", |bencher| {
        bencher.iter(|| {
            number += 1;
            store.put(&point_key(spread(number) % KEYS), &[number as u8; VALUE_BYTES]).expect("the disk has room");
        });
    });
    group.bench_function("update, uniform", |bencher| {
        bencher.iter(|| {
            number += 1;
            let count = |slot: &mut bedload_lsm::Slot<'_>| {
                if let Some(value) = slot.value_mut() {
                    value[0] = value[0].wrapping_add(1);
                }
            };
            store.update(&point_key(spread(number) % KEYS), count).expect("the disk has room");
        });
    });
    group.bench_function("update, hot", |bencher| {
        bencher.iter(|| {
            number += 1;
            let count = |slot: &mut bedload_lsm::Slot<'_>| {
                if let Some(value) = slot.value_mut() {
                    value[0] = value[0].wrapping_add(1);
                }
            };
            store.update(&point_key(number % 1000), count).expect("the disk has room");
        });
    });
    group.bench_function("seal", |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                number += 1;
                store.put(&point_key(number % KEYS), &[1; VALUE_BYTES]).expect("the disk has room");
                black_box(store.view().expect("the disk has room"));
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn background(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("background");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    let entries = 200_000u64;
    group.throughput(Throughput::Bytes(entries * (18 + VALUE_BYTES as u64)));
    let filled = |keep: bool| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let env = Env::builder().memory(512 << 20).threads(0).build().expect("no threads");
        let mut tuning = Tuning::default();
        tuning.keep_flushed = keep;
        let options = Store::options().env(&env).shape(OperatorKeys).tuning(tuning);
        let mut store = options.open(directory.path()).expect("an empty directory");
        for number in 0..entries {
            store.put(&point_key(number), &[number as u8; VALUE_BYTES]).expect("memory has room");
        }
        (directory, env, store)
    };
    group.bench_function("flush", |bencher| {
        bencher.iter_batched(
            || filled(true),
            |(directory, env, mut store)| {
                store.flush().expect("the disk has room");
                (directory, env, store)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("merge two runs", |bencher| {
        bencher.iter_batched(
            || {
                let (directory, env, mut store) = filled(false);
                store.flush().expect("the disk has room");
                for number in (0..entries).step_by(2) {
                    store.put(&point_key(number), &[1; VALUE_BYTES]).expect("memory has room");
                }
                store.flush().expect("the disk has room");
                (directory, env, store)
            },
            |(directory, env, store)| {
                while env.step_background(&mut || 2) {}
                (directory, env, store)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("map scans of 10", |bencher| {
        let (directory, _env, mut store) = filled(false);
        for map in 0..10_000 {
            for entry in 0..10 {
                store.put(&map_key(map, entry), &[1; 20]).expect("memory has room");
            }
        }
        let mut number = 0;
        bencher.iter(|| {
            number += 1;
            let key = map_key(spread(number) % 10_000, 0);
            black_box(store.scan_prefix(&key[..11]).expect("a healthy disk").count())
        });
        drop((store, directory));
    });
    group.finish();
}

criterion_group!(all, reads, writes, background);
criterion_main!(all);
