//! Bugs that were found, each as the test that failed before its mend.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bedload_lsm::fs::{Fs, MemoryFs};
use bedload_lsm::{
    AdoptedRun, AdoptedSource, AdoptedStack, Clocks, Durability, Env, ErrorKind, Fold, KeyRange, Rule, Rules, Store,
    StoreOptions, Tuning,
};

/// Keys that start with `n` are sums, all others are lists where they are merged.
struct Sums;

impl Rules for Sums {
    fn rule(&self, key: &[u8]) -> Option<Rule> {
        let fold = if key.starts_with(b"n") { Fold::AddI64 } else { Fold::Append };
        Some(Rule { fold, clock: None })
    }
}

fn env(disk: &MemoryFs, memory: usize, threads: usize) -> Env {
    Env::builder().fs(Arc::new(disk.clone())).memory(memory).threads(threads).build().expect("threads start")
}

fn options(env: &Env, memtable_bytes: usize) -> StoreOptions {
    let mut tuning = Tuning::default();
    tuning.memtable_bytes = memtable_bytes;
    Store::options().env(env).rules(Sums).tuning(tuning)
}

fn runs_in(disk: &MemoryFs, directory: &str) -> usize {
    let is_run = |path: &&std::path::PathBuf| path.extension().is_some_and(|end| end == "run");
    disk.paths().iter().filter(is_run).filter(|path| path.starts_with(directory)).count()
}

fn number(store: &Store, key: &[u8]) -> i64 {
    let value = store.get(key).expect("a healthy disk").map(|value| value.to_vec());
    value.map_or(0, |value| i64::from_le_bytes(value.try_into().expect("eight bytes")))
}

/// One flush joined two memtables into a run; when memory ran short the older of the two was forgotten alone, and the run
/// was read beside the younger one: its operands counted twice.
#[test]
fn memtables_of_one_run_are_forgotten_together() {
    let disk = MemoryFs::new();
    let env = env(&disk, 1 << 20, 0);
    let mut store = options(&env, 96 << 10).open("/store").expect("an empty disk opens");
    for step in 0..60u32 {
        store.put(format!("pad-{step}").as_bytes(), &vec![1; 20 << 10]).expect("a healthy disk");
        store.merge(b"n", &1i64.to_le_bytes()).expect("a healthy disk");
        drop(store.view().expect("a healthy disk"));
        if step % 2 == 1 {
            store.flush().expect("a healthy disk");
        }
        assert_eq!(number(&store, b"n"), i64::from(step) + 1);
    }
}

/// A merge that rested for its rate asked, under the lock of the board, a question that takes the lock of the board.
#[test]
fn a_rate_of_merges_slows_them_and_nothing_else() {
    let (done, is_done) = channel();
    std::thread::Builder::new()
        .spawn(move || {
            let disk = MemoryFs::new();
            let env = Env::builder().fs(Arc::new(disk)).memory(1 << 20).threads(1).merge_bytes_per_second(4 << 20);
            let mut store = options(&env.build().expect("threads start"), 32 << 10).open("/store").expect("it opens");
            for step in 0u32.. {
                let key = step.wrapping_mul(0x9E37_79B9) % 5000;
                store.put(&key.to_be_bytes(), &[step as u8; 100]).expect("a healthy disk");
                if store.metrics().merges.get() >= 5 {
                    break;
                }
            }
            store.close().expect("a healthy disk");
            done.send(()).expect("the test waits");
        })
        .expect("threads start");
    is_done.recv_timeout(Duration::from_secs(120)).expect("the store went on");
}

/// What `opened_clean` said came from the version of the last close, which stayed on disk until the next flush.
#[test]
fn a_store_killed_before_its_first_flush_did_not_end_in_order() {
    let disk = MemoryFs::new();
    let environment = env(&disk, 1 << 20, 0);
    let mut store = options(&environment, 0).open("/store").expect("an empty disk opens");
    assert!(store.opened_clean());
    store.put(b"a", b"1").expect("a healthy disk");
    let killed = disk.process_crash_image();
    let reopened = options(&env(&killed, 1 << 20, 0), 0).open("/store").expect("it opens");
    assert!(!reopened.opened_clean(), "a new store was killed with a write in memory");
    store.close().expect("a healthy disk");
    let mut store = options(&environment, 0).open("/store").expect("it opens");
    assert!(store.opened_clean());
    store.put(b"a", b"2").expect("a healthy disk");
    let killed = disk.process_crash_image();
    let reopened = options(&env(&killed, 1 << 20, 0), 0).open("/store").expect("it opens");
    assert!(!reopened.opened_clean(), "a reopened store was killed with a write in memory");
}

