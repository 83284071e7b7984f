//! `stat`: at directories that are open in this process, that were closed, that are written to meanwhile, and that are nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use bedload::{Engine, Repo, Start};
use bedload_lsm::Store;
use bedload_lsm::fs::{DiskFs, Fs};
use bedload_snapshot::Epoch;
use expect_test::expect;

use crate::support::{FLIGHTS, Place, masked, run, write};

/// Every file below a directory: length, and when it was changed.
fn files(directory: &Path) -> BTreeMap<String, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("it is there");
        found.insert(entry.path().display().to_string(), (metadata.len(), metadata.modified().expect("a time")));
        if metadata.is_dir() {
            found.append(&mut files(&entry.path()));
        }
    }
    found
}

/// `text` without what differs between machines and runs.
fn shown(text: &str, place: &Place) -> String {
    let text = masked(text, place);
    let mut shown = String::new();
    for line in text.lines() {
        let line = line.split_once("process ").map_or(line.to_owned(), |(before, _)| format!("{before}process …"));
        let line = if line.trim_start().starts_with("disk ") { "  disk        …".to_owned() } else { line };
        shown.push_str(&format!("{}\n", line.trim_end()));
    }
    shown
}

/// An engine of a job whose first checkpoint is complete, and that is open still: one run, so that there is nothing to merge.
async fn open_engine(place: &Place) -> Engine {
    let repo = Repo::open(&place.address).await.expect("nothing in its way");
    let mut epoch = Epoch::start(&repo, &"board".parse().expect("nothing in its way"), 128, "a test")
        .await
        .expect("nothing in its way");
    let builder = Engine::builder(place.path("op")).repo(&repo, "board").start(Start::LatestOrEmpty);
    let mut engine = builder.open().await.expect("nothing in its way");
    let flights = engine.state(FLIGHTS).expect("nothing in its way");
    for plane in 0..500 {
        engine
            .with_key(format!("N{plane:03}").as_str())
            .expect("nothing in its way")
            .add(&flights, 1)
            .expect("nothing in its way");
    }
    let barrier = epoch.begin().await.expect("nothing in its way");
    let claim =
        engine.checkpoint(&barrier, b"").expect("nothing in its way").ship().await.expect("nothing in its way").claim;
    epoch.complete(&barrier, vec![claim]).await.expect("nothing in its way");
    engine.confirm(barrier.checkpoint).await;
    engine
}

