//! The demonstration, run as people run it, on a small part of its data.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs `bedload` with a folder for temporary files of its own, and this on standard input.
fn run(temporary: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedload"));
    command
        .args(arguments)
        .env("TMPDIR", temporary)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command was built");
    child.stdin.take().expect("it is a pipe").write_all(input.as_bytes()).expect("it reads its input");
    child.wait_with_output().expect("it ends")
}

fn report(output: &Output) -> Value {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{errors}"))
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).expect("it is there").next().is_none()
}

#[test]
fn a_kill_and_a_rescale_change_nothing_of_what_is_counted() {
    let temporary = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--years", "2", "--part", "0.05", "--seed", "3", "--memory", "4", "--json"];
    let output = run(temporary.path(), &arguments, "");
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["equal"], true, "{report:#}");
    assert_eq!(report["totals"], report["plain_totals"]);
    assert_eq!(report["totals"]["flights"], 33_676);
    assert!(
        output.stderr.is_empty(),
        "nothing is said where nobody looks: {:?}",
        String::from_utf8_lossy(&output.stderr)
    );

    let checkpoints = report["checkpoints"].as_array().unwrap();
    assert!(checkpoints.len() >= 4, "{report:#}");
    assert!(checkpoints.iter().all(|checkpoint| checkpoint["took_us"].as_u64().unwrap() > 0));
    assert!(checkpoints.iter().any(|checkpoint| checkpoint["new_bytes"].as_u64().unwrap() > 0));

    let kill = &report["kill"];
    assert!(kill["at_record"].as_u64().unwrap() > 0, "{kill:#}");
    assert_eq!(kill["restore"]["workers"].as_array().unwrap().len(), 2, "{kill:#}");
    assert!(kill["restore"]["checkpoint"].is_string(), "it goes on from a checkpoint: {kill:#}");
    let again = kill["records_again"].as_u64().unwrap();
    assert_eq!(report["records_read"].as_u64().unwrap(), 33_676 + again);

    let rescale = &report["rescale"];
    assert_eq!((rescale["from"].as_u64(), rescale["to"].as_u64()), (Some(2), Some(3)), "{rescale:#}");
    assert_eq!(rescale["rewritten_bytes"], 0, "{rescale:#}");
    let plan = rescale["plan"].as_array().unwrap();
    let groups: u64 =
        plan.iter().map(|part| part["last_group"].as_u64().unwrap() - part["first_group"].as_u64().unwrap() + 1).sum();
    assert_eq!((plan.len(), groups), (3, 128), "{rescale:#}");
    assert!(is_empty(temporary.path()), "the folder is removed");
}

#[test]
fn people_read_that_it_is_equal_and_may_keep_the_repo() {
    let temporary = tempfile::tempdir().unwrap();
    let output = run(temporary.path(), &["demo", "--years", "1", "--part", "0.02", "--keep"], "");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for told in
        ["equal: yes", "kill -9", "serving after", "% local", "rescale 2 -> 3", "0 bytes were rewritten", "kept: "]
    {
        assert!(text.contains(told), "{told:?} is missing in {text}");
    }
    let kept = text.lines().find_map(|line| line.strip_prefix("kept: ")).unwrap();
    let names: Vec<String> =
        std::fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["repo"], "what workers had is removed");

    // What it tells to try can be tried.
    let (_, next) = text.split_once("to look at them:\n").unwrap();
    let (export, commands) = next.split_once('\n').unwrap();
    let commands: Vec<&str> = commands.lines().filter(|line| line.contains(" # ")).collect();
    assert!(commands.len() >= 6, "{text}");
    for command in commands {
        let ran = Command::new("sh").args(["-c", &format!("{export}\n{command}")]).output().unwrap();
        // Whether the last checkpoint has something that the one before has not is a matter of when it was.
        let (code, differs) = (ran.status.code(), command.contains(" diff "));
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(code == Some(0) || differs && code == Some(4), "{command}: {code:?} {errors}");
        assert!(!ran.stdout.is_empty(), "{command}");
    }
}

#[test]
fn lines_of_a_pipe_are_counted_by_key() {
    let temporary = tempfile::tempdir().unwrap();
    let lines: String = (0..5_000u32).map(|line| format!("key {}\t{line}\n", line % 700)).collect();
    let output = run(temporary.path(), &["demo", "--input", "-", "--json", "--seed", "1"], &lines);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["equal"], true, "{report:#}");
    let totals = &report["totals"];
    assert_eq!((totals["keys"].as_u64(), totals["lines"].as_u64()), (Some(700), Some(5_000)), "{totals}");
    assert_eq!(totals["sum of values"], 4_999 * 5_000 / 2);
    assert!(is_empty(temporary.path()), "the folder is removed");

    // So few that no checkpoint falls between them: it waited for one, for ever.
    for lines in ["key\t1\n", "key\t1\nother\t2\n"] {
        let output = run(temporary.path(), &["demo", "--input", "-", "--json"], lines);
        let told = self::report(&output);
        assert_eq!((output.status.code(), &told["equal"]), (Some(0), &Value::from(true)), "{told:#}");
        assert_eq!(told["totals"]["lines"].as_u64(), Some(lines.lines().count() as u64), "{told:#}");
    }

    let output = run(temporary.path(), &["demo", "--input", "-"], "no tab\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected key<TAB>value"));
    assert!(is_empty(temporary.path()), "also after an error");
}

/// The canary of the comparison: whoever forgets a record after a restore is found out.
#[test]
fn a_lost_record_is_told_with_exit_code_1() {
    let temporary = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--years", "1", "--part", "0.02", "--seed", "1", "--lose-a-record", "--json"];
    let output = run(temporary.path(), &arguments, "");
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!(report["equal"], false, "{report:#}");
    assert!(report["totals"]["flights"].as_u64() < report["plain_totals"]["flights"].as_u64(), "{report:#}");
    assert!(is_empty(temporary.path()), "the folder is removed");
}

#[test]
fn an_interrupt_cleans_up() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedload"));
    command.args(["demo", "--years", "100"]).env("TMPDIR", temporary.path()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Until it has said where its folder is.
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("folder ") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "it ended");
    }
    assert!(!is_empty(temporary.path()));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    // Read to the end, so that it never waits for the pipe.
    std::io::copy(&mut said, &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(is_empty(temporary.path()), "the folder is removed");
}

#[test]
fn wrong_use_is_exit_code_2() {
    let temporary = tempfile::tempdir().unwrap();
    for arguments in [
        &["demo", "--part", "2"][..],
        &["demo", "--input", "file"],
        &["dmeo"],
        &["demo", "--input", "-", "--years", "2"],
    ] {
        assert_eq!(run(temporary.path(), arguments, "").status.code(), Some(2), "{arguments:?}");
    }
}