/// The run was on disk and its version found no room: each retry left a file behind.
#[test]
fn a_flush_that_cannot_write_its_version_leaves_no_run_behind() {
    for room in (0..6000).step_by(50) {
        let disk = MemoryFs::new();
        let mut store = options(&env(&disk, 1 << 20, 0), 0).open("/store").expect("an empty disk opens");
        store.put(b"a", &[1; 500]).expect("memory takes it");
        disk.set_free_bytes(Some(room));
        if store.flush().is_ok() {
            return assert!(room > 500, "the run had room for itself and its version");
        }
        assert_eq!(runs_in(&disk, "/"), 0, "with {room} bytes free");
        disk.set_free_bytes(None);
        store.flush().expect("there is room again");
    }
    panic!("a flush of 500 bytes never found room");
}

/// A second directory was neither locked nor known for what it is: opened alone, or first, its runs were deleted.
#[test]
fn a_further_directory_is_not_taken_for_a_store() {
    let disk = MemoryFs::new();
    let env = env(&disk, 1 << 20, 0);
    let mut store = options(&env, 0).directory("/two").open("/one").expect("an empty disk opens");
    let taken = options(&env, 0).open("/two").expect_err("the directory is in use");
    assert_eq!(taken.kind(), ErrorKind::Fenced);
    store.put(b"a", b"1").expect("a healthy disk");
    store.close().expect("a healthy disk");
    let swapped = options(&env, 0).directory("/one").open("/two").expect_err("the order was another");
    assert_eq!(swapped.kind(), ErrorKind::Fix);
    let run = disk.paths().into_iter().find(|path| path.extension().is_some_and(|end| end == "run"));
    let run = run.expect("the store was flushed");
    // In the other directory it is a run like any other.
    let name = run.file_name().expect("a file has a name");
    disk.rename(&run, &Path::new("/two").join(name)).expect("a healthy disk");
    let alone = options(&env, 0).open("/two").expect_err("its runs belong to a store");
    assert_eq!(alone.kind(), ErrorKind::Damaged);
    let store = options(&env, 0).directory("/two").open("/one").expect("it opens");
    assert_eq!(store.get(b"a").expect("a healthy disk").as_deref(), Some(&b"1"[..]));
}

/// The store kept its last view, with files and memtables of long ago.
#[test]
fn a_view_that_was_dropped_keeps_nothing() {
    let disk = MemoryFs::new();
    let env = env(&disk, 1 << 20, 0);
    let mut store = options(&env, 0).open("/store").expect("an empty disk opens");
    store.put(b"a", &[1; 100]).expect("a healthy disk");
    store.flush().expect("a healthy disk");
    let first = disk.paths().into_iter().find(|path| path.extension().is_some_and(|end| end == "run"));
    let first = first.expect("the store was flushed");
    drop(store.view().expect("a healthy disk"));
    for round in 0..40u8 {
        store.put(b"a", &[round; 100]).expect("a healthy disk");
        store.flush().expect("a healthy disk");
        while env.step_background(&mut || 1) {}
    }
    assert!(disk.read(&first).is_err(), "the first run was merged long ago, and its file is still there");
}

/// Flushes always went first: with one worker and a writer that outran it nothing was ever merged.
#[test]
fn a_writer_that_outruns_the_merges_waits_for_them() {
    let disk = MemoryFs::new();
    let mut store = options(&env(&disk, 1 << 20, 1), 32 << 10).open("/store").expect("an empty disk opens");
    let mut longest = 0;
    for step in 0..200_000u32 {
        let key = step.wrapping_mul(0x9E37_79B9) % 20_000;
        store.put(&key.to_be_bytes(), &[step as u8; 100]).expect("a healthy disk");
        if step % 5000 == 0 {
            longest = longest.max(store.stats().tiles.iter().map(|tile| tile.slices).max().unwrap_or(0));
        }
    }
    assert!(longest <= 40, "a stack of {longest} slices");
}

