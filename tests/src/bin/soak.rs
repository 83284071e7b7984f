//! Runs one group of tests for a time, with new seeds, and adds a line to the ledger.
//!
//! `cargo run --release -p tests --bin soak -- --minutes 30 --group model`

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bedload_lsm::fs::{FaultWhen, MemoryFs};
use tests::crash::check_scenario;
use tests::damage::check_all_damage;
use tests::faults::{FAULTS, run_with_faults};
use tests::jobs::{JobOptions, run_job};
use tests::requests::{Case, Lasts, Plan, RequestTally, Script};
use tests::states::{StatesOptions, run_states};
use tests::{Arguments, Driver, Operation, Random, variants};

const GROUPS: [&str; 10] =
    ["model", "crash", "faults", "flips", "jobs", "requests", "states", "fuzz", "schedules", "chains"];

const HELP: &str = "\
Runs random tests of the store for a time and adds a line to tests/ledger.tsv.

Usage: soak --group GROUP [--minutes N] [--seed S]

Groups:
  model      random operations against the oracle, under every option set
  crash      power loss at every mutating file operation
  faults     disks that fail now and then
  flips      every byte of a store's files flipped, files cut and swapped
  jobs       workers, coordinator, checkpoints, restores and collections on an object store that fails
  requests   every request of a job goes wrong, in every way: a seed is a case, and those of one job follow each other
  states     typed states and timers, on disk and in memory, against plain collections
  fuzz       every fuzz target in turn, from its corpus on (needs cargo-fuzz)
  schedules  schedules of a store's threads, one by one (needs RUSTFLAGS=\"--cfg shuttle\" and a --target-dir of its own)
  chains     schedules of all that write a job's chain (needs the same)

Options:
  --minutes N   how long (default 10)
  --seed S      start with this seed instead of one from the clock: reruns a failure
";

/// What a soak has done.
#[derive(Default)]
struct Tally {
    seeds: u64,
    operations: u64,
    images: u64,
    failures: Vec<String>,
}

#[expect(clippy::disallowed_methods, reason = "a command that runs for a time needs the clock")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> ExitCode {
    let arguments = match Arguments::read(HELP) {
        Ok(arguments) => arguments,
        Err(end) => return end,
    };
    let group = arguments.text("--group").unwrap_or_default().to_owned();
    if !GROUPS.contains(&group.as_str()) {
        print!("{HELP}");
        return ExitCode::from(2);
    }
    let minutes = arguments.number("--minutes").unwrap_or(10.0);
    let first = arguments.number("--seed").unwrap_or_else(clock_seed);
    if ["schedules", "chains"].contains(&group.as_str()) != cfg!(shuttle) {
        eprintln!(
            "the groups schedules and chains, and no others, are built with RUSTFLAGS=\"--cfg shuttle\" and a --target-dir of its own"
        );
        return ExitCode::from(2);
    }
    let sum = if group == "fuzz" { fuzz(minutes) } else { soak_on_all_cores(&group, first, minutes) };
    for failure in &sum.failures {
        println!("FAILED {failure}");
    }
    println!(
        "{group}: {} seeds from {first}, {} operations, {} images, {} failures in {minutes} minutes",
        sum.seeds,
        sum.operations,
        sum.images,
        sum.failures.len()
    );
    write_ledger(&group, &sum);
    if sum.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn soak_on_all_cores(group: &str, first: u64, minutes: f64) -> Tally {
    let end = now() + Duration::from_secs_f64(minutes * 60.0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let start = |thread: u64| scope.spawn(move || soak(group, first + thread, threads, end));
        let handles: Vec<_> = (0..threads).map(start).collect();
        handles.into_iter().map(|handle| handle.join().expect("failures are counted, not thrown")).collect()
    });
    let mut sum = Tally::default();
    for tally in tallies {
        sum.seeds += tally.seeds;
        sum.operations += tally.operations;
        sum.images += tally.images;
        sum.failures.extend(tally.failures);
    }
    sum
}

/// Fuzzes each target for its share of the time; a failure's input is where cargo-fuzz says.
fn fuzz(minutes: f64) -> Tally {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        // A stable compiler takes the fuzzer's flags like a nightly one, when it is told to.
        command.current_dir(root).env("RUSTC_BOOTSTRAP", "1").arg("fuzz").args(arguments).output().expect("cargo runs")
    };
    let targets = cargo(&["list"]);
    let targets: Vec<String> = String::from_utf8_lossy(&targets.stdout).lines().map(str::to_owned).collect();
    assert!(!targets.is_empty(), "cargo fuzz lists no target: cargo install cargo-fuzz");
    let seconds = (minutes * 60.0 / targets.len() as f64).ceil();
    let mut sum = Tally::default();
    for target in &targets {
        let found = tempfile::tempdir().expect("a temporary directory");
        let (found, corpus) = (found.path().display().to_string(), format!("fuzz/corpus/{target}"));
        let time = format!("-max_total_time={seconds}");
        // As `.ci/run` has them.
        let limits =
            ["-timeout=20", "-rss_limit_mb=2048", "-malloc_limit_mb=64", "-verbosity=0", "-print_final_stats=1"];
        let limits = [&["--", &time][..], &limits].concat();
        let output = cargo(&[&["run", target, &found, &corpus], &limits[..]].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        let executed = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        sum.seeds += 1;
        sum.operations += executed.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0);
        if !output.status.success() {
            sum.failures.push(format!("fuzz target {target}:\n{text}"));
        }
    }
    sum
}

