//! A repo that a job of two workers made, and the command run at it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use assert_cmd::Command;
use bedload::{Engine, KeyGroups, List, Map, Reducing, Repo, Spec, Start, Value as ValueOf};
use bedload_lsm::fs::DiskFs;
use bedload_snapshot::{Epoch, Fetcher, LocalPool, RestoreOptions, restore_lazily};
use serde_json::Value;

pub const FLIGHTS: Spec<Reducing<i64>> = Reducing::sum("flights");
pub const PLANE: Spec<ValueOf<(String, u64)>> = ValueOf::named("plane");
pub const STOPS: Spec<Map<u64, String>> = Map::named("stops");
pub const DELAYS: Spec<List<u32>> = List::named("delays");

/// The planes of the job.
pub const PLANES: u32 = 400;

/// A folder with what a job made, which is removed in the end.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub address: String,
}

/// What a command ended with.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The answer that `--json` gave.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    /// Fails the test unless the command ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }
}

impl Place {
    /// An empty folder, and the address of a repo in it; or below `BEDLOAD_TEST_REPO`, when that is set.
    pub fn empty() -> Place {
        let mut place = Place::on_disk();
        if let Ok(base) = std::env::var("BEDLOAD_TEST_REPO") {
            let name = place.folder.path().file_name().expect("it has a name").to_string_lossy().into_owned();
            let (base, options) = base.split_once('?').unwrap_or((&base, ""));
            place.address = format!("{}/commands{name}?{options}", base.trim_end_matches('/'));
            place.address = place.address.trim_end_matches('?').to_owned();
        }
        place
    }

    /// An empty folder, and the address of a repo in it, of which files can be damaged.
    pub fn on_disk() -> Place {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let address = format!("file://{}/repo", folder.path().display());
        Place { folder, address }
    }

    /// The same as [`Place::with_job`], on the disk whatever is set.
    pub fn with_job_on_disk(checkpoints: u32) -> Place {
        let place = Place::on_disk();
        place.run_job_now("board", checkpoints);
        place
    }

    /// What the repo's folder has; nothing to be seen of one that is no folder.
    pub fn repo_names(&self, below: &str) -> Vec<String> {
        if self.address.starts_with("file://") { names(&self.path("repo").join(below)) } else { Vec::new() }
    }

    /// As [`Place::run_job`].
    pub fn run_job_now(&self, job: &str, checkpoints: u32) {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        runtime.block_on(self.run_job(job, checkpoints));
    }

    /// A repo with `checkpoints` checkpoints of the job `board`: two workers, 128 key groups, all kinds of state.
    pub fn with_job(checkpoints: u32) -> Place {
        let place = Place::empty();
        place.run_job_now("board", checkpoints);
        place
    }

    /// Runs a job that takes so many checkpoints; each plane flies once before each of them.
    pub async fn run_job(&self, job: &str, checkpoints: u32) {
        let repo = Repo::open(&self.address).await.expect("a repo");
        let mut epoch = Epoch::start(&repo, &job.parse().expect("a name"), 128, "a test").await.expect("nobody else");
        let mut workers = Vec::new();
        for index in 0..2 {
            let directory = self.path(&format!("{job}-worker-{index}"));
            let builder = Engine::builder(directory).repo(&repo, job).worker(index, 2).start(Start::LatestOrEmpty);
            workers.push(builder.open().await.expect("nothing in its way"));
        }
        for flight in 1..=checkpoints {
            for engine in &mut workers {
                fly(engine, flight);
            }
            let barrier = epoch.begin().await.expect("nothing in its way");
            let mut claims = Vec::new();
            for engine in &mut workers {
                let shipment = engine.checkpoint(&barrier, &flight.to_be_bytes()).expect("nothing in its way");
                claims.push(shipment.ship().await.expect("nothing in its way").claim);
            }
            epoch.complete(&barrier, claims).await.expect("nothing in its way");
            for engine in &mut workers {
                engine.confirm(barrier.checkpoint).await;
            }
        }
    }

    /// A lease on the newest checkpoint whose holder is gone.
    pub fn leave_a_lease(&self) {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let pool = LocalPool::open(Arc::new(DiskFs), self.path("abandoned")).expect("a folder");
        let options = RestoreOptions {
            start: bedload_snapshot::Start::Latest,
            groups: KeyGroups::all(128),
            holder: "a restore that was killed".to_owned(),
            runs_at_once: 1,
        };
        let fetcher = Fetcher::start(1).expect("threads");
        let restored = runtime.block_on(async {
            let repo = Repo::open(&self.address).await.expect("a repo");
            restore_lazily(&repo, &"board".parse().expect("a name"), &options, &pool, &fetcher, |_| ()).await
        });
        drop(restored.expect("nothing in its way"));
    }

