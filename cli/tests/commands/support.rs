//! A repo that a job of two workers made, and the command run at it.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;
use bedload::{Engine, List, Map, Reducing, Repo, Spec, Start, Value as ValueOf};
use bedload_snapshot::Epoch;
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
    /// An empty folder, and the address of a repo in it.
    pub fn empty() -> Place {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let address = format!("file://{}/repo", folder.path().display());
        Place { folder, address }
    }

    /// A repo with `checkpoints` checkpoints of the job `board`: two workers, 128 key groups, all kinds of state.
    pub fn with_job(checkpoints: u32) -> Place {
        let place = Place::empty();
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        runtime.block_on(place.run_job("board", checkpoints));
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

fn group(engine: &Engine, tail: &str) -> bedload::KeyGroups {
    let group = engine.group_of(tail).expect("a short key");
    bedload::KeyGroups { first: group, last: group }
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

/// `text` with what differs from run to run named instead: moments, distances in time, long hexadecimal names, the folder.
pub fn masked(text: &str, place: &Place) -> String {
    let text = text.replace(&place.address, "REPO").replace(&place.folder.path().display().to_string(), "FOLDER");
    let mut masked = String::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == ':';
        let word = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        let is_hex = word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let moment = rest.get(..20).filter(|text| text.ends_with('Z') && text.as_bytes()[10] == b'T');
        let ago = distance(rest);
        let (length, name) = match (moment, ago, is_hex) {
            (Some(moment), ..) => (moment.len(), "MOMENT"),
            (None, Some(length), _) => (length, "AGO"),
            (None, None, true) => (word.len(), "HEX"),
            _ if word.is_empty() => {
                let first = rest.chars().next().map_or(0, char::len_utf8);
                (first, &rest[..first])
            }
            _ => (word.len(), word),
        };
        masked.push_str(name);
        rest = &rest[length..];
    }
    masked
}

/// How long `12 s ago` is at the start of `text`.
fn distance(text: &str) -> Option<usize> {
    let (count, rest) = text.split_once(' ')?;
    let (unit, rest) = rest.split_once(' ')?;
    let is_distance = count.parse::<u32>().is_ok() && ["s", "min", "h", "d"].contains(&unit) && rest.starts_with("ago");
    is_distance.then_some(count.len() + unit.len() + 5)
}