/// Seeds `first`, `first + step`, … until the time is over.
fn soak(group: &str, first: u64, step: u64, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let variants = variants();
    let mut seed = first;
    let mut plans = Plans::default();
    while now() < end {
        let variant = &variants[(seed / step) as usize % variants.len()];
        let result = match group {
            "model" => model(seed, variant, &mut tally),
            "crash" => check_scenario(variant, seed, 120, 20).map(|images| {
                tally.images += images as u64;
                tally.operations += 120;
            }),
            "flips" => check_all_damage(variant, seed).map(|damages| tally.images += damages as u64),
            "jobs" => jobs(seed, &mut tally),
            "requests" => plans.run(seed, &mut tally),
            "states" => states(seed, &mut tally),
            "schedules" | "chains" => schedules(group, seed, &mut tally),
            _ => faults(seed, variant, &mut tally),
        };
        tally.seeds += 1;
        if let Err(failure) = result {
            let rerun = format!("rerun: soak --group {group} --seed {seed} --minutes 0.01");
            tally.failures.push(format!("{failure}\n  {rerun}"));
        }
        seed += step;
    }
    tally
}

fn model(seed: u64, variant: &tests::Variant, tally: &mut Tally) -> Result<(), String> {
    let count = 1000;
    tally.operations += count;
    let operations = Operation::random_list(&mut Random::new(seed), count as usize);
    let mut driver = Driver::open(Arc::new(MemoryFs::new()), variant, seed).map_err(|failure| failure.to_string())?;
    driver.apply_all(&operations)
}

fn faults(seed: u64, variant: &tests::Variant, tally: &mut Tally) -> Result<(), String> {
    let fault = FAULTS[seed as usize % FAULTS.len()];
    let n = [32, 128, 1000][seed as usize % 3];
    tally.operations += 300;
    run_with_faults(variant, seed, 300, fault, FaultWhen::OneIn { n, seed })
        .map(drop)
        .map_err(|failure| format!("variant {:?}, seed {seed}, {fault:?} 1 in {n}: {failure}", variant.name))
}

fn jobs(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let key_groups = if seed.is_multiple_of(8) { 32_768 } else { 128 };
    let options = JobOptions { operations: 120, key_groups, fault_one_in: [0, 10, 40, 200][seed as usize % 4] };
    tally.operations += options.operations as u64;
    run_job(seed, options).map(|job| tally.images += job.restores).map_err(|what| format!("{options:?}: {what}"))
}

/// How many seeds are the cases of one job.
const CASES_MAX: u64 = 1 << 14;

/// The job whose cases are run.
#[derive(Default)]
struct Plans {
    seed: u64,
    cases: Vec<(Arc<Plan>, Case)>,
}

impl Plans {
    /// Runs the case of `seed`; does nothing where a job has fewer.
    fn run(&mut self, seed: u64, tally: &mut Tally) -> Result<(), String> {
        if self.cases.is_empty() || self.seed != seed / CASES_MAX {
            self.seed = seed / CASES_MAX;
            self.cases.clear();
            for script in [Script::Small, Script::Large] {
                let plan = Arc::new(Plan::new(script, self.seed)?);
                for lasts in [Lasts::Once, Lasts::FromThenOn, Lasts::SameOperation] {
                    self.cases.extend(plan.cases(lasts).into_iter().map(|case| (Arc::clone(&plan), case)));
                }
            }
            assert!(self.cases.len() as u64 <= CASES_MAX, "{} cases: let a job have more seeds", self.cases.len());
        }
        let Some((plan, case)) = self.cases.get((seed % CASES_MAX) as usize) else { return Ok(()) };
        let mut requests = RequestTally::default();
        let run = plan.run(*case, &mut requests);
        tally.operations += requests.requests;
        run
    }
}

fn states(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let options = StatesOptions { steps: 120, fault_one_in: [0, 0, 30, 200][seed as usize % 4] };
    let states = run_states(seed, options).map_err(|what| format!("{options:?}: {what}"))?;
    tally.operations += states.operations + states.fired;
    tally.images += states.restores;
    Ok(())
}

#[cfg(shuttle)]
fn schedules(group: &str, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let schedules = 100;
    tally.operations += schedules;
    match group {
        "chains" => tests::chains::explore_chain(seed, schedules as usize, tests::chains::failing_store),
        _ => tests::schedules::explore(seed, schedules as usize),
    }
}

#[cfg(not(shuttle))]
fn schedules(_group: &str, _seed: u64, _tally: &mut Tally) -> Result<(), String> {
    Err("built without --cfg shuttle".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "new seeds each time are the point")]
fn clock_seed() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs() << 16)
}

/// Adds date, commit, group and sums; the ledger is never written by hand.
fn write_ledger(group: &str, sum: &Tally) {
    let commit = command("git", &["rev-parse", "--short", "HEAD"]);
    let date = command("date", &["-u", "+%Y-%m-%d"]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ledger.tsv");
    let line = format!(
        "{date}\t{commit}\t{group}\t{}\t{}\t{}\t0\t{}\n",
        sum.seeds,
        sum.operations,
        sum.images,
        sum.failures.len()
    );
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("the ledger can be opened");
    file.write_all(line.as_bytes()).expect("the ledger can be written");
}

fn command(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).output().ok().filter(|output| output.status.success());
    output.map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
