//! No allocation for an entry: what is allocated is counted while entries are written and read.
#![expect(unsafe_code, reason = "a counting allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bedload_lsm::fs::MemoryFs;
use bedload_lsm::{Env, Store, Tuning};

/// Counts allocations of this process.
struct Counting(AtomicU64);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(AtomicU64::new(0));

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATOR.0.load(Ordering::Relaxed);
    work();
    ALLOCATOR.0.load(Ordering::Relaxed) - before
}

fn key(number: u32) -> [u8; 12] {
    let mut key = *b"key.........";
    key[8..].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
    key
}

const ENTRIES: u32 = 20_000;

/// One test: the counter is the process's.
#[test]
fn writes_and_reads_allocate_nothing_for_an_entry() {
    let env = Env::builder().fs(Arc::new(MemoryFs::new())).memory(64 << 20).threads(0).build().unwrap();
    let mut tuning = Tuning::default();
    tuning.keep_flushed = false;
    let mut store = Store::options().env(&env).tuning(tuning).open("/store").unwrap();
    let inserts = allocations(|| (0..ENTRIES).for_each(|number| store.put(&key(number), &[1; 64]).unwrap()));
    assert!(inserts < 1500, "{inserts} allocations for {ENTRIES} inserts: only indexes may grow");
    let updates = allocations(|| {
        for number in 0..ENTRIES {
            store.update(&key(number), |slot| slot.value_mut().unwrap()[0] += 1).unwrap();
            store.put(&key(number), &[2; 64]).unwrap();
        }
    });
    assert_eq!(updates, 0, "updates in place");
    let hits = |store: &Store| {
        allocations(|| (0..ENTRIES).for_each(|number| assert!(store.get(&key(number)).unwrap().is_some())))
    };
    assert_eq!(hits(&store), 0, "gets from the memtable");
    let flush = allocations(|| store.flush().unwrap());
    assert!(flush < 2500, "{flush} allocations to flush {ENTRIES} entries");
    assert_eq!(hits(&store), 0, "gets from a mapped run");
    let misses = allocations(|| {
        (0..ENTRIES).for_each(|number| assert!(store.get(&key(number + ENTRIES)).unwrap().is_none()));
    });
    assert_eq!(misses, 0, "gets that miss");
    let scan = allocations(|| {
        let mut scan = store.scan(..).unwrap();
        while scan.next_entry().unwrap().is_some() {}
    });
    assert!(scan < 200, "{scan} allocations to scan {ENTRIES} entries");
}
