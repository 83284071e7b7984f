//! `bedload get` and `bedload scan`: what is in a checkpoint, without the program that wrote it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bedload::{CheckpointReader, Error, ErrorKind, Result};
use clap::Args;
use serde_json::Value;
use tempfile::TempDir;

use crate::context::Context;
use crate::files::remove_folder;
use crate::interrupt::{Interrupt, tell_of_lease};
use crate::reference::Reference;
use crate::{exit, streams};

/// Shows what stands under a key in a checkpoint: each state's value, one JSON object a line.
///
/// Keys are written as their form has them, which `bedload show` tells: text as it is, numbers in decimal, several parts as a JSON array, bytes
/// in hexadecimal. Numbers and keys are shown as such; what a codec of the program wrote is shown as the codec's name and the bytes in
/// hexadecimal. It is fetched as it is read. Exit code 10 when nothing stands there.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload get late-board@latest N14228\n  bedload get late-board N14228 --state flights | jq .value\n  \
                  bedload get late-board '[\"N14228\",15706]'"
)]
pub struct GetArguments {
    /// The checkpoint.
    checkpoint: Reference,
    /// The key.
    key: String,
    /// Only this state.
    #[arg(long)]
    state: Option<String>,
}

/// Shows the entries of a checkpoint, in the order of their key groups: one JSON object a line.
///
/// Entries are shown as by `bedload get`; timers too. They are fetched as they are read.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedload scan late-board --limit 20\n  bedload scan late-board@3-18 --state flights | jq -s 'map(.value) | add'"
)]
pub struct ScanArguments {
    /// The checkpoint.
    checkpoint: Reference,
    /// Only this state, or these timers.
    #[arg(long)]
    state: Option<String>,
    /// Only this key group.
    #[arg(long)]
    group: Option<u16>,
    /// At most so many entries.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// How long an interrupted reading may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Opens a checkpoint in a folder that it is fetched to, for as long as that lives.
async fn open(checkpoint: &Reference, state: Option<&str>, context: &Context) -> Result<(CheckpointReader, TempDir)> {
    let repo = context.repo().await?;
    let found = context.find(&repo, checkpoint).await?;
    let temporary = std::env::temp_dir();
    let folder = tempfile::Builder::new().prefix("bedload-read-").tempdir();
    let folder = folder.map_err(|cause| Error::io("create a folder in", &temporary, cause))?;
    let reader = CheckpointReader::open(&repo, found.job.as_str(), Some(found.id()), folder.path()).await?;
    if let Some(Err(error)) = state.map(|name| check_state(&reader, name)) {
        reader.close().ok();
        return Err(error);
    }
    Ok((reader, folder))
}

/// Waits for an opening; `None` when that was interrupted.
async fn unless_interrupted<T>(
    opening: impl Future<Output = Result<T>>,
    interrupt: &mut Interrupt,
) -> Result<Option<T>> {
    tokio::select! {
        opened = opening => opened.map(Some),
        () = interrupt.wait() => {
            tell_of_lease();
            Ok(None)
        }
    }
}

/// # Errors
/// `Missing` when a checkpoint has no state and no timers of this name.
fn check_state(reader: &CheckpointReader, name: &str) -> Result<()> {
    let states = reader.states().iter().map(|state| &*state.name);
    let names: Vec<&str> = states.chain(reader.timers().iter().map(|timers| &*timers.name)).collect();
    if names.contains(&name) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Missing, format!("there is no state {name:?}; there are: {}", names.join(", "))))
}

/// Reads on a thread that may wait for the repo, then ends the reading and removes the folder; `None` when that was interrupted.
async fn read<T: Send + 'static>(
    (reader, folder): (CheckpointReader, TempDir),
    mut interrupt: Interrupt,
    read: impl FnOnce(&CheckpointReader, &AtomicBool) -> Result<T> + Send + 'static,
) -> Result<Option<T>> {
    let stops = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stops);
    let mut reading = tokio::task::spawn_blocking(move || {
        let read = read(&reader, &stopped);
        reader.close().and(read)
    });
    let ended = tokio::select! {
        ended = &mut reading => Some(ended),
        () = interrupt.wait() => {
            // It ends the reading in the repo, unless it waits for whoever reads its output.
            stops.store(true, Ordering::Relaxed);
            tokio::time::timeout(STOP_LIMIT, reading).await.ok();
            None
        }
    };
    remove_folder(folder).await?;
    let bug = |cause| Error::new(ErrorKind::Bug, format!("a thread that reads has ended: {cause}"));
    ended.map(|ended| ended.map_err(bug)?).transpose()
}

/// Prints one entry; `false` when nobody reads any more.
fn print_line(value: &Value) -> Result<bool> {
    streams::print(&format!("{value}\n"))
}

/// Runs `bedload get`; gives the exit code.
pub async fn get(arguments: &GetArguments, context: &Context) -> Result<u8> {
    let mut interrupt = Interrupt::listen()?;
    let opening = open(&arguments.checkpoint, arguments.state.as_deref(), context);
    let Some(opened) = unless_interrupted(opening, &mut interrupt).await? else { return Ok(exit::INTERRUPTED) };
    let (key, state) = (arguments.key.clone(), arguments.state.clone());
    let found = read(opened, interrupt, move |reader, _| {
        let mut found = 0;
        reader.entries_of(&key, |entry| {
            if state.is_none() || entry.state == state.as_deref() {
                found += 1;
                print_line(&reader.describe(entry))?;
            }
            Ok(())
        })?;
        Ok(found)
    });
    match found.await? {
        None => Ok(exit::INTERRUPTED),
        Some(0) => {
            context.complain(&format!("nothing stands under {:?}", arguments.key));
            Ok(exit::NOT_FOUND)
        }
        Some(_) => Ok(exit::DONE),
    }
}

/// Runs `bedload scan`; gives the exit code.
pub async fn scan(arguments: &ScanArguments, context: &Context) -> Result<u8> {
    let mut interrupt = Interrupt::listen()?;
    let opening = open(&arguments.checkpoint, arguments.state.as_deref(), context);
    let Some(opened) = unless_interrupted(opening, &mut interrupt).await? else { return Ok(exit::INTERRUPTED) };
    let (state, group, limit) = (arguments.state.clone(), arguments.group, arguments.limit.unwrap_or(u64::MAX));
    let read = read(opened, interrupt, move |reader, stops| {
        let mut left = limit;
        reader.entries(group, |entry| {
            if left == 0 || stops.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if state.is_some() && entry.state != state.as_deref() {
                return Ok(true);
            }
            left -= 1;
            Ok(print_line(&reader.describe(entry))? && left > 0)
        })
    });
    Ok(if read.await?.is_some() { exit::DONE } else { exit::INTERRUPTED })
}
