//! `get` and `scan`: what is in a checkpoint.

use std::io::BufRead;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{PLANES, Place, Ran};

/// The lines of an answer.
fn lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn what_stands_under_a_key_is_shown_by_state() {
    let place = Place::with_job(3);
    let found = lines(&place.run(&["get", "board@latest", "N007"]).expect(0));
    let of = |state: &str| -> Vec<&Value> { found.iter().filter(|entry| entry["state"] == state).collect() };
    assert_eq!((of("flights").len(), &of("flights")[0]["value"]), (1, &Value::from(3)));
    assert!(found.iter().all(|entry| entry["key"] == "N007"), "{found:?}");
    let stops: Vec<&Value> = of("stops").iter().map(|entry| &entry["map_key"]).collect();
    assert_eq!(stops, [&Value::from(1), &Value::from(2), &Value::from(3)]);
    assert_eq!(of("delays")[0]["value"].as_array().unwrap().len(), 3);
    assert_eq!(of("plane")[0]["value"]["hex"], "06426f65696e6707");

    let found = lines(&place.run(&["get", "board@1-1", "N007", "--state", "flights"]).expect(0));
    assert_eq!((found.len(), &found[0]["value"]), (1, &Value::from(1)));
    let ran = place.run(&["get", "board", "N999"]).expect(10);
    assert!(ran.err.contains("nothing stands under \"N999\"") && ran.out.is_empty(), "{}", ran.err);
    let ran = place.run(&["get", "board", "N007", "--state", "flight"]).expect(10);
    assert!(ran.err.contains("there is no state \"flight\"; there are: flights"), "{}", ran.err);
}

#[test]
fn entries_are_scanned_up_to_a_limit_by_state_and_by_group() {
    let place = Place::with_job(2);
    let flights = lines(&place.run(&["scan", "board", "--state", "flights"]).expect(0));
    assert_eq!(flights.len(), PLANES as usize);
    assert!(flights.iter().all(|entry| entry["value"] == 2));
    let groups: Vec<u64> = flights.iter().map(|entry| entry["group"].as_u64().unwrap()).collect();
    assert!(groups.is_sorted(), "{groups:?}");

    let group = groups[groups.len() / 2];
    let of_group = lines(&place.run(&["scan", "board", "--state", "flights", "--group", &group.to_string()]).expect(0));
    assert_eq!(of_group.len(), groups.iter().filter(|other| **other == group).count());
    assert_eq!(lines(&place.run(&["scan", "board", "--limit", "7"]).expect(0)).len(), 7);
    assert_eq!(lines(&place.run(&["scan", "board", "--limit", "0"]).expect(0)).len(), 0);
    let ran = place.run(&["scan", "board", "--group", "500"]).expect(2);
    assert!(ran.err.contains("there is no key group 500: the job has 0..=127"), "{}", ran.err);
    let timers = lines(&place.run(&["scan", "board", "--state", "idle", "--limit", "5"]).expect(0));
    assert!(timers.len() == 5 && timers.iter().all(|timer| timer["time"].as_u64() >= Some(1_000)), "{timers:?}");
    let left: Vec<_> =
        std::fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("bedload-read-")), "{left:?}");
}

/// Whoever stops reading leaves nothing on this machine.
#[test]
fn an_interrupted_scan_removes_what_it_has_fetched() {
    let place = Place::with_job(2);
    let mut scan = std::process::Command::new(env!("CARGO_BIN_EXE_bedload"));
    scan.env_remove("BEDLOAD_TEST_REPO");
    scan.args(["--repo", &place.address, "scan", "board"]).env("TMPDIR", place.folder.path()).stdout(Stdio::piped());
    let mut child = scan.spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with('{'), "{line}");
    // It waits for somebody to read more.
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let names = std::fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("bedload-read-")).collect();
    assert!(left.is_empty(), "{left:?}");
}
