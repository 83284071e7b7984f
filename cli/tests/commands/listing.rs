//! `ls`, `config show`.

use crate::support::{Place, command, masked, run};

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
    let place = Place::empty();
    std::fs::create_dir(place.path("repo")).unwrap();
    let ran = place.run(&["ls"]).expect(10);
    assert!(ran.err.contains("no repo: bedload.json is not there"), "{}", ran.err);
    let ran = run(place.folder.path(), &["ls"]).expect(2);
    assert!(ran.err.contains("give --repo URL, or set BEDLOAD_REPO, or `repo` in bedload.toml"), "{}", ran.err);
}

#[test]
fn settings_tell_where_they_came_from() {
    let place = Place::empty();
    std::fs::write(place.path("bedload.toml"), "repo = \"file:///mnt/repo\"\ntransfers = 8\n").unwrap();
    let mut shown = command(place.folder.path(), &["config", "show", "--json"]);
    let output = shown.env("BEDLOAD_TRANSFERS", "16").output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| {
        let settings = answer["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["name"] == name).unwrap();
        (setting["value"].clone(), setting["origin"].clone())
    };
    assert_eq!(of("repo"), ("file:///mnt/repo".into(), serde_json::json!({"file": "bedload.toml"})));
    assert_eq!(of("transfers"), ("16".into(), serde_json::json!({"environment": "BEDLOAD_TRANSFERS"})));
    assert_eq!(of("tries"), ("5".into(), "built-in".into()));

    std::fs::write(place.path("bedload.toml"), "reop = \"x\"\n").unwrap();
    let ran = run(place.folder.path(), &["config", "show"]).expect(2);
    assert!(ran.err.contains("unknown key \"reop\""), "{}", ran.err);
}
