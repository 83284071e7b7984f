//! A worker is killed at any moment, again and again: nothing that was complete is lost, and no garbage is overlooked.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bedload_snapshot::{Chain, Deletes, Error, ObjectName, Repo, VerifyLevel, Why, verify, why};
use tests::Random;
use tests::kills::{clean, job, newest_state, state_after};

const KILLS: u64 = 40;

#[test]
fn nothing_that_was_complete_is_lost_to_a_kill() -> Result<(), Error> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let address = format!("file://{}/repo", directory.path().display());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    let repo = runtime.block_on(Repo::open(&address))?;
    let mut random = Random::new(40);
    let mut complete = 0;
    for kill in 0..KILLS {
        complete = complete.max(run_and_kill(&address, directory.path(), kill, random.below(400)));
        let (steps, state) = runtime.block_on(newest_state(&repo, &directory.path().join(format!("check-{kill}"))))?;
        assert!(steps >= complete, "kill {kill}: {steps} steps came back, {complete} were complete");
        assert_eq!(state, state_after(steps), "kill {kill}: the state after {steps} steps");
        complete = steps;
    }
    assert!(complete > 1_000, "{complete} steps in all");
    runtime.block_on(nothing_is_overlooked(&repo, &directory.path().join("repo")))
}

/// Runs a worker and kills it after some milliseconds; gives the steps of the last checkpoint that it said was complete.
#[expect(clippy::disallowed_methods, reason = "the moment of a kill is what is random here")]
fn run_and_kill(address: &str, directory: &Path, opening: u64, milliseconds: u64) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_victim"))
        .args([address, &directory.display().to_string(), &opening.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the worker starts");
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    let (told, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
    let end = Instant::now() + Duration::from_millis(20 + milliseconds);
    let mut complete = 0;
    let note = |line: String| line.parse().expect("the worker tells numbers");
    while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        complete = note(line);
    }
    let ended = child.try_wait().expect("it is our child");
    assert!(ended.is_none(), "the worker ended by itself: see its error above");
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    // What it said before the kill.
    complete = lines.iter().map(note).last().unwrap_or(complete);
    reader.join().expect("reading lines does not panic").ok();
    complete
}

async fn nothing_is_overlooked(repo: &Repo, directory: &Path) -> Result<(), Error> {
    let mut chain = Chain::read(repo, &job()).await?;
    let leases = files(&directory.join("jobs/killed/leases"));
    for path in leases {
        if let Some(ObjectName::Lease(_, lease)) = ObjectName::parse(&format!("jobs/killed/leases/{path}")) {
            chain.void(lease, "its holder was killed").await?;
        }
    }
    chain.catch_up().await?;
    let (_, newest) = chain.state().newest().expect("many were completed");
    let verified = verify(repo, &job(), newest.checkpoint, VerifyLevel::Everything).await?;
    assert!(verified.faults.is_empty(), "{verified:?}");
    // Times of this repo are whole seconds to a collector, and what is younger than a minute is written while it looks.
    let collected = clean(repo, Deletes::Everything).await?;
    assert!(collected.unknown.is_empty(), "{:?}", collected.unknown);
    for run in files(&directory.join("jobs/killed/runs")) {
        let path = format!("jobs/killed/runs/{run}");
        assert!(matches!(why(repo, &path).await?, Why::Reached(_)), "{path} is garbage that was not collected");
    }
    Ok(())
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.expect("the directory can be read").file_name().to_string_lossy().into_owned()).collect()
}