/// A value of the wrong form was found out by the flush that folded onto it, again and again.
#[test]
fn a_value_that_its_rule_cannot_fold_is_refused_where_it_is_written() {
    let disk = MemoryFs::new();
    let mut store = options(&env(&disk, 1 << 20, 0), 0).open("/store").expect("an empty disk opens");
    let refused = |result: bedload_lsm::Result<()>| assert_eq!(result.expect_err("refused").kind(), ErrorKind::Fix);
    refused(store.put(b"n", b"abc"));
    refused(store.update(b"n", |slot| slot.put(b"abc")));
    let mut batch = bedload_lsm::Batch::default();
    batch.put(b"other", b"1");
    batch.put(b"n", b"abc");
    refused(store.apply(&batch));
    assert!(store.get(b"other").expect("a healthy disk").is_none(), "all of a batch or none");
    store.put(b"n", &5i64.to_le_bytes()).expect("of the form");
    store.merge(b"n", &1i64.to_le_bytes()).expect("of the form");
    assert_eq!(number(&store, b"n"), 6);
}

/// The version of an empty clip started behind the tile it was to be in, and the panic kept the store reserved for ever.
#[test]
fn a_stack_for_an_empty_range_is_passed_over() {
    let disk = MemoryFs::new();
    let env = env(&disk, 1 << 20, 0);
    let mut from = options(&env, 0).open("/from").expect("an empty disk opens");
    from.put(b"a", b"1").expect("a healthy disk");
    let frozen = from.freeze().expect("a healthy disk").wait().expect("a healthy disk");
    let slice = frozen.tiles().flat_map(|tile| tile.slices).next().expect("something was written");
    let path = slice.run.path().expect("it is a file").to_owned();
    let run = AdoptedRun {
        id: slice.run.id(),
        bytes: slice.run.bytes(),
        digest: *slice.run.digest(),
        source: AdoptedSource::File(path),
    };
    let mut store = options(&env, 0).open("/store").expect("an empty disk opens");
    let empty = AdoptedStack { range: KeyRange::from("x".."c"), runs: vec![run.clone()] };
    store.adopt(&[empty], &Clocks::default()).expect("nothing to adopt");
    let whole = AdoptedStack { range: KeyRange::all(), runs: vec![run] };
    store.adopt(&[whole], &Clocks::default()).expect("it fits");
    assert_eq!(store.get(b"a").expect("a healthy disk").as_deref(), Some(&b"1"[..]));
    store.close().expect("nothing is reserved");
}

/// Deltas from before a clip or adoption were offered as the way from an older checkpoint to a newer one.
#[test]
fn what_comes_or_goes_as_a_whole_is_in_no_delta() {
    let disk = MemoryFs::new();
    let env = env(&disk, 1 << 20, 0);
    let mut store = options(&env, 0).open("/store").expect("an empty disk opens");
    store.put(b"a", b"1").expect("a healthy disk");
    store.put(b"z", b"1").expect("a healthy disk");
    let before = store.freeze().expect("a healthy disk").wait().expect("a healthy disk");
    store.clip_to("a".."m").expect("a healthy disk");
    store.put(b"b", b"1").expect("a healthy disk");
    let after = store.freeze().expect("a healthy disk").wait().expect("a healthy disk");
    assert!(after.deltas_since(before.seal()).is_none(), "the clip is in no delta");
    store.put(b"c", b"1").expect("a healthy disk");
    let later = store.freeze().expect("a healthy disk").wait().expect("a healthy disk");
    assert_eq!(later.deltas_since(after.seal()).map(|deltas| deltas.len()), Some(1));
}

