//! The memory budget: kept under large values, and pressure is told before anything blocks.

use std::sync::Arc;

use bedload_lsm::fs::MemoryFs;
use bedload_lsm::{Env, Store, Tuning};

fn open(memory: usize, memtable: usize, threads: usize) -> (Env, Store) {
    let env =
        Env::builder().fs(Arc::new(MemoryFs::new())).memory(memory).threads(threads).build().expect("threads start");
    let mut tuning = Tuning::default();
    tuning.memtable_bytes = memtable;
    let store = Store::options().env(&env).tuning(tuning).open("/store").expect("an empty disk opens");
    (env, store)
}

#[test]
fn large_values_keep_the_budget() {
    let memory = 8 << 20;
    for threads in [0, 1] {
        let (_env, mut store) = open(memory, 0, threads);
        let value = vec![7; 1 << 20];
        for number in 0..60u32 {
            store.put(&number.to_be_bytes(), &value).unwrap();
            let stats = store.stats();
            let held = stats.memtable_bytes + stats.active_bytes + stats.cache_bytes as usize;
            assert!(held <= memory, "{held} bytes held after {number} values, budget {memory}");
        }
        for number in 0..60u32 {
            assert_eq!(store.get(&number.to_be_bytes()).unwrap().as_deref(), Some(&value[..]));
        }
    }
}

/// A memtable that was sealed early counted what lay in it, and held a whole chunk beside.
#[test]
fn memtables_sealed_early_count_all_they_hold() {
    let (_env, mut store) = open(64 << 20, 0, 0);
    for number in 0..40u32 {
        store.put(&number.to_be_bytes(), &[1; 100_000]).unwrap();
        store.view().unwrap();
    }
    let held = store.stats().memtable_bytes;
    assert!(held >= 40 * 200_000, "{held} bytes told of forty memtables of a chunk each");
}

#[test]
fn a_value_larger_than_a_memtable_is_taken() {
    let (_env, mut store) = open(1 << 20, 16 << 10, 0);
    let value = vec![9; 300 << 10];
    store.put(b"large", &value).unwrap();
    store.put(b"small", b"1").unwrap();
    assert_eq!(store.get(b"large").unwrap().as_deref(), Some(&value[..]));
    store.flush().unwrap();
    assert_eq!(store.get(b"large").unwrap().as_deref(), Some(&value[..]));
    assert_eq!(store.get(b"small").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn pressure_rises_before_a_write_blocks() {
    // Nobody flushes here but a writer that has to wait.
    let (_env, mut store) = open(1 << 20, 64 << 10, 0);
    let mut highest = 0.0f64;
    let mut number = 0u32;
    while store.metrics().wait_time.count() == 0 {
        highest = highest.max(store.pressure());
        store.put(&number.to_be_bytes(), &[1; 100]).unwrap();
        number += 1;
    }
    assert!(highest >= 0.9, "a write blocked at pressure {highest}");
}

#[test]
fn two_stores_share_one_budget() {
    let memory = 2 << 20;
    let (env, mut first) = open(memory, 0, 0);
    let mut second = Store::options().env(&env).open("/other").unwrap();
    for number in 0..20_000u32 {
        for store in [&mut first, &mut second] {
            store.put(&number.to_be_bytes(), &[3; 100]).unwrap();
        }
        if number % 1000 == 0 {
            let held = |store: &Store| store.stats().memtable_bytes + store.stats().active_bytes;
            let both = held(&first) + held(&second);
            assert!(both <= memory, "{both} bytes held by two stores, budget {memory}");
        }
    }
}
