//! Many runs, each in a process of its own, interleaved over the stores so that a slow minute of the machine hits all.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::{Compare, Quick, Size};
use crate::record::Record;
use crate::runner;
use crate::stores::{CONTESTANTS, Contestant};
use crate::table;
use crate::workloads::{WORKLOADS, Workload};

/// Keys of a quick run, and a budget that they do not fit in, so that files are read and merged too.
const QUICK_KEYS: u64 = 200_000;
const QUICK_MEMORY_MIB: u64 = 16;
/// Seconds of a quick run's workloads with a given time: enough for two checkpoints.
const QUICK_SECONDS: f64 = 2.2;
/// Checkpoints that a quick run ships.
const QUICK_CHECKPOINTS: u64 = 4;

/// What `compare` does.
pub fn compare(arguments: &Compare) -> Result<()> {
    let plan = Plan::new(&arguments.stores, &arguments.workloads, arguments.reps)?;
    let (records, failures) = plan.carry_out(|_| arguments.size.clone(), Some(&arguments.results))?;
    print!("{}", table::render(&records, arguments.markdown));
    ensure!(failures == 0, "{failures} runs failed; see above");
    Ok(())
}

/// What `quick` does: everything that can fail, once, at a size where it takes some minutes.
pub fn quick(arguments: &Quick) -> Result<()> {
    let plan = Plan::new(&arguments.stores, &arguments.workloads, 1)?;
    let dir = arguments.dir.join("quick");
    let size = |workload: Workload| Size {
        keys: QUICK_KEYS,
        memory_mib: QUICK_MEMORY_MIB,
        operations: Some((workload.operations(QUICK_KEYS) / 4).max(1)),
        seconds: QUICK_SECONDS,
        checkpoints: QUICK_CHECKPOINTS,
        seed: 1,
        limit_mib: None,
        cgroup: None,
        dir: dir.clone(),
    };
    let (records, failures) = plan.carry_out(size, None)?;
    fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    print!("{}", table::render(&records, false));
    ensure!(failures == 0, "{failures} runs failed; see above");
    println!("\nAll {} runs gave the right answers.", records.len());
    Ok(())
}

/// What is to be run.
struct Plan {
    stores: Vec<Contestant>,
    workloads: Vec<Workload>,
    repetitions: u32,
}

impl Plan {
    fn new(stores: &str, workloads: &str, repetitions: u32) -> Result<Plan> {
        let (stores, workloads) = (stores_named(stores)?, workloads_named(workloads)?);
        Ok(Plan { stores, workloads, repetitions })
    }

    /// Runs everything, and returns what succeeded and how many runs failed. A failed run does not keep others from running.
    fn carry_out(&self, size: impl Fn(Workload) -> Size, results: Option<&Path>) -> Result<(Vec<Record>, u32)> {
        let (mut records, mut failures) = (Vec::new(), 0);
        for workload in &self.workloads {
            for repetition in 0..self.repetitions {
                for store in &self.stores {
                    if !runner::suits(*store, *workload)? {
                        continue;
                    }
                    match run(*store, *workload, &size(*workload), repetition) {
                        Ok(record) => {
                            results.map_or(Ok(()), |path| record.append_to(path))?;
                            records.push(record);
                        }
                        Err(error) => {
                            eprintln!("FAILED: {error:#}");
                            failures += 1;
                        }
                    }
                }
            }
        }
        Ok((records, failures))
    }
}

fn run(store: Contestant, workload: Workload, size: &Size, repetition: u32) -> Result<Record> {
    eprint!("{:<12} {:<16} #{repetition} ", workload.name, store.name);
    let start = Instant::now();
    fs::create_dir_all(&size.dir).with_context(|| format!("creating {}", size.dir.display()))?;
    let mut command = Command::new(runner::program()?);
    command.args(["run", "--store", store.name, "--workload", workload.name]);
    command.args(["--rep", &repetition.to_string()]);
    add_size(&mut command, size, &size.dir);
    let output = command.stderr(Stdio::inherit()).output().context("starting a run")?;
    if !output.status.success() {
        bail!("{} on {} ended with {}", workload.name, store.name, output.status);
    }
    let record: Record = serde_json::from_slice(&output.stdout).context("reading the result of a run")?;
    eprintln!("{} ({:.0} s in all)", table::brief(&record), start.elapsed().as_secs_f64());
    Ok(record)
}

fn add_size(command: &mut Command, size: &Size, dir: &Path) {
    command.args(["--keys", &size.keys.to_string(), "--memory-mib", &size.memory_mib.to_string()]);
    command.args(["--seconds", &size.seconds.to_string(), "--seed", &size.seed.to_string()]);
    command.args(["--checkpoints", &size.checkpoints.to_string()]);
    command.arg("--dir").arg(dir);
    if let Some(operations) = size.operations {
        command.args(["--operations", &operations.to_string()]);
    }
    if let Some(limit) = size.limit_mib {
        command.args(["--limit-mib", &limit.to_string()]);
    }
    if let Some(group) = &size.cgroup {
        command.arg("--cgroup").arg(group);
    }
}

fn stores_named(names: &str) -> Result<Vec<Contestant>> {
    if names == "all" {
        return Ok(CONTESTANTS.to_vec());
    }
    names.split(',').map(|name| Contestant::named(name.trim())).collect()
}

fn workloads_named(names: &str) -> Result<Vec<Workload>> {
    if names == "all" {
        return Ok(WORKLOADS.to_vec());
    }
    names.split(',').map(|name| Workload::named(name.trim())).collect()
}
