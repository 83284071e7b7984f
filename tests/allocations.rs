//! No allocation for an entry: what is allocated is counted while entries are written and read.
#![expect(unsafe_code, reason = "a counting allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bedload::{Engine, List, Map, MergeFunction, Reducing, Residence, Spec, Start, Value};
use bedload_lsm::fs::{Fs, MemoryFs};
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
    check_store();
    for residence in [Residence::Disk, Residence::Heap] {
        check_states(residence);
    }
}

fn open_engine(residence: Residence) -> Engine {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("memory has room");
    let fs: Arc<dyn Fs> = Arc::new(MemoryFs::new());
    let env = Env::builder().fs(Arc::clone(&fs)).memory(256 << 20).threads(0).build().expect("memory has room");
    let builder = Engine::builder("worker").start(Start::Empty).residence(residence).env(&env).fs(fs).max_groups(4);
    runtime.block_on(builder.open()).expect("memory has room")
}

fn check_states(residence: Residence) {
    const VALUE: Spec<Value<[u64; 4]>> = Value::named("value");
    const LIST: Spec<List<u64, u64>> = List::named("list");
    const MAP: Spec<Map<u64, u64>> = Map::named("map");
    const SUM: Spec<Reducing<i64>> = Reducing::sum("sum");
    const GREATEST: Spec<Reducing<u64>> =
        Reducing::with("greatest", MergeFunction::new("the greater one", 1, u64::max));
    let mut engine = open_engine(residence);
    let (value, list) = (engine.state(VALUE).expect("memory has room"), engine.state(LIST).expect("memory has room"));
    let (map, sum) = (engine.state(MAP).expect("memory has room"), engine.state(SUM).expect("memory has room"));
    let greatest = engine.state(GREATEST).expect("memory has room");
    let idle = engine.timers::<u64>("idle").expect("memory has room");
    let is_disk = residence == Residence::Disk;
    let mut round = |name: &str, most: u64, work: &mut dyn FnMut(&mut Engine, u64)| {
        // What grows once has grown then.
        (0..u64::from(ENTRIES)).for_each(|number| work(&mut engine, number));
        let count = allocations(|| (0..u64::from(ENTRIES)).for_each(|number| work(&mut engine, number)));
        println!("{residence:?}, {name}: {count} allocations for {ENTRIES} operations");
        assert!(count <= most, "{residence:?}, {name}: {count} allocations for {ENTRIES} operations");
    };
    round("update of a value", 0, &mut |engine, number| {
        let mut key = engine.with_key(&(number % 5_000)).expect("memory has room");
        key.update(&value, |value| value.get_or_insert_default()[1] ^= 1).expect("memory has room");
    });
    round("get of a value", 0, &mut |engine, number| {
        let mut key = engine.with_key(&(number % 5_000)).expect("memory has room");
        assert!(key.get(&value).expect("memory has room").is_some());
    });
    // On disk, records that grow take the places of those that were cleared; in memory, each list is a vector of its own.
    round("add to a list", if is_disk { 20 } else { u64::MAX }, &mut |engine, number| {
        let mut key = engine.with_key(&(number % 500)).expect("memory has room");
        let mut key = key.namespace(&(number % 7));
        if number.is_multiple_of(8) {
            key.clear(&list).expect("memory has room");
        }
        key.add(&list, number).expect("memory has room");
    });
    round("insert into a map", 0, &mut |engine, number| {
        engine
            .with_key(&(number % 100))
            .expect("memory has room")
            .insert(&map, &(number % 50), &(number % 100))
            .expect("memory has room");
    });
    round("find in a map", 0, &mut |engine, number| {
        assert!(
            engine
                .with_key(&(number % 100))
                .expect("memory has room")
                .find(&map, &(number % 50))
                .expect("memory has room")
                .is_some()
        );
    });
    // Two for each merge of sources that reads some entries ahead: one for the sources, one for their order.
    round("walk over a map", if is_disk { 2 * u64::from(ENTRIES) } else { u64::MAX }, &mut |engine, number| {
        let mut key = engine.with_key(&(number % 100)).expect("memory has room");
        let mut entries = key.entries(&map);
        let mut count = 0;
        while entries.next().expect("memory has room").is_some() {
            count += 1;
        }
        assert!(count > 0);
    });
    round("add to a sum", if is_disk { 0 } else { u64::from(ENTRIES) }, &mut |engine, number| {
        engine.with_key(&(number % 1_000)).expect("memory has room").add(&sum, number as i64).expect("memory has room");
    });
    round("add by a merge function", if is_disk { 0 } else { 2 * u64::from(ENTRIES) }, &mut |engine, number| {
        engine.with_key(&(number % 1_000)).expect("memory has room").add(&greatest, number).expect("memory has room");
    });
    let mut now = 0;
    // Two for each scan that reads some hundred timers, and what an advance has for each of the queue's parts.
    round("set and fire a timer", if is_disk { 400 } else { u64::MAX }, &mut |engine, number| {
        engine
            .with_key(&(number % 1_000))
            .expect("memory has room")
            .namespace(&number)
            .set_timer(&idle, now + number % 500)
            .expect("memory has room");
        if number + 1 == u64::from(ENTRIES) {
            now += 1_000;
            assert_eq!(engine.advance_watermark(now, |_, _| Ok(())).expect("memory has room"), ENTRIES as usize);
        }
    });
}

fn check_store() {
    let env =
        Env::builder().fs(Arc::new(MemoryFs::new())).memory(64 << 20).threads(0).build().expect("memory has room");
    let mut tuning = Tuning::default();
    tuning.keep_flushed = false;
    let mut store = Store::options().env(&env).tuning(tuning).open("/store").expect("memory has room");
    let inserts =
        allocations(|| (0..ENTRIES).for_each(|number| store.put(&key(number), &[1; 64]).expect("memory has room")));
    assert!(inserts < 1500, "{inserts} allocations for {ENTRIES} inserts: only indexes may grow");
    let updates = allocations(|| {
        for number in 0..ENTRIES {
            store
                .update(&key(number), |slot| slot.value_mut().expect("memory has room")[0] += 1)
                .expect("memory has room");
            store.put(&key(number), &[2; 64]).expect("memory has room");
        }
    });
    assert_eq!(updates, 0, "updates in place");
    let hits = |store: &Store| {
        allocations(|| {
            (0..ENTRIES).for_each(|number| assert!(store.get(&key(number)).expect("memory has room").is_some()));
        })
    };
    assert_eq!(hits(&store), 0, "gets from the memtable");
    let flush = allocations(|| store.flush().expect("memory has room"));
    assert!(flush < 2500, "{flush} allocations to flush {ENTRIES} entries");
    assert_eq!(hits(&store), 0, "gets from a mapped run");
    let misses = allocations(|| {
        (0..ENTRIES).for_each(|number| assert!(store.get(&key(number + ENTRIES)).expect("memory has room").is_none()));
    });
    assert_eq!(misses, 0, "gets that miss");
    let scan = allocations(|| {
        let mut scan = store.scan(..).expect("memory has room");
        while scan.next_entry().expect("memory has room").is_some() {}
    });
    assert!(scan < 200, "{scan} allocations to scan {ENTRIES} entries");
}
