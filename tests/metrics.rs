//! The figures that an engine gives: to a recorder of metrics, and as plain data. Alone in its process, since the recorder is that of all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bedload::testing::{Epoch, Fault, FaultFs, FaultPlan, FaultStore, FaultWhen, MemoryFs, TestAmbient};
use bedload::{Engine, Env, Map, RepoOptions, Residence, Restoring, Spec, Start};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

const STOPS: Spec<Map<u64, String>> = Map::named("stops");

/// What is documented: names of metrics, and fields of stats.
fn documented() -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let rows = include_str!("../engine/src/guide.md")
        .lines()
        .filter(|line| line.starts_with("| `bedload_") || line.starts_with("| | | |"));
    let cell = |row: &'static str, at: usize| {
        row.split('|').nth(at).map(|cell| cell.trim().trim_matches('`')).expect("a row has five cells")
    };
    let names = rows.clone().map(|row| cell(row, 1)).filter(|name| !name.is_empty()).collect();
    (names, rows.map(|row| cell(row, 4)).collect())
}

/// The value of each metric by name; labels are looked at on the way.
fn given(snapshotter: &Snapshotter) -> BTreeMap<String, DebugValue> {
    let snapshot = snapshotter.snapshot().into_vec();
    let named = |(key, _, _, value): (metrics_util::CompositeKey, _, _, DebugValue)| {
        let labels: Vec<&str> = key.key().labels().map(|label| label.key()).collect();
        assert_eq!(labels, ["job", "worker"]);
        (key.key().name().to_owned(), value)
    };
    snapshot.into_iter().map(named).collect()
}

/// The paths of all leaves.
fn leaves(path: &str, value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(&path, value, found);
            }
        }
        // A part that this engine does not have.
        serde_json::Value::Null if ["store", "heap", "restore"].contains(&path) => {}
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_documented_figure_is_given_and_no_other() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    let (names, fields) = documented();
    assert!(names.len() > 40, "{names:?}");

    let objects = FaultStore::default();
    let time = Arc::new(TestAmbient::new(7));
    let options = RepoOptions::default().ambient(time.clone());
    let repo = options.open_store(Arc::new(objects.clone()), "memory://test").await.unwrap();
    let disk = FaultFs::new(Arc::new(MemoryFs::new()));
    let env = Env::builder().fs(Arc::new(disk.clone())).time(time.clone()).memory(64 << 20).build().unwrap();
    let builder = |name: &str| Engine::builder(format!("/{name}")).env(&env).repo(&repo, "board");
    let mut engine = builder("one").start(Start::Empty).open().await.unwrap();
    let stops = engine.state(STOPS).unwrap();
    let mut epoch = Epoch::start(&repo, &"board".parse().unwrap(), 128, "a test").await.unwrap();
    for key in 0..1_000u32 {
        engine.with_key(&key).unwrap().insert(&stops, &7, &"Ely".repeat(key as usize % 40)).unwrap();
    }

    // Two checkpoints that exist, and one that a full disk has failed between them.
    let mut found = BTreeMap::new();
    for round in 0..3 {
        let fails = round == 1;
        disk.set_plan(fails.then_some(FaultPlan { fault: Fault::NoSpace, when: FaultWhen::FromNth(0) }));
        time.pass_ms(1_000);
        engine.with_key(&7u32).unwrap().insert(&stops, &round, &"March".to_owned()).unwrap();
        let barrier = epoch.begin().await.unwrap();
        match engine.checkpoint(&barrier, b"").unwrap().ship().await {
            Ok(shipped) => {
                assert!(!fails);
                epoch.complete(&barrier, vec![shipped.claim]).await.unwrap();
                engine.confirm(barrier.checkpoint).await;
            }
            Err(error) => {
                assert!(fails, "{error}");
                epoch.abort(&barrier).await;
                engine.abort(barrier.checkpoint).await;
            }
        }
        for (name, value) in given(&snapshotter) {
            // A snapshot empties counters and histograms.
            match (found.get_mut(&name), value) {
                (Some(DebugValue::Counter(sum)), DebugValue::Counter(more)) => *sum += more,
                (Some(DebugValue::Histogram(all)), DebugValue::Histogram(more)) => all.extend(more),
                (_, value) => {
                    found.insert(name, value);
                }
            }
        }
    }
    let counter = |name: &str| match &found[name] {
        DebugValue::Counter(value) => *value,
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!(counter("bedload_checkpoints_begun_total"), 3);
    assert_eq!(counter("bedload_checkpoints_shipped_total"), 2);
    assert_eq!(counter("bedload_checkpoints_failed_total"), 1);
    assert_eq!(counter("bedload_checkpoints_confirmed_total"), 2);
    assert_eq!(counter("bedload_checkpoints_aborted_total"), 1);
    assert!(counter("bedload_store_failures_total") >= 1);
    assert!(counter("bedload_reused_bytes_total") > 0);
    let stats = engine.stats();
    assert_eq!(counter("bedload_uploaded_parcel_bytes_total"), stats.checkpoints.uploaded_parcel_bytes);
    assert!((1..objects.traffic().0).contains(&stats.checkpoints.uploaded_parcel_bytes));
    for part in ["pause", "flush", "link", "upload", "verify"] {
        let DebugValue::Histogram(all) = &found[&format!("bedload_checkpoint_{part}_seconds")] else {
            panic!("{part}")
        };
        assert_eq!(all.len(), 2, "{part}");
        assert!(all.iter().all(|took| (0.0..60.0).contains(&took.0)), "{part}: {all:?}");
    }

    // What was written but not asked for since is given when it is asked for.
    let before = stats.store.as_ref().unwrap().active_bytes;
    for key in 0..1_000u32 {
        engine.with_key(&key).unwrap().insert(&stops, &8, &"Ely".to_owned()).unwrap();
    }
    engine.publish_metrics();
    let DebugValue::Gauge(active) = &given(&snapshotter)["bedload_store_active_bytes"] else { panic!("no gauge") };
    assert!(active.0 > before as f64);

    // The other parts of an engine.
    let lazy = builder("lazy").restoring(Restoring::Lazily).open().await.unwrap();
    let heap = builder("heap").residence(Residence::Heap).open().await.unwrap();
    assert_eq!(heap.stats().heap.unwrap().entries, stats.store.as_ref().unwrap().entries);
    found.extend(given(&snapshotter));
    let found: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(found, names);

    let mut written = BTreeSet::new();
    for stats in [engine.stats(), lazy.stats(), heap.stats()] {
        leaves("", &serde_json::to_value(&stats).unwrap(), &mut written);
    }
    assert_eq!(written.iter().map(String::as_str).collect::<BTreeSet<_>>(), fields);

    // An engine of the same name that is opened again counts on, and nothing twice.
    drop((engine, lazy, heap));
    let again = builder("one").open().await.unwrap();
    let DebugValue::Counter(begun) = given(&snapshotter)["bedload_checkpoints_begun_total"] else {
        panic!("no counter")
    };
    assert_eq!((begun, again.stats().checkpoints.begun), (0, 0));
}