    /// A path in the folder.
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Runs the command at this repo.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(self.folder.path(), &[&["--repo", &self.address], arguments].concat())
    }
}

/// One flight of each plane that belongs to this engine.
fn fly(engine: &mut Engine, flight: u32) {
    let (flights, plane) = (engine.state(FLIGHTS).expect("fits"), engine.state(PLANE).expect("fits"));
    let (stops, delays) = (engine.state(STOPS).expect("fits"), engine.state(DELAYS).expect("fits"));
    let idle = engine.timers::<()>("idle").expect("fits");
    for number in 0..PLANES {
        let tail = format!("N{number:03}");
        if !engine.groups().covers(group(engine, &tail)) {
            continue;
        }
        let mut key = engine.with_key(tail.as_str()).expect("it is here");
        key.add(&flights, 1).expect("memory");
        key.set(&plane, &("Boeing".to_owned(), u64::from(number))).expect("memory");
        key.insert(&stops, &u64::from(flight), &"Ely".to_owned()).expect("memory");
        key.add(&delays, flight).expect("memory");
        key.set_timer(&idle, 1_000 + u64::from(number)).expect("memory");
    }
}

fn group(engine: &Engine, tail: &str) -> KeyGroups {
    let group = engine.group_of(tail).expect("a short key");
    KeyGroups { first: group, last: group }
}

/// Runs the command in `folder`, with nothing of this process's settings.
pub fn run(folder: &Path, arguments: &[&str]) -> Ran {
    let output = command(folder, arguments).output().expect("the command ends in time");
    ended(&output)
}

/// The command, to be run in `folder`, with nothing of this process's settings.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedload"));
    command.args(arguments).current_dir(folder).env("TMPDIR", folder).timeout(Duration::from_secs(120));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BEDLOAD_") {
            command.env_remove(name);
        }
    }
    command
}

fn ended(output: &Output) -> Ran {
    Ran {
        code: output.status.code().expect("it was not killed"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Writes a file.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(path);
    file.and_then(|mut file| file.write_all(bytes.as_ref())).expect("a disk that is not full");
}

/// `text` with what differs from run to run named instead: moments, sizes, times, long hexadecimal names, the folder. Several blanks
/// within a line become one.
pub fn masked(text: &str, place: &Place) -> String {
    // The options of an address are not shown.
    let shown = place.address.split_once('?').map_or(&*place.address, |(shown, _)| shown);
    let text = text
        .replace(&place.address, "REPO")
        .replace(shown, "REPO")
        .replace(&place.folder.path().display().to_string(), "FOLDER");
    let mut masked = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut told: Vec<String> = Vec::new();
        let mut rest = &words[..];
        while let Some((word, behind)) = rest.split_first() {
            rest = behind;
            match quantity(word, behind) {
                Some((name, end, count)) => {
                    let start = if word.starts_with('(') { "(" } else { "" };
                    told.push(format!("{start}{name}{end}"));
                    rest = &behind[count..];
                }
                None => told.push(masked_word(word)),
            }
        }
        let indent = line.len() - line.trim_start().len();
        masked.push_str(&" ".repeat(indent.min(2)));
        masked.push_str(&told.join(" "));
        masked.push('\n');
    }
    masked
}

/// Reads a number and its unit: what it is, what stands behind it, how many words that took.
fn quantity<'a>(number: &str, behind: &[&'a str]) -> Option<(&'static str, &'a str, usize)> {
    number.trim_start_matches('(').parse::<f64>().ok()?;
    let (unit, end) = split_end(behind.first()?);
    if let Some(("ago", end)) = behind.get(1).map(|word| split_end(word)) {
        return Some(("AGO", end, 2));
    }
    match unit {
        "B" | "KiB" | "MiB" | "GiB" => Some(("SIZE", end, 1)),
        "µs" | "ms" | "s" => Some(("TIME", end, 1)),
        _ => None,
    }
}

fn split_end(word: &str) -> (&str, &str) {
    word.split_at(word.trim_end_matches([',', ';', ')', ':']).len())
}

fn masked_word(word: &str) -> String {
    if word.len() >= 20 && word.as_bytes()[10] == b'T' && word[..20].ends_with('Z') {
        return format!("MOMENT{}", &word[20..]);
    }
    let mut masked = String::new();
    for part in word.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let name = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_hex = name.len() >= 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        masked.push_str(if is_hex { "HEX" } else { name });
        masked.push_str(&part[name.len()..]);
    }
    masked
}

/// What is in a folder, by name.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("it is there");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
