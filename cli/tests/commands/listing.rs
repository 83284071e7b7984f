//! `ls`, `config show`.

use expect_test::expect;
use serde_json::Value;

use crate::support::{Place, command, masked, run, write};

#[test]
fn jobs_and_checkpoints_are_listed() {
    let place = Place::with_job(3);
    let ran = place.run(&["ls"]).expect(0);
    let lines: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["job", "newest", "completed", "checkpoints", "pins", "workers", "key", "groups"]);
    assert_eq!((lines[1][0], lines[1][1], lines[1].last()), ("board", "1-3", Some(&"128")));

    let ran = place.run(&["ls", "board"]).expect(0);
    let text = masked(&ran.out, &place);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.lines().nth(1).unwrap().starts_with("  board@1-3"), "the newest comes first: {text}");
    assert!(text.contains("MOMENT"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");

    let answer = place.run(&["ls", "board", "--json"]).expect(0).json();
    let ids: Vec<&str> = answer["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|checkpoint| checkpoint["checkpoint"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["1-3", "1-2", "1-1"]);
}

#[test]
fn what_is_no_repo_is_exit_code_10_and_no_repo_named_is_2() {
    let place = Place::on_disk();
    std::fs::create_dir(place.path("repo")).unwrap();
    let ran = place.run(&["ls"]).expect(10);
    assert!(ran.err.contains("no repo: bedload.json is not there"), "{}", ran.err);
    let ran = run(place.folder.path(), &["ls"]).expect(2);
    assert!(ran.err.contains("give --repo URL, or set BEDLOAD_REPO, or `repo` in bedload.toml"), "{}", ran.err);
}

#[test]
fn settings_tell_where_they_came_from() {
    let place = Place::empty();
    write(&place.path("bedload.toml"), "repo = \"file:///mnt/repo\"\ntransfers = 8\n");
    let mut shown = command(place.folder.path(), &["config", "show", "--json"]);
    let output = shown.env("BEDLOAD_TRANSFERS", "16").output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| {
        let settings = answer["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["name"] == name).unwrap();
        (setting["value"].clone(), setting["origin"].clone())
    };
    assert_eq!(of("repo"), ("file:///mnt/repo".into(), serde_json::json!({"file": "bedload.toml"})));
    assert_eq!(of("transfers"), ("16".into(), serde_json::json!({"environment": "BEDLOAD_TRANSFERS"})));
    assert_eq!(of("tries"), ("5".into(), "built-in".into()));

    // Whoever reads the error may not be the one who wrote the address.
    write(&place.path("bedload.toml"), "repo = \"/mnt/repo\"\n");
    let ran = run(place.folder.path(), &["ls"]).expect(2);
    let told = "from bedload.toml: the address of the repo is not understood: a folder is written with file://";
    assert!(ran.err.contains(told), "{}", ran.err);

    write(&place.path("bedload.toml"), "reop = \"x\"\n");
    let ran = run(place.folder.path(), &["config", "show"]).expect(2);
    assert!(ran.err.contains("unknown key \"reop\""), "{}", ran.err);
}

#[test]
fn a_checkpoint_is_shown_with_its_workers_and_states() {
    let place = Place::with_job(2);
    place.run(&["pin", "board@latest", "before-the-upgrade", "--reason", "ticket 4711"]).expect(0);
    let ran = place.run(&["show", "board"]).expect(0);
    assert!(ran.out.lines().all(|line| line.chars().count() <= 100), "{}", ran.out);
    expect![[r#"
        board@1-2
          completed MOMENT (AGO)
          slot 3
          key groups 128
          built upon board@1-1
          pins before-the-upgrade
          holds 4 runs: SIZE of entries, in files of SIZE, stored in SIZE
          new 2 runs, files of SIZE, stored in SIZE, since board@1-1

          worker key groups runs entries stored pause flush link upload verify
          w-0 0..=63 2 SIZE SIZE TIME TIME TIME TIME TIME
          w-1 64..=127 2 SIZE SIZE TIME TIME TIME TIME TIME

          keys are str

          state kind codec key of map namespace life
          flights sum postcard v1 - - for ever
          plane value postcard v1 - - for ever
          stops map postcard v1 u64 - for ever
          delays list postcard v1 - - for ever
          idle timers event time
    "#]]
    .assert_eq(&masked(&ran.out, &place));

    let answer = place.run(&["show", "board@latest~1", "--json"]).expect(0).json();
    assert_eq!((answer["checkpoint"].as_str(), answer["key_groups"].as_u64()), (Some("1-1"), Some(128)));
    assert_eq!(answer["states"][0]["name"], "flights");

    let ran = place.run(&["show", "board@1-9"]).expect(10);
    assert!(ran.err.contains("checkpoint 1-9 does not exist; the newest are: 1-2, 1-1"), "{}", ran.err);
    place.run(&["show", "bord"]).expect(10);
    place.run(&["show", "board@latest~2"]).expect(10);
    place.run(&["show", "board@late"]).expect(2);
}

#[test]
fn files_are_told_with_what_they_are_there_for() {
    let place = Place::with_job(2);
    let ran = place.run(&["files", "board"]).expect(0);
    assert!(ran.out.lines().all(|line| line.chars().count() <= 100), "{}", ran.out);
    let answer = place.run(&["files", "board", "--json"]).expect(0).json();
    let objects = answer["objects"].as_array().unwrap();
    let parcels: Vec<&Value> =
        objects.iter().filter(|object| object["path"].as_str().unwrap().contains("/runs/")).collect();
    assert!(!parcels.is_empty() && parcels.iter().all(|parcel| parcel["status"] == "needed"), "{answer}");

    let parcel = parcels[0]["path"].as_str().unwrap();
    for object in [parcel.to_owned(), format!("{}/{parcel}", place.address.split('?').next().unwrap())] {
        let ran = place.run(&["why", &object]).expect(0);
        assert!(ran.out.contains("keep it: it is part of checkpoint 1-"), "{}", ran.out);
    }
    let ran = place.run(&["why", "s3://elsewhere/jobs/board/x"]).expect(2);
    assert!(ran.err.contains("give --repo the repo that it lies in"), "{}", ran.err);
    // Of a needed one that is not found, nothing may be said but that: by its bare name, and by none that there is.
    for absent in ["jobs/board/notes.txt", parcel.rsplit('/').next().unwrap(), "/elsewhere/x", "jobs/board", ""] {
        let ran = place.run(&["why", absent]).expect(10);
        assert!(ran.err.contains("name it as `bedload files JOB` does") && ran.out.is_empty(), "{}", ran.err);
    }
    if let Some(root) = place.address.strip_prefix("file://") {
        let in_folder = place.run(&["why", &format!("{root}/{parcel}")]).expect(0);
        assert!(in_folder.out.contains("keep it: it is part of checkpoint 1-"), "{}", in_folder.out);
        write(&place.path("repo/jobs/board/notes.txt"), "mine");
        let foreign = place.run(&["why", "jobs/board/notes.txt"]).expect(0);
        assert!(foreign.out.contains("named like nothing of a repo"), "{}", foreign.out);
    }

    let of_latest = place.run(&["files", "board@latest", "--json"]).expect(0).json();
    let paths = |answer: &Value| -> Vec<String> {
        let objects = answer["objects"].as_array().unwrap();
        objects.iter().map(|object| object["path"].as_str().unwrap().to_owned()).collect()
    };
    assert!(
        paths(&of_latest)
            .iter()
            .all(|path| path.contains("/runs/") || path.contains("/checkpoints/000000000001-000000000002/"))
    );
    assert!(paths(&of_latest).len() < paths(&answer).len());
    let garbage = place.run(&["files", "board", "--only", "garbage", "--json"]).expect(0).json();
    assert_eq!(garbage["objects"], serde_json::json!([]));
    place.run(&["files", "bord"]).expect(10);
}

#[test]
fn what_does_not_exist_is_exit_code_10() {
    let place = Place::with_job(1);
    let ran = place.run(&["ls", "bord"]).expect(10);
    assert!(ran.err.contains("there is no job bord in"), "{}", ran.err);
    let parcel = "jobs/board/runs/0123456789abcdef-00000001-01234567.parcel";
    let ran = place.run(&["why", parcel]).expect(10);
    assert!(ran.err.contains("there is no such object, and nothing needs it"), "{}", ran.err);
}

#[test]
fn credentials_in_an_address_are_not_shown() {
    let place = Place::on_disk();
    for asked in [&["config", "show"][..], &["config", "show", "--json"], &["ls"], &["doctor", "."]] {
        let ran = run(place.folder.path(), &[&["--repo", "s3://AKIAKEY:SECRETPW@bucket/x"], asked].concat());
        assert!(!ran.out.contains("SECRETPW") && !ran.err.contains("SECRETPW"), "{asked:?}: {}{}", ran.out, ran.err);
    }
}

#[test]
fn what_two_checkpoints_share_is_told() {
    let place = Place::with_job(3);
    let ran = place.run(&["diff", "board@latest", "board@1-3"]).expect(0);
    assert!(ran.out.ends_with("the same\n"), "{}", ran.out);
    let ran = place.run(&["diff", "board@latest~2", "board@latest"]).expect(4);
    assert!(ran.out.lines().all(|line| line.chars().count() <= 100), "{}", ran.out);
    expect![[r#"
        board@1-1 and board@1-3
          runs bytes stored
          in both 0 SIZE SIZE
          only in board@1-1 2 SIZE SIZE
          only in board@1-3 4 SIZE SIZE

          key groups same dropped added
          0..=63 SIZE SIZE SIZE
          64..=127 SIZE SIZE SIZE
    "#]]
    .assert_eq(&masked(&ran.out, &place));
    let answer = place.run(&["diff", "board@latest~2", "board@latest", "--json"]).expect(4).json();
    assert!(answer["added"]["bytes"].as_u64() > Some(0), "{answer}");
}

#[test]
fn what_is_whole_is_told_as_whole_at_each_level() {
    let place = Place::with_job(2);
    for level in ["meta", "head", "sample=5%", "full"] {
        let ran = place.run(&["verify", "--level", level]).expect(0);
        assert!(ran.out.starts_with("board: whole; 2 checkpoints, 4 claims"), "{level}: {}", ran.out);
    }
    let answer = place.run(&["verify", "board@latest", "--level", "full", "--json"]).expect(0).json();
    assert!(answer["jobs"][0]["bytes_read"].as_u64() > Some(1000), "{answer}");
    place.run(&["verify", "--level", "most"]).expect(2);
    place.run(&["verify", "bord"]).expect(10);
}
