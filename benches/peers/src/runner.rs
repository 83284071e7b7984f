//! One run in this process: prepares a filled directory, runs the workload, makes the record.
//!
//! Filling takes longer than most workloads, so a store is filled once for a size, by a process of its own, into a template;
//! each run works on a copy whose immutable files are hard links. The copy is removed at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::{FillStore, Run, Size};
use crate::measure::Baseline;
use crate::record::Record;
use crate::store::{Setup, Store};
use crate::stores::{Contestant, ForEachStore, share_directory, sync_files};
use crate::workloads::{self, Fill, Outcome, Task, Workload};

/// Runs one workload on one store.
pub fn run(arguments: &Run) -> Result<Record> {
    let (store, workload) = (Contestant::named(&arguments.store)?, Workload::named(&arguments.workload)?);
    let size = &arguments.size;
    let directory = size.dir.join(format!("run-{}-{}", std::process::id(), store.name));
    let result = store.with(RunWorkload { store, workload, size, rep: arguments.rep, directory: &directory });
    // A run that failed leaves no files either; what cannot be removed is told by the next line of the shell.
    fs::remove_dir_all(&directory).ok();
    let outcome = result.with_context(|| format!("{} on {}", workload.name, store.name))?;
    Ok(Record {
        store: store.name.to_owned(),
        workload: workload.name.to_owned(),
        keys: size.keys,
        memory_mib: size.memory_mib,
        limit_mib: size.limit_mib,
        repetition: arguments.rep,
        operations: outcome.operations,
        figures: outcome.figures,
        costs: outcome.costs,
    })
}

struct RunWorkload<'a> {
    store: Contestant,
    workload: Workload,
    size: &'a Size,
    rep: u32,
    directory: &'a Path,
}

impl ForEachStore for RunWorkload<'_> {
    type Output = Outcome;

    fn run<S: Store>(self) -> Result<Outcome> {
        let (size, fill) = (self.size, self.workload.fill);
        let setup = setup(self.store, size.memory_mib, fill, self.directory.join("store"));
        match fill.name() {
            Some(_) if S::HAS_FILES && S::CAN_BE_COPIED => {
                let template = template(self.store, size, fill)?;
                share_directory(&template, &setup.directory, S::is_immutable)?;
            }
            Some(_) if S::HAS_FILES => fill_elsewhere(self.store, size, fill, &setup.directory)?,
            _ => fs::create_dir_all(&setup.directory)
                .with_context(|| format!("creating {}", setup.directory.display()))?,
        }
        // A page that the copy left dirty would not count as written when the workload writes it again.
        sync_files(&setup.directory)?;
        let task = Task {
            setup,
            beside: self.directory.join("beside"),
            keys: size.keys,
            operations: size.operations.unwrap_or_else(|| self.workload.operations(size.keys)),
            seconds: size.seconds,
            checkpoints: size.checkpoints,
            seed: size.seed + u64::from(self.rep),
            // A control group bounds the process from outside.
            limit_bytes: size.limit_mib.filter(|_| size.cgroup.is_none()).map(|mib| mib << 20),
            baseline: Baseline::take(),
        };
        if let (Some(group), Some(limit)) = (&size.cgroup, size.limit_mib) {
            enter_group(group, limit << 20)?;
        }
        workloads::run::<S>(self.workload, &task)
    }
}

/// Whether the store can do the workload at all.
pub fn suits(store: Contestant, workload: Workload) -> Result<bool> {
    store.with(Suits(workload))
}

struct Suits(Workload);

impl ForEachStore for Suits {
    type Output = bool;

    fn run<S: Store>(self) -> Result<bool> {
        Ok(self.0.suits::<S>())
    }
}

fn setup(store: Contestant, memory_mib: u64, fill: Fill, directory: PathBuf) -> Setup {
    let memory_bytes = (memory_mib << 20) as usize;
    Setup { directory, memory_bytes, state: fill.state(), variant: store.variant() }
}

/// The directory of the filled store, which is made when there is none yet or when this program was built after it.
fn template(store: Contestant, size: &Size, fill: Fill) -> Result<PathBuf> {
    let what = fill.name().context("there is nothing to fill")?;
    let name = format!("filled-{}-{what}-{}-{}", store.name, size.keys, size.memory_mib);
    let (finished, unfinished) = (size.dir.join(&name), size.dir.join(format!("{name}.unfinished")));
    if finished.is_dir() && modified(&finished)? > modified(&program()?)? {
        return Ok(finished);
    }
    for old in [&finished, &unfinished].into_iter().filter(|directory| directory.is_dir()) {
        fs::remove_dir_all(old).with_context(|| format!("removing {}", old.display()))?;
    }
    fill_elsewhere(store, size, fill, &unfinished)?;
    fs::rename(&unfinished, &finished).with_context(|| format!("renaming to {}", finished.display()))?;
    Ok(finished)
}

/// Fills a store in a process of its own, so that what the filling leaves in memory is not this one's.
fn fill_elsewhere(store: Contestant, size: &Size, fill: Fill, into: &Path) -> Result<()> {
    let what = fill.name().context("there is nothing to fill")?;
    let status = Command::new(program()?)
        .args(["fill", "--store", store.name, "--fill", what])
        .args(["--keys", &size.keys.to_string(), "--memory-mib", &size.memory_mib.to_string()])
        .arg("--into")
        .arg(into)
        .stdout(Stdio::null())
        .status()
        .context("starting the filling")?;
    ensure!(status.success(), "filling {} ended with {status}", store.name);
    Ok(())
}

/// This program's file: runs and fillings are processes of their own.
pub fn program() -> Result<PathBuf> {
    std::env::current_exe().context("finding this program")
}

fn modified(path: &Path) -> Result<SystemTime> {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .with_context(|| format!("looking at {}", path.display()))
}

/// Fills a store in this process.
pub fn fill(arguments: &FillStore) -> Result<()> {
    let store = Contestant::named(&arguments.store)?;
    let Some(what) = Fill::named(&arguments.fill) else {
        bail!("there is no content {:?}; there are points, maps and timers", arguments.fill)
    };
    fs::create_dir_all(&arguments.into).with_context(|| format!("creating {}", arguments.into.display()))?;
    let setup = setup(store, arguments.memory_mib, what, arguments.into.clone());
    store.with(FillWithRows { setup, what, keys: arguments.keys })
}

struct FillWithRows {
    setup: Setup,
    what: Fill,
    keys: u64,
}

impl ForEachStore for FillWithRows {
    type Output = ();

    fn run<S: Store>(self) -> Result<()> {
        let mut store = S::open(&self.setup)?;
        workloads::fill(&mut store, self.what, self.keys)?;
        store.settle()?;
        store.close()
    }
}

/// Moves this process into a memory control group and sets its limit.
fn enter_group(group: &Path, limit_bytes: u64) -> Result<()> {
    let files = ["memory.max", "memory.limit_in_bytes"].map(|name| group.join(name));
    let Some(file) = files.iter().find(|file| file.exists()) else {
        bail!(
            "{} is no memory control group: it has neither {:?}",
            group.display(),
            files.map(|file| file.file_name().map(ToOwned::to_owned))
        )
    };
    fs::write(file, limit_bytes.to_string()).with_context(|| format!("writing {}", file.display()))?;
    let processes = group.join("cgroup.procs");
    fs::write(&processes, std::process::id().to_string()).with_context(|| format!("writing {}", processes.display()))
}
