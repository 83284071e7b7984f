//! `gc`, `pin`, `unpin`, `leases`: what is kept, and what is not.

use expect_test::expect;

use crate::support::{Place, masked};

/// The checkpoints that `ls` lists.
fn listed(place: &Place) -> Vec<String> {
    let answer = place.run(&["ls", "board", "--json"]).expect(0).json();
    let checkpoints = answer["checkpoints"].as_array().expect("as the job was made").iter();
    checkpoints.map(|checkpoint| checkpoint["checkpoint"].as_str().expect("as the job was made").to_owned()).collect()
}

/// How many objects of the job there are.
fn objects(place: &Place) -> usize {
    place.run(&["files", "board", "--json"]).expect(0).json()["objects"].as_array().expect("as the job was made").len()
}

#[test]
fn nothing_is_collected_without_apply_and_what_is_told_with_it() {
    let place = Place::with_job(4);
    let before = objects(&place);
    let planned = place.run(&["gc", "board", "--keep-last", "2", "--grace", "0s"]).expect(0);
    assert!(planned.out.lines().all(|line| line.chars().count() <= 100), "{}", planned.out);
    assert!(planned.out.starts_with("expires  board@1-1\nexpires  board@1-2\n"), "{}", planned.out);
    assert!(planned.out.ends_with("nothing was changed: --apply does it\n"), "{}", planned.out);
    assert!(planned.out.contains("claim of no checkpoint") && planned.out.contains("would delete "), "{}", planned.out);
    assert_eq!((listed(&place).len(), objects(&place)), (4, before));

    let planned = place.run(&["gc", "board", "--keep-last", "2", "--grace", "0s", "--json"]).expect(0).json();
    let arguments = ["gc", "board", "--keep-last", "2", "--grace", "0s", "--apply", "--more-than-half", "--json"];
    let done = place.run(&arguments).expect(0).json();
    assert_eq!(done["expired"], planned["expired"]);
    assert_eq!(listed(&place), ["1-4", "1-3"]);
    let deleted = done["deleted"].as_u64().unwrap();
    assert!(deleted > 0 && deleted >= planned["garbage"].as_array().unwrap().len() as u64, "{done}");
    place.run(&["verify", "--level", "full"]).expect(0);

    // Again, there is nothing to do.
    let ran = place.run(&["gc", "board", "--keep-last", "0"]).expect(2);
    assert!(ran.err.contains("the newest checkpoint always stays"), "{}", ran.err);
    let again = place.run(&["gc", "board", "--keep-last", "2", "--grace", "24h"]).expect(0);
    assert!(again.out.starts_with("would delete 0 of "), "{}", again.out);
}

#[test]
fn without_a_rule_nothing_expires() {
    let place = Place::with_job(3);
    place.run(&["gc", "board", "--grace", "0s", "--apply"]).expect(0);
    assert_eq!(listed(&place).len(), 3);
    place.run(&["gc", "bord"]).expect(10);
    let ran = place.run(&["gc"]).expect(2);
    assert!(ran.err.contains("no job is named"), "{}", ran.err);
}

#[test]
fn more_than_half_is_refused_before_anything_is_changed() {
    let place = Place::with_job(1);
    place.run_job_now("board", 12);
    let before = objects(&place);
    let ran = place.run(&["gc", "board", "--keep-last", "1", "--grace", "0s", "--apply"]).expect(14);
    assert!(ran.err.contains("which is more than half"), "{}", ran.err);
    assert_eq!((listed(&place).len(), objects(&place)), (13, before));
    place.run(&["gc", "board", "--keep-last", "1", "--grace", "0s", "--apply", "--more-than-half"]).expect(0);
    let left = listed(&place);
    assert!(left.len() == 1 && left[0].ends_with("-12") && objects(&place) < before, "{left:?}");
}

#[test]
fn a_pin_keeps_what_expires() {
    let place = Place::with_job(3);
    let ran = place.run(&["pin", "board@1-1", "before-the-upgrade", "--reason", "ticket 4711"]).expect(0);
    assert_eq!(ran.out, "board@1-1 is kept by pin before-the-upgrade\n");
    place.run(&["gc", "board", "--keep-last", "1", "--grace", "0s", "--apply", "--more-than-half"]).expect(0);
    assert_eq!(listed(&place), ["1-3", "1-1"]);
    let ran = place.run(&["show", "board@1-1"]).expect(0);
    assert!(ran.out.contains("before-the-upgrade"), "{}", ran.out);
    place.run(&["verify", "board@1-1", "--level", "full"]).expect(0);

    let ran = place.run(&["unpin", "bord", "before-the-upgrade"]).expect(10);
    assert!(ran.err.contains("there is no job bord in"), "{}", ran.err);
    let ran = place.run(&["unpin", "board", "before-the-upgrade"]).expect(0);
    assert_eq!(ran.out, "pin before-the-upgrade of board is gone\n");
    place.run(&["gc", "board", "--keep-last", "1", "--grace", "0s", "--apply", "--more-than-half"]).expect(0);
    assert_eq!(listed(&place), ["1-3"]);
    place.run(&["show", "board@1-1"]).expect(10);
    place.run(&["pin", "board@1-1", "late"]).expect(10);
}

#[test]
fn a_lease_of_a_dead_holder_can_be_declared_void() {
    let place = Place::with_job(2);
    let ran = place.run(&["leases", "board"]).expect(0);
    assert_eq!(ran.out, "nobody reads or makes a checkpoint of board\n");

    place.leave_a_lease();
    let answer = place.run(&["leases", "board", "--json"]).expect(0).json();
    let lease = answer["leases"][0]["lease"].as_str().unwrap();
    let ran = place.run(&["leases", "board"]).expect(0);
    expect![[r#"
        HEX AGO
          a restore that was killed reads 1-2
    "#]]
    .assert_eq(&masked(&ran.out, &place));
    let ran = place.run(&["leases", "board", "--void", lease]).expect(0);
    assert!(ran.out.contains("nothing was changed: --apply does it"), "{}", ran.out);
    assert_eq!(place.run(&["leases", "board", "--json"]).expect(0).json()["leases"][0]["is_over"], false);
    place.run(&["leases", "board", "--void", lease, "--apply"]).expect(0);
    assert_eq!(place.run(&["leases", "board", "--json"]).expect(0).json()["leases"][0]["is_over"], true);
    place.run(&["leases", "board", "--void", "0123", "--apply"]).expect(10);
}