/// A disk that was full for a while: the close that came after reported the old failure without a new try.
#[test]
fn a_close_tries_again_what_failed_before() {
    let disk = MemoryFs::new();
    let environment = env(&disk, 1 << 20, 1);
    let mut store = options(&environment, 0).open("/store").expect("an empty disk opens");
    disk.set_free_bytes(Some(0));
    store.put(b"a", b"1").expect("memory takes it");
    assert_eq!(store.flush().expect_err("the disk is full").kind(), ErrorKind::Full);
    disk.set_free_bytes(None);
    store.close().expect("there is room again");
    let store = options(&env(&disk, 1 << 20, 0), 0).open("/store").expect("it opens");
    assert_eq!(store.get(b"a").expect("a healthy disk").as_deref(), Some(&b"1"[..]));
}

/// A bound longer than any key was written into runs and versions that no open accepted.
#[test]
fn a_bound_longer_than_any_key_is_refused() {
    let disk = MemoryFs::new();
    let env = env(&disk, 1 << 20, 0);
    let mut store = options(&env, 0).open("/store").expect("an empty disk opens");
    let longest = vec![0xff; bedload_lsm::KEY_BYTES_MAX];
    store.put(&longest, b"1").expect("a healthy disk");
    store.put(b"b", b"1").expect("a healthy disk");
    store.flush().expect("a healthy disk");
    let long = vec![b'b'; 70_000];
    assert_eq!(store.delete_range(&b"a"[..]..&long[..]).expect_err("too long").kind(), ErrorKind::Fix);
    assert_eq!(store.clip_to(&b"a"[..]..&long[..]).expect_err("too long").kind(), ErrorKind::Fix);
    // The longest key and what follows it at once are bounds.
    let only = KeyRange::key(&longest);
    store.clip_to(only.clone()).expect("it is a range of one key");
    store.close().expect("a healthy disk");
    let mut store = options(&env, 0).open("/store").expect("the tile behind the longest key opens");
    assert_eq!(store.get(&longest).expect("a healthy disk").as_deref(), Some(&b"1"[..]));
    assert!(store.get(b"b").expect("a healthy disk").is_none());
    store.delete_range(only).expect("it is a range of one key");
    store.flush().expect("a healthy disk");
    store.close().expect("a healthy disk");
    let store = options(&env, 0).open("/store").expect("it opens");
    assert!(store.get(&longest).expect("a healthy disk").is_none());
}

/// A removal that failed had already lost its place: the cursor gave the same keys again.
#[test]
fn a_removal_that_fails_keeps_the_cursor_where_it_is() {
    let disk = MemoryFs::new();
    let mut store = options(&env(&disk, 256 << 10, 0), 16 << 10).open("/store").expect("an empty disk opens");
    for number in 0..50u8 {
        store.put(&[number], &[number; 400]).expect("a healthy disk");
    }
    store.flush().expect("a healthy disk");
    let mut cursor = store.cursor(..);
    let mut seen = Vec::new();
    disk.set_free_bytes(Some(0));
    while let Some((key, _)) = cursor.next(&store).expect("reads go on") {
        seen.push(key.to_vec());
        // Fills memory, until nothing can be removed any more.
        let filled = (0..200u32).try_for_each(|fill| store.put(&[200, fill as u8], &[0; 2000]));
        assert!(filled.is_err() || seen.len() < 5, "the disk is full");
        if store.remove_at(&mut cursor).is_err() && seen.len() > 20 {
            break;
        }
    }
    assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]), "each key once: {seen:?}");
}

/// Once nothing could be made durable, writes went on into memory as if it were.
#[test]
fn a_broken_store_says_so_at_the_next_write() {
    use bedload_lsm::fs::{Fault, FaultFs, FaultPlan, FaultWhen};
    let disk = MemoryFs::new();
    let faults = FaultFs::new(Arc::new(disk));
    let env = Env::builder().fs(Arc::new(faults.clone())).memory(1 << 20).threads(0).build().expect("no threads");
    let mut store = options(&env, 0).durability(Durability::Synced).open("/store").expect("an empty disk opens");
    for nth in 0..20 {
        store.put(b"a", b"1").expect("a store that works takes writes");
        faults.set_plan(Some(FaultPlan { fault: Fault::SyncFailure, when: FaultWhen::Nth(nth) }));
        let flushed = store.flush();
        faults.set_plan(None);
        if flushed.is_err() && store.flush().is_err() {
            let refused = store.put(b"b", b"1").expect_err("nothing can be made durable");
            return assert_eq!(refused.kind(), ErrorKind::Closed);
        }
    }
    panic!("no failed sync made the store read-only");
}

