//! `top`: one frame, and several where nobody looks at a terminal.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use expect_test::expect;

use crate::support::{Place, masked};

/// `text` without what differs from run to run: figures become `#`, with one blank before each.
fn shown(text: &str, place: &Place) -> String {
    let mut shown = String::new();
    for line in masked(text, place).lines() {
        let mut words: Vec<String> = Vec::new();
        for word in line.split_whitespace() {
            let is_unit = ["B", "KiB", "MiB", "GiB", "TiB", "µs", "ms", "s"].contains(&word);
            let is_figure = |word: &str| word.parse::<f64>().is_ok();
            match words.last_mut() {
                Some(before) if is_unit && is_figure(before) => *before = "#".to_owned(),
                _ => words.push(word.to_owned()),
            }
        }
        // Merges may go on, and paths are of any length.
        if words.first().is_some_and(|path| path.ends_with("worker-0")) {
            words = vec![String::from("DIRECTORY"), format!("and {} figures", words.len() - 1)];
        }
        shown.push_str(&format!("{}\n", words.join(" ")));
    }
    shown
}

#[test]
fn one_frame_shows_jobs_workers_and_directories() {
    let place = Place::with_job(2);
    let ran = place.run(&["top", "--once", "board", "./board-worker-0"]).expect(0);
    assert!(!ran.out.contains('\x1b'), "{:?}", ran.out);
    assert!(ran.out.lines().all(|line| line.chars().count() <= 100), "{}", ran.out);
    expect![[r#"
        MOMENT REPO

        job newest complete bytes new pause upload workers kept pins leases
        board 1-2 AGO SIZE SIZE TIME TIME 2 2 0 0

        board@1-2 key groups runs bytes pause flush link upload verify
        w-0 0..=63 2 SIZE TIME TIME TIME TIME TIME
        w-1 64..=127 2 SIZE TIME TIME TIME TIME TIME

        directory lock runs bytes stack entries copies disk free
        DIRECTORY and 7 figures
    "#]]
    .assert_eq(&shown(&ran.out, &place));
    assert_eq!(ran.err, "");

    let answer = place.run(&["top", "--once", "--json", "board"]).expect(0).json();
    assert_eq!(answer["jobs"][0]["figures"]["newest"]["checkpoint"], "1-2");
}

#[test]
fn what_cannot_be_read_stands_in_the_frame() {
    let place = Place::with_job(1);
    let ran = place.run(&["top", "--once", "bord"]).expect(10);
    assert!(ran.out.contains("there is no job bord in file:///"), "{}", ran.out);
    assert!(ran.out.lines().all(|line| line.chars().count() <= 100), "{}", ran.out);
    std::fs::create_dir(place.path("bord")).unwrap();
    let ran = place.run(&["top", "--once", "bord"]).expect(10);
    let words: Vec<&str> = ran.out.split_whitespace().collect();
    assert!(words.join(" ").contains("the directory of this name is written ./bord"), "{}", ran.out);
    place.run(&["top", "--once", "--every", "1ms"]).expect(2);
}

#[test]
fn frames_follow_each_other_until_it_is_interrupted() {
    let place = Place::with_job(1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedload"));
    command.args(["--repo", &place.address, "top", "board", "--every", "100ms"]).current_dir(place.folder.path());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let frames = lines.by_ref().filter(|line| line.trim_start().starts_with("job ")).take(3).count();
    assert_eq!(frames, 3);
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:?}");
    assert!(rest.iter().all(|line| !line.contains('\x1b')), "{rest:?}");
}