#[test]
fn an_open_engine_is_shown_and_left_alone_and_so_is_a_closed_one() {
    let place = Place::empty();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut engine = runtime.block_on(open_engine(&place));
    let stats = engine.stats().store.unwrap();
    let before = files(&place.path("op"));
    let answer = run(place.folder.path(), &["stat", "op", "--json"]).expect(0).json();
    let text = run(place.folder.path(), &["stat", "op"]).expect(0).out;
    assert_eq!(files(&place.path("op")), before);

    assert_eq!(answer["kind"], "engine");
    assert_eq!(answer["lock"]["state"], "held");
    assert_eq!(answer["lock"]["process"], std::process::id());
    let owner = answer["lock"]["owner"].as_str().unwrap();
    assert!(owner.starts_with(&format!("process {} on host ", std::process::id())), "{owner}");
    let store = &answer["store"];
    assert_eq!(store["is_closed"], false);
    assert_eq!((store["slices"].as_u64(), store["entries"].as_u64()), (Some(stats.slices), Some(stats.entries)));
    let all_bytes = store["run_bytes"].as_u64().unwrap() + store["other_bytes"].as_u64().unwrap();
    assert_eq!(all_bytes, stats.run_bytes);
    let copy = &answer["local"]["copies"][0];
    assert_eq!((copy["job"].as_str(), copy["checkpoint"].as_str()), (Some("board"), Some("1-1")));
    assert_eq!((copy["key_groups"].as_str(), copy["missing_runs"].as_u64()), (Some("0..=127"), Some(0)));
    assert_eq!(answer["local"]["copies"].as_array().unwrap().len(), 1);
    assert!(answer["disk"]["free_bytes"].as_u64().unwrap() <= answer["disk"]["total_bytes"].as_u64().unwrap());

    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    expect![[r#"
        FOLDER/op: the working directory of an engine
          lock held by process …
          opened last by process …
          disk        …
          store open, or left by a process …
          runs 1, SIZE
          stacks 1 slice in 1 tile, at most 1 in one
          entries 500 of SIZE, 0 of them tombstones
          local 1 copy of a checkpoint; 1 run, SIZE

          slices by age slices bytes entries tombstones
          oldest of each tile 1 SIZE 500 0

          copies here key groups runs bytes state
          board@1-1 0..=127 1 SIZE whole
    "#]]
    .assert_eq(&shown(&text, &place));

    // The engine goes on, and when it has been closed there is still something to see.
    let flights = engine.state(FLIGHTS).unwrap();
    engine.with_key("N000").unwrap().add(&flights, 1).unwrap();
    drop(engine);
    let closed = run(place.folder.path(), &["stat", "op"]).expect(0).out;
    assert!(closed.contains("store       closed in order"), "{closed}");
    assert!(!closed.contains("held by process"), "{closed}");
}

/// Before an engine starts there, only the copies are.
#[test]
fn what_a_restore_has_brought_is_shown() {
    let place = Place::with_job(1);
    let target = place.path("taken").display().to_string();
    place.run(&["restore", "board", "--to", &target]).expect(0);
    let ran = run(place.folder.path(), &["stat", "taken"]).expect(0);
    for line in
        ["the working directory of an engine", "store       none yet: an engine that starts here", "board@1-1  "]
    {
        assert!(ran.out.contains(line), "{line:?}: {}", ran.out);
    }
    let answer = run(place.folder.path(), &["stat", "taken", "--json"]).expect(0).json();
    assert_eq!((&answer["store"], &answer["kind"]), (&serde_json::Value::Null, &"engine".into()));
    assert_eq!(answer["local"]["copies"][0]["missing_runs"], 0);
    run(place.folder.path(), &["top", "--once", "./taken"]).expect(0);
    let figures = run(place.folder.path(), &["metrics", "--once", "./taken"]).expect(0).out;
    assert!(figures.contains("bedload_directory_up{directory="), "{figures}");
}

#[test]
fn nothing_and_no_directory_are_exit_code_10() {
    let place = Place::empty();
    std::fs::create_dir(place.path("empty")).unwrap();
    let ran = run(place.folder.path(), &["stat", "empty"]).expect(10);
    assert!(ran.err.contains("no store and no engine: name the working directory of one"), "{}", ran.err);
    assert_eq!(std::fs::read_dir(place.path("empty")).unwrap().count(), 0);
    std::fs::create_dir(place.path("empty/engine")).unwrap();
    write(&place.path("empty/engine/LOCK"), "");
    let ran = run(place.folder.path(), &["stat", "empty"]).expect(10);
    assert!(ran.err.contains("of one, such as ") && ran.err.contains("empty/engine"), "{}", ran.err);
    let ran = run(place.folder.path(), &["stat", "none"]).expect(10);
    assert!(ran.err.contains("there is no such directory"), "{}", ran.err);
}

#[test]
fn a_store_is_shown_while_it_flushes_and_merges() {
    let place = Place::empty();
    let mut store = Store::options().memory(4 << 20).open(place.path("store")).unwrap();
    store.put(b"first", b"1").unwrap();
    store.flush().unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let mut versions = std::collections::BTreeSet::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 0u64;
            while !is_done.load(std::sync::atomic::Ordering::SeqCst) {
                round += 1;
                for key in 0..300u64 {
                    store.put(&(key * (round % 7 + 1)).to_be_bytes(), &round.to_le_bytes()).unwrap();
                }
                store.flush().unwrap();
            }
            store.close().unwrap();
        });
        for _ in 0..40 {
            let answer = run(place.folder.path(), &["stat", "store", "--json"]).expect(0).json();
            assert_eq!(answer["store"]["missing_runs"].as_array().unwrap().len(), 0, "{answer}");
            assert_eq!(answer["lock"]["process"], std::process::id());
            versions.insert(answer["store"]["version"].as_u64().unwrap());
        }
        is_done.store(true, std::sync::atomic::Ordering::SeqCst);
        writer.join().unwrap();
    });
    assert!(versions.len() > 20, "the writer went on: {versions:?}");
    let before = files(&place.path("store"));
    let answer = run(place.folder.path(), &["stat", "store", "--json"]).expect(0).json();
    assert_eq!((&answer["kind"], &answer["store"]["is_closed"]), (&"store".into(), &true.into()));
    assert_eq!((&answer["local"], answer["store"]["other_runs"].as_u64()), (&serde_json::Value::Null, Some(0)));
    assert_eq!(files(&place.path("store")), before);
}

#[test]
fn a_run_that_is_missing_is_named() {
    let place = Place::empty();
    let mut store = Store::options().open(place.path("store")).unwrap();
    store.put(b"first", b"1").unwrap();
    store.close().unwrap();
    let run_file = files(&place.path("store")).into_keys().find(|path| path.ends_with(".run")).unwrap();
    DiskFs.remove(Path::new(&run_file)).unwrap();
    let ran = run(place.folder.path(), &["stat", "store"]).expect(0);
    let name = Path::new(&run_file).file_name().unwrap().to_string_lossy().into_owned();
    assert!(ran.out.contains(&format!("{name} is missing")), "{}", ran.out);
}