/// Range tombstones weighed nothing: after a large range was deleted, nothing ever freed its space.
#[test]
fn what_a_range_delete_hides_is_freed() {
    let disk = MemoryFs::new();
    let env = env(&disk, 1 << 20, 0);
    let mut tuning = Tuning::default();
    tuning.tile_bytes_max = 1 << 20;
    let mut store = Store::options().env(&env).tuning(tuning).open("/store").expect("an empty disk opens");
    for number in 0..4000u32 {
        store.put(&number.to_be_bytes(), &[1; 100]).expect("a healthy disk");
    }
    store.flush().expect("a healthy disk");
    while env.step_background(&mut || 1) {}
    store.delete_range(&100u32.to_be_bytes()[..]..).expect("a healthy disk");
    store.flush().expect("a healthy disk");
    while env.step_background(&mut || 1) {}
    store.flush().expect("a healthy disk");
    let bytes = store.stats().reached_bytes;
    println!("{}", store.stats());
    assert!(bytes < 40_000, "{bytes} bytes for a hundred entries");
}

/// The only run of a store that was closed.
fn only_run(disk: &MemoryFs) -> std::path::PathBuf {
    let mut runs = disk.paths();
    runs.retain(|path| path.extension().is_some_and(|end| end == "run"));
    assert_eq!(runs.len(), 1);
    runs.remove(0)
}

/// A scan went on behind a value that could not be read, so that whoever skips errors missed an entry and never knew.
#[test]
fn a_scan_ends_where_a_value_is_damaged() {
    let disk = MemoryFs::new();
    let env = env(&disk, 1 << 20, 0);
    let mut store = options(&env, 256 << 10).open("/store").expect("an empty disk opens");
    store.put(b"a", b"1").expect("a healthy disk");
    store.put(b"b", &[7; 20 << 10]).expect("a healthy disk");
    store.put(b"c", b"3").expect("a healthy disk");
    store.close().expect("a healthy disk");
    let run = only_run(&disk);
    let mut bytes = disk.read(&run).expect("it is there");
    let value = bytes.windows(64).position(|window| window == [7; 64]).expect("the value is in the run");
    bytes[value + 100] ^= 1;
    disk.write(&run, bytes).expect("it is there");
    let store = options(&env, 256 << 10).open("/store").expect("the damage is not met yet");
    let mut scan = store.scan(..).expect("errors come with the entries");
    assert_eq!(scan.next().expect("an entry").expect("a whole one").0, b"a");
    assert_eq!(scan.next().expect("an error").expect_err("a damaged one").kind(), ErrorKind::Damaged);
    assert!(scan.next().is_none(), "it went on");
}

/// Reading ahead for many keys met damage that none of them needed: a key in memory was not given.
#[test]
fn many_keys_are_given_where_each_is() {
    let disk = MemoryFs::new();
    let env = env(&disk, 1 << 20, 0);
    let mut store = options(&env, 256 << 10).open("/store").expect("an empty disk opens");
    store.put(b"a", b"1").expect("a healthy disk");
    store.put(b"z", b"1").expect("a healthy disk");
    store.close().expect("a healthy disk");
    let run = only_run(&disk);
    let whole = disk.read(&run).expect("it is there");
    let mut opened = 0;
    for at in 0..whole.len() {
        let image = disk.process_crash_image();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        image.write(&run, bytes).expect("it is there");
        let env = self::env(&image, 1 << 20, 0);
        let Ok(mut store) = options(&env, 256 << 10).open("/store") else { continue };
        store.put(b"k", b"2").expect("memory has room");
        assert_eq!(store.get(b"k").expect("it is in memory").as_deref(), Some(&b"2"[..]));
        let values = store.multi_get(&[b"k"]).expect("it is in memory");
        assert_eq!(values[0].as_deref(), Some(&b"2"[..]));
        opened += 1;
    }
    assert!(opened > 50, "{opened} damaged stores opened");
}
