//! `doctor`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bedload_lsm::fs::{DiskFs, Fs, FsKind};
use serde_json::Value;

use crate::support::{Place, Ran, names, run};

/// What was found wrong, but for what the machine of the tests is itself: a folder for temporary files in a container's layers, or a
/// full disk.
fn problems(ran: &Ran, answer: &Value) -> Vec<String> {
    let all: Vec<&str> =
        answer["problems"].as_array().into_iter().flatten().filter_map(|problem| problem["found"].as_str()).collect();
    assert_eq!(ran.code, if all.is_empty() { 0 } else { 3 }, "{answer:#}");
    assert_eq!(answer["ready"], all.is_empty());
    let is_of_the_machine = |found: &&str| found.starts_with("the directory is on ") || found.ends_with(" are free");
    all.into_iter().filter(|found| !is_of_the_machine(found)).map(str::to_owned).collect()
}

fn examined(place: &Place, arguments: &[&str]) -> (Ran, Value) {
    let ran = place.run(&[&["doctor", "--json"], arguments].concat());
    assert!([0, 3].contains(&ran.code), "{} {}", ran.code, ran.err);
    let answer = ran.json();
    (ran, answer)
}

#[test]
fn a_fit_directory_and_a_fit_repo_are_ready_and_left_as_they_were() {
    let place = Place::empty();
    std::fs::create_dir(place.path("repo")).unwrap();
    let (ran, answer) = examined(&place, &[]);
    assert_eq!(problems(&ran, &answer), Vec::<String>::new());
    let directory = &answer["directory"];
    assert_eq!(directory["hard_links"], true, "{answer:#}");
    assert!(
        directory["sync"]["count"].as_u64().unwrap() > 0 && directory["free_bytes"].as_u64().unwrap() > 0,
        "{answer:#}"
    );
    assert!(directory["sync"]["p50_us"].as_u64() <= directory["sync"]["p99_us"].as_u64(), "{answer:#}");
    let repo = &answer["repo"];
    assert_eq!(repo["is_repo"], false);
    let requests: Vec<&str> =
        repo["requests"].as_array().unwrap().iter().map(|request| request["name"].as_str().unwrap()).collect();
    assert_eq!(requests, ["create", "create again", "list", "read a range", "delete"]);
    assert!(repo["requests"].as_array().unwrap().iter().all(|request| request["latency"]["count"] == 20), "{answer:#}");
    let clock = repo["clock_ahead_ms"].as_array().unwrap();
    assert!(clock.iter().all(|ms| ms.as_i64().unwrap().abs() < 10_000), "{answer:#}");
    assert_eq!(names(place.folder.path()), ["repo"]);
    assert_eq!(place.repo_names(""), Vec::<String>::new());

    let text = place.run(&["doctor"]).out;
    for told in ["hard links", "refused, as it should be: p50"] {
        assert!(text.contains(told), "{told:?} is missing in {text}");
    }
    let is_folder = place.address.starts_with("file://");
    assert_eq!(text.contains("only this machine, unless it is a shared mount"), is_folder, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100 || line.contains("/")), "{text}");
    assert_eq!(text.ends_with("\nready\n"), ran.code == 0, "{text}");
}

#[test]
fn a_repo_with_a_job_stays_as_it_is() {
    let place = Place::with_job(1);
    let before = place.repo_names("");
    let (ran, answer) = examined(&place, &[]);
    assert_eq!((problems(&ran, &answer), &answer["repo"]["is_repo"]), (Vec::new(), &Value::from(true)));
    assert_eq!(place.repo_names(""), before);
    assert_eq!(place.repo_names("probes"), Vec::<String>::new());
}

#[test]
fn a_directory_that_is_not_there_is_exit_code_10_and_a_file_is_2() {
    let place = Place::empty();
    let ran = run(place.folder.path(), &["doctor", "none"]).expect(10);
    assert!(ran.err.contains("none: there is no such directory: make it"), "{}", ran.err);
    std::fs::write(place.path("file"), "").unwrap();
    run(place.folder.path(), &["doctor", "file"]).expect(2);
    let ran = run(place.folder.path(), &["doctor", "--show-probe"]).expect(2);
    assert!(ran.err.contains("give --repo URL"), "{}", ran.err);
}

