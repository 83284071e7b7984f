//! `copy`, `restore`, `rescale plan`: checkpoints elsewhere, and for other workers.

use bedload::{Engine, Start};
use expect_test::expect;

use crate::support::{FLIGHTS, PLANES, Place, masked, run, write};

/// The flights of all planes, counted by an engine that starts in this directory; and how many bytes it fetched.
fn count_flights(place: &Place, directory: &str) -> (i64, u64) {
    let runtime = tokio::runtime::Runtime::new().expect("as the job was made");
    runtime.block_on(async {
        let repo = bedload::Repo::open(&place.address).await.expect("as the job was made");
        let builder = Engine::builder(place.path(directory)).repo(&repo, "board").worker(0, 1).start(Start::Latest);
        let mut engine = builder.open().await.expect("as the job was made");
        let flights = engine.state(FLIGHTS).expect("as the job was made");
        let mut sum = 0;
        for number in 0..PLANES {
            sum += engine
                .with_key(format!("N{number:03}").as_str())
                .expect("as the job was made")
                .get(&flights)
                .expect("as the job was made")
                .expect("as the job was made");
        }
        (sum, engine.opened_from().expect("as the job was made").fetched_bytes)
    })
}

#[test]
fn a_worker_that_starts_where_a_restore_was_fetches_nothing() {
    let place = Place::with_job(3);
    let target = place.path("taken").display().to_string();
    let planned = place.run(&["restore", "board", "--to", &target, "--dry-run"]).expect(0);
    assert!(!place.path("taken").exists(), "a dry run creates nothing");
    assert!(planned.out.contains("would fetch"), "{}", planned.out);

    let ran = place.run(&["restore", "board", "--to", &target]).expect(0);
    expect![[r#"
        board@1-3, key groups 0..=127: 4 runs
          4 runs fetched, SIZE; 0 were here; complete after TIME
          a worker of these key groups that starts in FOLDER/taken fetches nothing
    "#]]
    .assert_eq(&masked(&ran.out, &place));
    let planned = place.run(&["restore", "board", "--to", &target, "--dry-run", "--json"]).expect(0).json();
    assert_eq!((planned["fetched_runs"].as_u64(), planned["fetched_bytes"].as_u64()), (Some(0), Some(0)));
    let again = place.run(&["restore", "board", "--to", &target, "--json"]).expect(0).json();
    assert_eq!(again["fetched_bytes"], 0, "{again}");
    assert_eq!(count_flights(&place, "taken"), (3 * i64::from(PLANES), 0));
    assert_eq!(place.run(&["leases", "board", "--json"]).expect(0).json()["leases"], serde_json::json!([]));
}

#[test]
fn a_lazy_restore_serves_and_ends_complete() {
    let place = Place::with_job(3);
    let target = place.path("taken").display().to_string();
    let answer = place.run(&["restore", "board@latest", "--to", &target, "--lazy", "--json"]).expect(0).json();
    assert!(answer["lazily"]["serving_after_us"].as_u64() <= answer["took_us"].as_u64(), "{answer}");
    assert!(answer["fetched_bytes"].as_u64() > Some(1000), "{answer}");
    // What it has left there was in the way of the next one.
    let again = place.run(&["restore", "board@latest", "--to", &target, "--lazy", "--json"]).expect(0).json();
    assert_eq!(again["fetched_runs"], 0, "{again}");
    assert_eq!(place.run(&["leases", "board", "--json"]).expect(0).json()["leases"], serde_json::json!([]));
    assert_eq!(count_flights(&place, "taken"), (3 * i64::from(PLANES), 0));
}

/// A directory that was named by mistake would have been emptied of what somebody else keeps in its `state`.
#[test]
fn a_lazy_restore_removes_nothing_that_no_worker_has_left() {
    let place = Place::with_job(1);
    std::fs::create_dir_all(place.path("home/state")).unwrap();
    let notes = place.path("home/state/notes.txt");
    write(&notes, "mine");
    let target = place.path("home").display().to_string();
    // Nor does it take what the first try has left for a worker's.
    for _ in 0..2 {
        let ran = place.run(&["restore", "board", "--to", &target, "--lazy"]).expect(2);
        assert!(ran.err.contains("give a directory of its own"), "{}", ran.err);
        assert!(notes.exists());
    }
    assert_eq!(place.run(&["leases", "board", "--json"]).expect(0).json()["leases"], serde_json::json!([]));
}

#[test]
fn part_of_a_checkpoint_is_restored_and_a_directory_in_use_is_not_touched() {
    let place = Place::with_job(2);
    let target = place.path("taken").display().to_string();
    let all = place.run(&["restore", "board", "--to", &target, "--dry-run", "--json"]).expect(0).json();
    let arguments = ["restore", "board", "--to", &target, "--groups", "0..=63", "--json"];
    let half = place.run(&arguments).expect(0).json();
    assert!(half["runs"].as_u64() < all["runs"].as_u64(), "{half} of {all}");
    place.run(&["restore", "board", "--to", &target, "--groups", "63..=0"]).expect(2);
    let ran = place.run(&["restore", "board", "--to", &target, "--groups", "0..=999"]).expect(2);
    assert!(ran.err.contains("there are no key groups 0..=999: board@1-2 has 0..=127"), "{}", ran.err);
    place.run(&["restore", "board", "--to", &target, "--groups", "0..=500"]).expect(2);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _engine = runtime.block_on(async {
        let repo = bedload::Repo::open(&place.address).await.unwrap();
        Engine::builder(&target).repo(&repo, "board").worker(0, 1).open().await.unwrap()
    });
    for mode in [&[][..], &["--lazy"], &["--dry-run"]] {
        let ran = place.run(&[&["restore", "board", "--to", &target], mode].concat()).expect(11);
        assert!(ran.err.contains("locked by an engine of bedload"), "{}", ran.err);
    }
}

#[test]
fn a_copy_stands_by_itself() {
    let place = Place::with_job(2);
    let backup = format!("file://{}/backup", place.folder.path().display());
    let ran = place.run(&["copy", "board@latest", "--to", &backup]).expect(0);
    let there = masked(&ran.out, &place).replace("FOLDER", "").replace("file:///backup", "BACKUP");
    expect![[r#"
        board@1-2 is board@1-1 of BACKUP
          4 runs copied, SIZE; 0 runs there already, SIZE
    "#]]
    .assert_eq(&there);
    run(place.folder.path(), &["verify", "--level", "full", "--repo", &backup]).expect(0);

    let ran = place.run(&["copy", "board@latest", "--to", &backup]).expect(14);
    assert!(ran.err.contains("--into-existing makes the copy its newest checkpoint"), "{}", ran.err);
    let again = place.run(&["copy", "board@latest", "--to", &backup, "--into-existing", "--json"]).expect(0).json();
    assert_eq!((again["copied_runs"].as_u64(), again["copied_bytes"].as_u64()), (Some(0), Some(0)), "{again}");
    assert!(again["shared_runs"].as_u64() > Some(0), "{again}");
    place.run(&["copy", "board@latest", "--to", &backup, "--as", "trial"]).expect(0);
    let diff = ["diff", "board@latest", "trial@latest", "--repo", &backup];
    run(place.folder.path(), &diff).expect(0);
    place.run(&["copy", "board@9-9", "--to", &backup, "--as", "other"]).expect(10);
}

#[test]
fn a_rescale_is_planned_without_a_byte_rewritten() {
    let place = Place::with_job(2);
    let ran = place.run(&["rescale", "plan", "board", "3"]).expect(0);
    assert!(ran.out.lines().all(|line| line.chars().count() <= 100), "{}", ran.out);
    expect![[r#"
        board@1-2 for 3 workers
          worker key groups entries runs clipped to fetch here
          0 0..=42 SIZE 2 2 SIZE SIZE
          1 43..=85 SIZE 4 4 SIZE SIZE
          2 86..=127 SIZE 2 2 SIZE SIZE
        4 runs are read by more than one; SIZE to fetch; SIZE rewritten
    "#]]
    .assert_eq(&masked(&ran.out, &place));

    let target = place.path("taken").display().to_string();
    place.run(&["restore", "board", "--to", &target]).expect(0);
    let plan = ["rescale", "plan", "board", "3", "--by-bytes", "--dir", &target, "--json"];
    let answer = place.run(&plan).expect(0).json();
    assert_eq!((answer["fetch_bytes"].as_u64(), answer["workers"].as_array().unwrap().len()), (Some(0), 3), "{answer}");
    assert_eq!(answer["workers"][2]["last_group"], 127);
    place.run(&["rescale", "plan", "board", "129"]).expect(2);
    place.run(&["rescale", "plan", "board", "0"]).expect(2);
}
