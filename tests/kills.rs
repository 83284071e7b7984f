//! A worker is killed at any moment, again and again: nothing that was complete is lost, and no garbage is overlooked.

use std::path::Path;

use bedload_snapshot::Error;
use tests::kills::Kills;

#[test]
fn nothing_that_was_complete_is_lost_to_a_kill() -> Result<(), Error> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    let address = format!("file://{}/repo", directory.display());
    let victim = Path::new(env!("CARGO_BIN_EXE_victim"));
    let steps = Kills { victim, address: &address, directory, kills: 40, after_ms: 20..420 }.check()?;
    assert!(steps > 1_000, "{steps} steps in all");
    // Files of uploads that were not finished are no objects.
    let runs = std::fs::read_dir(directory.join("repo/jobs/killed/runs")).expect("the directory can be read");
    let names = runs.map(|run| run.expect("the directory can be read").file_name().to_string_lossy().into_owned());
    let unfinished: Vec<String> = names.filter(|name| name.contains('#')).collect();
    assert!(unfinished.is_empty(), "{unfinished:?} were not collected");
    Ok(())
}
