//! `get` and `scan`: what is in a checkpoint.

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
    let timers = lines(&place.run(&["scan", "board", "--state", "idle", "--limit", "5"]).expect(0));
    assert!(timers.len() == 5 && timers.iter().all(|timer| timer["time"].as_u64() >= Some(1_000)), "{timers:?}");
    let left: Vec<_> =
        std::fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("bedload-read-")), "{left:?}");
}
