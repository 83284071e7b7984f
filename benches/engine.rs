//! What operations on typed states cost, beside those of the raw store.
//!
//! `cargo bench -p benches --bench engine`. What is compared takes turns, so that a busy machine slows both: of few keys, which lie in
//! the processor's caches and so show what the face costs, and of many, as an operator has them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bedload::{Engine, List, Map, MergeFunction, Reducing, Spec, Start, Timers, Value};
use bedload_lsm::{Env, Slot, Store};
use benches::{OperatorKeys, point_key, spread};
use criterion::{Criterion, Throughput, criterion_group};
use tempfile::TempDir;

const KEYS: u64 = 100_000;
const VALUE: Spec<Value<[f64; 4]>> = Value::named("value");
const LIST: Spec<List<u64>> = List::named("list");
const SUM: Spec<Reducing<i64>> = Reducing::sum("sum");
const BY: Spec<Reducing<i64>> = Reducing::by("by", i64::wrapping_add);
const WITH: Spec<Reducing<i64>> = Reducing::with("with", MergeFunction::new("sum", 1, i64::wrapping_add));
const MAP: Spec<Map<u64, u64>> = Map::named("map");

/// Version and four numbers, as the typed value has them.
const VALUE_BYTES: usize = 33;

#[expect(clippy::disallowed_methods, reason = "a bench needs the clock")]
fn now() -> Instant {
    Instant::now()
}

fn open() -> (TempDir, Engine) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let builder = Engine::builder(directory.path()).start(Start::Empty).memory(1 << 30);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    let engine = runtime.block_on(builder.open()).expect("an empty directory");
    (directory, engine)
}

fn update_typed(engine: &mut Engine, state: &bedload::State<Value<[f64; 4]>>, key: u64) {
    let mut key = engine.with_key(&key).expect("all keys are here");
    key.update(state, |value| value.get_or_insert_default()[0] += 1.0).expect("memory has room");
}

fn update_raw(store: &mut Store, key: u64) {
    let change = |slot: &mut Slot<'_>| match slot.value_mut() {
        Some(value) => {
            let (count, _) = value[1..].split_first_chunk_mut::<8>().expect("it has numbers");
            *count = (f64::from_le_bytes(*count) + 1.0).to_le_bytes();
        }
        None => slot.put(&[0; VALUE_BYTES]),
    };
    store.update(&point_key(key)[..16], change).expect("memory has room");
}

/// Lets the two take turns with some keys, and prints what each took.
fn compare_updates(keys: u64) {
    const ROUND: u64 = 100_000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let env = Env::builder().memory(1 << 30).build().expect("threads start");
    let mut store = Store::options().env(&env).shape(OperatorKeys).open(directory.path()).expect("an empty directory");
    let (_engine_directory, mut engine) = open();
    let state = engine.state(VALUE).expect("nothing is declared");
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..41 {
        let range = round * ROUND..(round + 1) * ROUND;
        let start = now();
        range.clone().for_each(|number| update_raw(&mut store, spread(number) % keys));
        let between = now();
        range.for_each(|number| update_typed(&mut engine, &state, spread(number) % keys));
        times[0].push(between - start);
        times[1].push(now() - between);
    }
    let [raw, typed] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_nanos() as f64 / ROUND as f64
    });
    println!(
        "update of one of {keys} keys in the memtable: raw {raw:.0} ns, typed {typed:.0} ns, {:.2} times",
        typed / raw
    );
}

fn states(criterion: &mut Criterion) {
    let (_directory, mut engine) = open();
    let (list, map) = (engine.state(LIST).expect("new"), engine.state(MAP).expect("new"));
    let mut group = criterion.benchmark_group("states");
    group.sample_size(20);
    let mut number = 0u64;
    group.bench_function("list add", |bencher| {
        bencher.iter(|| {
            number += 1;
            let mut key = engine.with_key(&(spread(number) % KEYS)).expect("all keys are here");
            key.add(&list, number).expect("memory has room");
        });
    });
    for (name, spec) in
        [("add to a sum of the store", SUM), ("add by reading and writing", BY), ("add by a merge function", WITH)]
    {
        let state = engine.state(spec).expect("new");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                number += 1;
                let mut key = engine.with_key(&(spread(number) % KEYS)).expect("all keys are here");
                key.add(&state, 1).expect("memory has room");
            });
        });
    }
    for number in 0..1_000_000 {
        let mut key = engine.with_key(&(number % KEYS)).expect("all keys are here");
        key.insert(&map, &(number / KEYS), &number).expect("memory has room");
    }
    group.bench_function("map insert", |bencher| {
        bencher.iter(|| {
            number += 1;
            let mut key = engine.with_key(&(spread(number) % KEYS)).expect("all keys are here");
            key.insert(&map, &(number % 10), &number).expect("memory has room");
        });
    });
    group.bench_function("map find", |bencher| {
        bencher.iter(|| {
            number += 1;
            let mut key = engine.with_key(&(spread(number) % KEYS)).expect("all keys are here");
            black_box(key.find(&map, &(number % 10)).expect("a healthy disk"))
        });
    });
    group.bench_function("map entries, 10 of them", |bencher| {
        bencher.iter(|| {
            number += 1;
            let mut key = engine.with_key(&(spread(number) % KEYS)).expect("all keys are here");
            let mut entries = key.entries(&map);
            let mut sum = 0;
            while let Some((_, value)) = entries.next().expect("a healthy disk") {
                sum += value;
            }
            black_box(sum)
        });
    });
    group.finish();
}

/// How long it takes to set a million timers, and to fire them.
fn set_and_fire(engine: &mut Engine, idle: &Timers<()>, start: u64) -> [Duration; 2] {
    let begin = now();
    for number in 0..1_000_000 {
        let mut key = engine.with_key(&number).expect("all keys are here");
        key.set_timer(idle, start + spread(number) % 100_000).expect("memory has room");
    }
    let set = now();
    let fired = engine.advance_watermark(start + 100_000, |_, _| Ok(())).expect("memory has room");
    assert_eq!(fired, 1_000_000);
    [set - begin, now() - set]
}

fn timers(criterion: &mut Criterion) {
    let (_directory, mut engine) = open();
    let idle = engine.timers::<()>("idle").expect("new");
    let mut group = criterion.benchmark_group("timers");
    group.sample_size(10).throughput(Throughput::Elements(1_000_000));
    let mut start = 0;
    for (part, name) in ["set a million", "fire a million due at once"].into_iter().enumerate() {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let round = |_| {
                    start += 100_001;
                    set_and_fire(&mut engine, &idle, start)[part]
                };
                (0..rounds).map(round).sum()
            });
        });
    }
    group.finish();
}

criterion_group!(all, states, timers);

fn main() {
    compare_updates(1_000);
    compare_updates(KEYS);
    all();
    Criterion::default().configure_from_args().final_summary();
}