#[test]
fn a_repo_that_refuses_is_a_problem_that_says_what_to_do() {
    let place = Place::empty();
    let (ran, answer) = examined(&place, &[]);
    let found = problems(&ran, &answer);
    assert!(found.len() == 1 && found[0].contains("there is no such folder"), "{found:?}");
    assert_eq!(names(place.folder.path()), Vec::<String>::new(), "no directory is made");

    std::fs::write(place.path("repo"), "a file").unwrap();
    let (ran, answer) = examined(&place, &[]);
    let found = problems(&ran, &answer);
    assert!(found.len() == 1 && found[0].starts_with("the repo cannot be read"), "{found:?}");
    let text = place.run(&["doctor"]).expect(3).out;
    assert!(text.contains("\nto do:\n  1. ") && text.contains(" -> "), "{text}");
    assert_eq!(std::fs::read_to_string(place.path("repo")).unwrap(), "a file");

    let ran = run(place.folder.path(), &["doctor", "--repo", "s4://bucket"]).expect(3);
    assert!(ran.out.contains("s4:// is not understood"), "{}", ran.out);
}

#[test]
fn memory_is_no_place_for_working_state() {
    let memory = Path::new("/dev/shm");
    if !matches!(DiskFs.kind(memory), Ok(FsKind::Doubtful(_))) {
        return;
    }
    let folder = tempfile::tempdir_in(memory).unwrap();
    let ran = run(folder.path(), &["doctor"]).expect(3);
    assert!(ran.out.contains("lies in memory") && ran.out.contains("name a directory on a disk"), "{}", ran.out);
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

/// Starts one that shows a probe; gives it, and the probe.
fn showing(place: &Place) -> (Child, BufReader<impl Read + use<>>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedload"));
    command
        .args(["doctor", "--repo", &place.address, "--show-probe", "--wait", "60s"])
        .current_dir(place.folder.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it was built");
    let mut said = BufReader::new(child.stderr.take().expect("it is a pipe"));
    let mut line = String::new();
    while !line.contains("--find-probe ") {
        line.clear();
        assert!(said.read_line(&mut line).is_ok_and(|bytes| bytes > 0), "it ended without a word");
    }
    let probe = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    (child, said, probe)
}

#[test]
fn a_probe_is_found_in_the_same_place_and_in_no_other() {
    let place = Place::empty();
    std::fs::create_dir(place.path("repo")).unwrap();
    std::fs::create_dir(place.path("other")).unwrap();
    let (mut child, _said, probe) = showing(&place);

    let elsewhere = Place {
        folder: tempfile::tempdir().unwrap(),
        address: format!("{}/other", place.address.strip_suffix("/repo").unwrap()),
    };
    let (ran, answer) = examined(&elsewhere, &["--find-probe", &probe]);
    let found = problems(&ran, &answer);
    assert!(found.len() == 1 && found[0].contains("is not to be seen from here"), "{found:?}");

    let (ran, answer) = examined(&place, &["--find-probe", &probe]);
    assert_eq!(problems(&ran, &answer), Vec::<String>::new());
    assert!(answer["repo"]["probe"].as_str().unwrap().contains("both reach one place"), "{answer:#}");
    let remarks = answer["remarks"].to_string();
    assert!(remarks.contains("that tells nothing of other machines"), "{remarks}");
    assert!([0, 3].contains(&child.wait().unwrap().code().unwrap()));
    assert_eq!(names(&place.path("repo")), Vec::<String>::new());
}

#[test]
fn an_interrupt_removes_the_probe() {
    let place = Place::empty();
    std::fs::create_dir(place.path("repo")).unwrap();
    let (mut child, mut said, _) = showing(&place);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("nothing was left"), "{rest}");
    assert_eq!(names(&place.path("repo")), Vec::<String>::new());
    assert_eq!(names(place.folder.path()), ["repo"]);
}
