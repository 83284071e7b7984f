//! Damaged repos: what is wrong is told with what it costs, nothing is deleted, and what is damaged is not restored.

use std::path::PathBuf;

use crate::support::{Place, Ran, write};

/// The files below a folder of the job, in order.
fn files(place: &Place, folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![place.path("repo/jobs/board").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("as the job was made") {
            let path = entry.expect("as the job was made").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// `gc` and `restore` refuse, with the next step; nothing is gone.
fn refused(place: &Place, restores: bool) -> Ran {
    let before = files(place, "");
    let gc = ["gc", "board", "--keep-last", "1", "--grace", "0s", "--apply", "--more-than-half"];
    let ran = place.run(&gc).expect(14);
    assert!(ran.err.contains("nothing was deleted; `bedload verify board` tells what is damaged"), "{}", ran.err);
    assert_eq!(files(place, ""), before);
    if restores {
        let target = place.path("taken").display().to_string();
        let ran = place.run(&["restore", "board", "--to", &target]).expect(3);
        assert!(ran.err.contains("`bedload verify JOB` tells all that is damaged"), "{}", ran.err);
    }
    ran
}

#[test]
fn a_missing_run_costs_the_checkpoints_that_have_it() {
    let place = Place::with_job_on_disk(2);
    let answer = place.run(&["files", "board@latest", "--json"]).expect(0).json();
    let objects = answer["objects"].as_array().unwrap();
    let run = objects.iter().find(|object| object["path"].as_str().unwrap().contains("/runs/")).unwrap();
    let path = run["path"].as_str().unwrap();
    let needed = run["checkpoints"].as_array().unwrap().len();
    remove(&place.path("repo").join(path));
    let ran = place.run(&["verify"]).expect(3);
    assert!(ran.out.contains(path) && ran.out.contains("costs: board@1-2, key groups "), "{}", ran.out);
    let answer = place.run(&["verify", "board", "--json"]).expect(3).json();
    let hit = &answer["jobs"][0]["faults"][0]["cost"]["checkpoints"];
    assert_eq!(hit.as_array().unwrap().len(), needed, "{answer}");
    place.run(&["verify", "--level", "meta"]).expect(0);
    refused(&place, true);
}

/// It passed for one that is there: the checkpoints that could have been restored expired, and were deleted.
#[test]
fn a_run_that_was_cut_stops_a_collection() {
    let place = Place::with_job_on_disk(2);
    write(&files(&place, "runs").remove(0), "");
    write(&files(&place, "runs").pop().unwrap(), "");
    let ran = place.run(&["verify"]).expect(3);
    assert!(ran.out.contains("0 bytes, expected"), "{}", ran.out);
    refused(&place, true);
    assert_eq!(place.run(&["ls", "board", "--json"]).expect(0).json()["checkpoints"].as_array().unwrap().len(), 2);
}

#[test]
fn a_flipped_bit_is_found_where_everything_is_read() {
    let place = Place::with_job_on_disk(1);
    let run = files(&place, "runs").remove(0);
    let mut bytes = read(&run);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    write(&run, &bytes);
    place.run(&["verify", "--level", "head"]).expect(0);
    let ran = place.run(&["verify", "--level", "full"]).expect(3);
    let name = run.file_name().unwrap().to_string_lossy().into_owned();
    assert!(ran.out.contains(&name) && ran.out.contains("costs: board@1-1, key groups "), "{}", ran.out);
    let target = place.path("taken").display().to_string();
    let ran = place.run(&["restore", "board", "--to", &target]).expect(3);
    assert!(ran.err.contains(&name) && ran.err.contains("`bedload verify JOB`"), "{}", ran.err);
}

#[test]
fn half_a_claim_costs_its_key_groups() {
    let place = Place::with_job_on_disk(2);
    let claim = files(&place, "checkpoints").pop().unwrap();
    let bytes = read(&claim);
    write(&claim, &bytes[..bytes.len() / 2]);
    let ran = place.run(&["verify", "--level", "meta"]).expect(3);
    let name = claim.file_name().unwrap().to_string_lossy().into_owned();
    assert!(ran.out.contains(&name) && ran.out.contains("costs: board@1-2, key groups "), "{}", ran.out);
    refused(&place, true);
    // The other checkpoint is whole.
    let target = place.path("other").display().to_string();
    place.run(&["restore", "board@1-1", "--to", &target]).expect(0);
}

#[test]
fn half_a_slot_of_the_chain_costs_the_job() {
    let place = Place::with_job_on_disk(2);
    let slot = files(&place, "chain").pop().unwrap();
    let bytes = read(&slot);
    write(&slot, &bytes[..bytes.len() / 2]);
    let ran = place.run(&["verify"]).expect(3);
    assert!(ran.out.contains("costs: the job; no checkpoint of it can be found"), "{}", ran.out);
    refused(&place, true);
}

#[test]
fn foreign_files_are_told_and_left_alone() {
    let place = Place::with_job_on_disk(2);
    let foreign = place.path("repo/jobs/board/runs/notes.txt");
    write(&foreign, "remember the milk");
    let ran = place.run(&["verify"]).expect(0);
    assert!(ran.out.contains("not of bedload, left alone: jobs/board/runs/notes.txt"), "{}", ran.out);
    let ran = place.run(&["gc", "board", "--keep-last", "1", "--grace", "0s", "--apply", "--more-than-half"]).expect(0);
    assert!(ran.out.contains("jobs/board/runs/notes.txt\n  not of bedload, left alone"), "{}", ran.out);
    assert!(foreign.exists());
    let ran = place.run(&["files", "board", "--only", "unknown"]).expect(0);
    assert!(ran.out.contains("notes.txt"), "{}", ran.out);
}

fn read(path: &std::path::Path) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::OpenOptions::new().read(true).open(path);
    file.and_then(|mut file| file.read_to_end(&mut bytes)).expect("it is there");
    bytes
}

fn remove(path: &std::path::Path) {
    use bedload_lsm::fs::{DiskFs, Fs};
    DiskFs.remove(path).expect("it was there");
}
