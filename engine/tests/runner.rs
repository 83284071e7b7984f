//! Jobs in one process: whatever fails, the states count each record once.
//!
//! What is counted are the words of the crate's guide, from a place in it that the seed decides, and a plain program over maps says what
//! must come out. Line for line of the rounds: run a job that will fail, with some number of workers; again, with another number and
//! another failure; at last without one; compare.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bedload::{
    Assignment, CheckpointPolicy, Coordinator, CoordinatorOptions, Cuts, Engine, Error, ErrorKind, Fired, FromWorker,
    Job, JobName, Keyed, List, Map, Operator, Polled, Reducing, Repo, Residence, Result, Retention, Source, Spec,
    Start, State, Stopper, Timers, ToWorker, write_probe,
};
use bedload_snapshot::Chain;

/// Window ends are multiples of this time.
const WINDOW: u64 = 100;
/// A countdown that does not count.
const NEVER: i64 = -100;

const COUNT: Spec<Reducing<i64>> = Reducing::sum("count");
const NEWEST: Spec<Map<u64, u64>> = Map::named("newest");
const WINDOWS: Spec<Reducing<i64, u64>> = Reducing::sum("windows");
const CLOSED: Spec<List<(u64, i64)>> = List::named("closed");

/// SplitMix64, one number for each input.
fn mix(seed: u64, number: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0xa076_1d64_78bd_642f).wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[derive(Clone, Debug)]
struct Word {
    text: String,
    source: u64,
    number: u64,
}

/// What is counted.
static TEXT: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("../src/guide.md").split_whitespace().collect());

/// The words of a source: those of the text, over and over, from some place on.
fn word(seed: u64, source: u64, number: u64) -> Word {
    let words = TEXT.len() as u64;
    let at = (mix(seed, source) % words + number) % words;
    Word { text: TEXT[at as usize].to_owned(), source, number }
}

/// What is to go wrong in a run. Numbers count down; below zero nothing does.
#[derive(Default)]
struct Trouble {
    panic_after_records: AtomicI64,
    error_after_reads: AtomicI64,
    stop_after_reads: AtomicI64,
    restored: AtomicU64,
    began_empty: AtomicU64,
    stopper: std::sync::Mutex<Option<Stopper>>,
}

impl Trouble {
    fn none() -> Arc<Trouble> {
        let trouble = Trouble::default();
        trouble.quiet();
        Arc::new(trouble)
    }

    fn quiet(&self) {
        for countdown in [&self.panic_after_records, &self.error_after_reads, &self.stop_after_reads] {
            countdown.store(NEVER, Ordering::SeqCst);
        }
    }
}

fn is_time(countdown: &AtomicI64) -> bool {
    countdown.load(Ordering::Relaxed) >= 0 && countdown.fetch_sub(1, Ordering::SeqCst) == 0
}

/// A text, read some words a millisecond.
struct Text {
    seed: u64,
    source: u64,
    length: u64,
    at: u64,
    /// How many words are read at once.
    pace: u64,
    is_paused: bool,
    trouble: Arc<Trouble>,
}

impl Text {
    fn new(seed: u64, source: u64, length: u64, pace: u64, trouble: &Arc<Trouble>) -> Text {
        Text { seed, source, length, at: 0, pace, is_paused: false, trouble: Arc::clone(trouble) }
    }
}

impl Source for Text {
    type Record = Word;

    fn next(&mut self) -> Result<Polled<Word>> {
        if self.at == self.length {
            return Ok(Polled::End);
        }
        if self.at.is_multiple_of(self.pace) && !self.is_paused {
            self.is_paused = true;
            return Ok(Polled::Nothing);
        }
        self.is_paused = false;
        if is_time(&self.trouble.error_after_reads) {
            return Err(Error::new(ErrorKind::Retry, "the source fails as planned"));
        }
        if is_time(&self.trouble.stop_after_reads) {
            self.trouble
                .stopper
                .lock()
                .expect("no panic comes between")
                .as_ref()
                .expect("it was set before the run")
                .stop();
        }
        self.at += 1;
        Ok(Polled::Record(word(self.seed, self.source, self.at - 1)))
    }

    fn position(&self) -> Vec<u8> {
        self.at.to_be_bytes().to_vec()
    }

    fn seek(&mut self, position: Option<&[u8]>) -> Result<()> {
        let began = if position.is_some() { &self.trouble.restored } else { &self.trouble.began_empty };
        began.fetch_add(1, Ordering::Relaxed);
        self.at = position.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes were given")));
        Ok(())
    }

    fn watermark(&self) -> u64 {
        self.at
    }
}

/// Counts words, and words in windows of time.
struct Counting {
    count: State<Reducing<i64>>,
    newest: State<Map<u64, u64>>,
    windows: State<Reducing<i64, u64>>,
    closed: State<List<(u64, i64)>>,
    ends: Timers<u64>,
    trouble: Arc<Trouble>,
}

impl Counting {
    fn open(engine: &mut Engine, trouble: &Arc<Trouble>) -> Result<Counting> {
        Ok(Counting {
            count: engine.state(COUNT)?,
            newest: engine.state(NEWEST)?,
            windows: engine.state(WINDOWS)?,
            closed: engine.state(CLOSED)?,
            ends: engine.timers("ends")?,
            trouble: Arc::clone(trouble),
        })
    }
}

impl Operator<String, Word> for Counting {
    fn process(&mut self, engine: &mut Engine, key: &String, word: Word) -> Result<()> {
        assert!(!is_time(&self.trouble.panic_after_records), "as planned");
        let mut states = engine.with_key(key)?;
        states.add(&self.count, 1)?;
        // Records of one source and one key come in order, and none twice.
        if let Some(before) = states.find(&self.newest, &word.source)? {
            assert!(before < word.number, "{word:?} came after {before}");
        }
        states.insert(&self.newest, &word.source, &word.number)?;
        let end = (word.number / WINDOW + 1) * WINDOW;
        let mut window = states.namespace(&end);
        window.add(&self.windows, 1)?;
        window.set_timer(&self.ends, end)
    }

    fn on_timer(&mut self, key: &mut Keyed<'_>, timer: &Fired<'_>) -> Result<()> {
        let end: u64 = timer.namespace::<u64>()?;
        assert_eq!((end, timer.is(&self.ends)), (timer.at(), true));
        let mut window = key.namespace(&end);
        let count = window.get(&self.windows)?.expect("a window has a word, or no timer");
        window.clear(&self.windows)?;
        key.add(&self.closed, (end, count))
    }
}

/// What comes out, for each word: how often it stands in the text, and in each window.
type Counts = BTreeMap<String, (i64, Vec<(u64, i64)>)>;

fn expected(seed: u64, lengths: &[u64]) -> Counts {
    let mut windows: BTreeMap<(String, u64), i64> = BTreeMap::new();
    for (source, length) in (0..).zip(lengths) {
        for number in 0..*length {
            *windows.entry((word(seed, source, number).text, (number / WINDOW + 1) * WINDOW)).or_default() += 1;
        }
    }
    let mut counts = Counts::new();
    for ((text, end), count) in windows {
        let entry = counts.entry(text).or_default();
        entry.0 += count;
        entry.1.push((end, count));
    }
    counts
}

/// What a checkpoint holds, read by one engine.
fn found(repo: &Repo, job: &str, directory: &Path) -> Counts {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("nothing is in its way");
    let mut engine = runtime
        .block_on(Engine::builder(directory).repo(repo, job).memory(16 << 20).start(Start::Latest).open())
        .expect("nothing is in its way");
    let (count, closed) =
        (engine.state(COUNT).expect("nothing is in its way"), engine.state(CLOSED).expect("nothing is in its way"));
    let windows = engine.state(WINDOWS).expect("nothing is in its way");
    let mut keys = Vec::new();
    engine
        .keys::<String, _>(&windows, |key, window| panic!("{key} has an open window {window}"))
        .expect("nothing is in its way");
    engine
        .keys::<String, _>(&count, |key, ()| {
            keys.push(key);
            Ok(())
        })
        .expect("nothing is in its way");
    let counts = keys.into_iter().map(|text| {
        let mut states = engine.with_key(&text).expect("nothing is in its way");
        let all = states.get(&count).expect("nothing is in its way").expect("nothing is in its way");
        let windows = states.get(&closed).expect("nothing is in its way");
        (text, (all, windows))
    });
    counts.collect()
}

fn policy(interval_ms: u64) -> CheckpointPolicy {
    CheckpointPolicy { interval: Duration::from_millis(interval_ms), ..CheckpointPolicy::default() }
}

fn job(
    seed: u64,
    lengths: &[u64],
    pace: u64,
    repo: &Repo,
    directory: &Path,
    trouble: &Arc<Trouble>,
) -> Job<Word, String, Counting> {
    let mut sources = Job::source("text 0", Text::new(seed, 0, lengths[0], pace, trouble));
    for (source, length) in (0..).zip(lengths).skip(1) {
        sources = sources.and_source(&format!("text {source}"), Text::new(seed, source, *length, pace, trouble));
    }
    let trouble = Arc::clone(trouble);
    sources
        .key_by(|word: &Word| word.text.clone())
        .operator(move |engine| Counting::open(engine, &trouble))
        .repo(repo, "words")
        .directory(directory)
        .memory(16 << 20)
        .batch(32)
        .start(Start::LatestOrEmpty)
        .checkpoints(policy(5))
        .retention(Some(Retention { last: 2, ..Retention::default() }))
}

fn open_repo(address: &str) -> Repo {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("nothing is in its way");
    runtime.block_on(Repo::open(address)).expect("nothing is in its way")
}

/// How many checkpoints exist.
fn live(repo: &Repo) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("nothing is in its way");
    let chain = runtime
        .block_on(Chain::read(repo, &JobName::new("words").expect("nothing is in its way")))
        .expect("nothing is in its way");
    chain.state().live().len()
}

/// What all rounds did.
#[derive(Debug, Default)]
struct Tally {
    panics: u64,
    errors: u64,
    stops: u64,
    ends: u64,
    restored: u64,
    began_empty: u64,
    completed: u64,
}

fn round(seed: u64, tally: &mut Tally) {
    let mut drawn = 0;
    let mut below = |bound: u64| {
        drawn += 1;
        mix(!seed, drawn) % bound
    };
    let directory = tempfile::tempdir().expect("nothing is in its way");
    // Some on a disk, most in memory, which is faster.
    let address = match seed % 16 {
        0 => format!("file://{}/repo", directory.path().display()),
        _ => "memory://".to_owned(),
    };
    let repo = open_repo(&address);
    let lengths: Vec<u64> = (0..1 + below(2)).map(|_| 300 + below(20) * WINDOW).collect();
    let all: u64 = lengths.iter().sum();
    let trouble = Trouble::none();
    let mut job = job(seed, &lengths, 40, &repo, &directory.path().join("work"), &trouble);
    *trouble.stopper.lock().expect("no panic comes between") = Some(job.stopper());
    job = job.checkpoints(CheckpointPolicy { in_flight_max: 1 + below(2) as usize, ..policy(5) });
    if seed.is_multiple_of(3) {
        job = job.cuts(Cuts::Bytes);
    }
    if seed % 5 == 1 {
        job = job.engine(|builder| builder.residence(Residence::Heap));
    }
    for last in [false, false, false, true] {
        job = job.parallelism(1 + below(8) as u32);
        trouble.quiet();
        if !last {
            let countdowns = [&trouble.panic_after_records, &trouble.error_after_reads, &trouble.stop_after_reads];
            countdowns[below(3) as usize].store(below(all) as i64, Ordering::SeqCst);
        }
        match job.run() {
            Ok(ended) => {
                tally.completed += ended.completed;
                let is_stopped = trouble.stop_after_reads.load(Ordering::SeqCst) == -1;
                *(if is_stopped { &mut tally.stops } else { &mut tally.ends }) += 1;
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("as planned") && !last, "seed {seed}: {text}");
                let is_panic = error.kind() == ErrorKind::Bug;
                assert_eq!(text.contains("panicked"), is_panic, "{text}");
                *(if is_panic { &mut tally.panics } else { &mut tally.errors }) += 1;
            }
        }
    }
    assert!(live(&repo) <= 2, "seed {seed}: {} checkpoints are kept, of which two should be", live(&repo));
    tally.restored += trouble.restored.load(Ordering::Relaxed);
    tally.began_empty += trouble.began_empty.load(Ordering::Relaxed);
    assert_eq!(
        found(&repo, "words", &directory.path().join("found")),
        expected(seed, &lengths),
        "seed {seed}: {lengths:?}"
    );
}

#[test]
fn each_record_counts_once_whatever_fails() {
    let first: u64 = std::env::var("BEDLOAD_SEED").map_or(0, |seed| seed.parse().unwrap());
    let rounds = std::env::var("BEDLOAD_ROUNDS").map_or(50, |rounds| rounds.parse().unwrap());
    let mut tally = Tally::default();
    for seed in first..first + rounds {
        round(seed, &mut tally);
    }
    println!("{tally:?}");
    if rounds >= 50 {
        assert!(tally.panics > 10 && tally.errors > 10 && tally.stops > 10, "{tally:?}");
        assert!(tally.restored > rounds && tally.completed > 4 * rounds, "{tally:?}");
    }
}

/// Set for the child process of a test: the directory that it works in, until it is killed.
const VICTIM: &str = "BEDLOAD_TEST_VICTIM";
const VICTIM_WORDS: [u64; 2] = [20_000, 14_000];

fn victim_job(directory: &Path, trouble: &Arc<Trouble>) -> Job<Word, String, Counting> {
    let repo = open_repo(&format!("file://{}/repo", directory.display()));
    job(7, &VICTIM_WORDS, 10, &repo, &directory.join("work"), trouble)
}

/// Not a test by itself: what the child of the next one runs.
#[test]
fn count_until_the_parent_kills() {
    let Ok(directory) = std::env::var(VICTIM) else { return };
    let workers = std::env::var("BEDLOAD_TEST_WORKERS").unwrap().parse().unwrap();
    victim_job(Path::new(&directory), &Trouble::none()).parallelism(workers).run().unwrap();
}

#[test]
fn a_killed_process_goes_on_from_its_last_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let mut kills = 0;
    for number in 0..8 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "count_until_the_parent_kills", "--nocapture", "--test-threads=1"])
            .env(VICTIM, directory.path())
            .env("BEDLOAD_TEST_WORKERS", (1 + mix(40, number) % 8).to_string())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Only the moment of the kill is random: what must be true afterwards is not.
        let (_open, never) = std::sync::mpsc::channel::<()>();
        never.recv_timeout(Duration::from_millis(200 + mix(41, number) % 900)).unwrap_err();
        match child.try_wait().unwrap() {
            Some(status) => assert!(status.success(), "it failed by itself: see above"),
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
            }
        }
    }
    let trouble = Trouble::none();
    victim_job(directory.path(), &trouble).parallelism(3).run().unwrap();
    assert!(kills >= 4, "{kills} kills");
    assert_eq!(trouble.restored.load(Ordering::Relaxed), 2, "no checkpoint was complete after {kills} kills");
    let repo = open_repo(&format!("file://{}/repo", directory.path().display()));
    assert_eq!(found(&repo, "words", &directory.path().join("found")), expected(7, &VICTIM_WORDS));
}

#[test]
fn what_cannot_run_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let (repo, trouble) = (open_repo("memory://"), Trouble::none());
    let plain = || job(1, &[10], 10, &repo, &directory.path().join("work"), &trouble);
    let refused = |mut job: Job<Word, String, Counting>, text: &str| {
        let error = job.run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fix);
        assert!(error.to_string().contains(text), "{error}");
    };
    refused(plain().start(Start::Latest), "no checkpoint exists");
    refused(plain().parallelism(129), "129 workers for 128 key groups");
    let twice = Job::source("a", Text::new(1, 0, 1, 1, &trouble)).and_source("a", Text::new(1, 1, 1, 1, &trouble));
    let twice = twice.key_by(|word: &Word| word.text.clone());
    let counting = Arc::clone(&trouble);
    let twice = twice.operator(move |engine| Counting::open(engine, &counting));
    refused(twice.repo(&repo, "words").directory(directory.path()), "two sources of one name");
    plain().run().unwrap();
    refused(plain().max_groups(64), "started with 64 key groups");
}

#[test]
fn a_source_that_is_gone_is_not_forgotten_in_silence() {
    let directory = tempfile::tempdir().unwrap();
    let (repo, trouble) = (open_repo("memory://"), Trouble::none());
    let two = [200, 100];
    job(1, &two, 10, &repo, &directory.path().join("work"), &trouble).run().unwrap();
    let error = job(1, &two[..1], 10, &repo, &directory.path().join("work"), &trouble).run().unwrap_err();
    assert!(error.to_string().contains("has a source text 1"), "{error}");
    // One more begins at its beginning.
    job(1, &[200, 100, 300], 10, &repo, &directory.path().join("work"), &trouble).run().unwrap();
}

#[test]
fn a_job_may_start_from_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let (repo, trouble, lengths) = (open_repo("memory://"), Trouble::none(), [2_000, 1_000]);
    let mut first = job(3, &lengths, 40, &repo, &directory.path().join("first"), &trouble).parallelism(3);
    *trouble.stopper.lock().unwrap() = Some(first.stopper());
    trouble.stop_after_reads.store(1_100, Ordering::SeqCst);
    let ended = first.run().unwrap();
    let kept = live(&repo);
    let mut second = job(3, &lengths, 40, &repo, &directory.path().join("second"), &trouble).parallelism(2);
    second = second.repo(&repo, "other").start(Start::From(JobName::new("words").unwrap(), Some(ended.checkpoint)));
    second.run().unwrap();
    assert_eq!(found(&repo, "other", &directory.path().join("found")), expected(3, &lengths));
    let newest = Start::From(JobName::new("words").unwrap(), None);
    let again = second.start(newest).directory(directory.path().join("third")).run().unwrap();
    assert_eq!((again.failed, live(&repo)), (0, kept), "the first job is as it was");
}

/// Fires by the machine's clock, and lets its source end.
struct Alarm {
    alarm: Timers,
    is_over: Arc<AtomicU64>,
}

impl Operator<u64, u64> for Alarm {
    fn process(&mut self, engine: &mut Engine, key: &u64, _: u64) -> Result<()> {
        let soon = engine.now(bedload::Clock::Processing) + 20;
        engine.with_key(key)?.set_timer(&self.alarm, soon)
    }

    fn on_timer(&mut self, _: &mut Keyed<'_>, timer: &Fired<'_>) -> Result<()> {
        self.is_over.fetch_add(timer.key::<u64>()?, Ordering::SeqCst);
        Ok(())
    }
}

struct Numbers(u64, Arc<AtomicU64>);

impl Source for Numbers {
    type Record = u64;

    fn next(&mut self) -> Result<Polled<u64>> {
        match self.0 {
            2 if self.1.load(Ordering::SeqCst) == 3 => Ok(Polled::End),
            2 => Ok(Polled::Nothing),
            _ => {
                self.0 += 1;
                Ok(Polled::Record(self.0))
            }
        }
    }

    fn position(&self) -> Vec<u8> {
        vec![self.0 as u8]
    }

    fn seek(&mut self, position: Option<&[u8]>) -> Result<()> {
        self.0 = position.map_or(0, |bytes| bytes[0].into());
        Ok(())
    }
}

#[test]
fn timers_by_the_machines_clock_fire_while_nothing_comes() {
    let directory = tempfile::tempdir().unwrap();
    let repo = open_repo("memory://");
    let is_over = Arc::new(AtomicU64::new(0));
    let numbers = Numbers(0, Arc::clone(&is_over));
    let mut job = Job::source("numbers", numbers)
        .key_by(|number: &u64| *number)
        .operator(move |engine| Ok(Alarm { alarm: engine.processing_timers("alarm")?, is_over: Arc::clone(&is_over) }))
        .parallelism(2)
        .repo(&repo, "alarms")
        .directory(directory.path())
        .start(Start::Empty);
    job.run().unwrap();
}

fn coordinator_options(workers: u32, tolerated_failures: u32) -> CoordinatorOptions {
    let policy = CheckpointPolicy { tolerated_failures, ..CheckpointPolicy::default() };
    CoordinatorOptions { workers, start: Start::LatestOrEmpty, policy, ..CoordinatorOptions::default() }
}

async fn ready(repo: &Repo, assigned: &Assignment) -> FromWorker {
    let probe = write_probe(repo, &assigned.job, &assigned.name).await.expect("nothing is in its way");
    FromWorker::Ready { epoch: assigned.epoch, worker: assigned.worker, opened_from: None, probe }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_writes_elsewhere_is_refused() {
    let (repo, elsewhere) = (Repo::open("memory://").await.unwrap(), Repo::open("memory://").await.unwrap());
    let job = JobName::new("words").unwrap();
    let mut coordinator = Coordinator::start(&repo, &job, coordinator_options(2, 0)).await.unwrap();
    let assigned = coordinator.assignments().to_vec();
    let stale = FromWorker::Ready {
        epoch: 0,
        worker: 1,
        opened_from: None,
        probe: write_probe(&repo, &job, &assigned[1].name).await.unwrap(),
    };
    coordinator.receive(ready(&repo, &assigned[0]).await, Duration::ZERO).await.unwrap();
    coordinator.receive(stale, Duration::ZERO).await.unwrap();
    assert!(!coordinator.is_running(), "a worker of an earlier epoch is not heard");
    let error = coordinator.receive(ready(&elsewhere, &assigned[1]).await, Duration::ZERO).await.unwrap_err();
    assert!(error.to_string().contains("not to be seen from here"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_checkpoints_may_fail_as_is_told_and_an_older_coordinator_stops() {
    let repo = Repo::open("memory://").await.unwrap();
    let job = JobName::new("words").unwrap();
    let mut coordinator = Coordinator::start(&repo, &job, coordinator_options(1, 1)).await.unwrap();
    let assigned = coordinator.assignments()[0].clone();
    let mut now = Duration::ZERO;
    coordinator.receive(ready(&repo, &assigned).await, now).await.unwrap();
    let barrier = async |coordinator: &mut Coordinator, now| match &coordinator.step(now).await.unwrap()[..] {
        [ToWorker::Checkpoint(barrier)] => barrier.checkpoint,
        told => panic!("{told:?} is not one barrier"),
    };
    now += Duration::from_secs(10);
    let first = barrier(&mut coordinator, now).await;
    // As it comes from a wire.
    let declined = FromWorker::Declined { worker: 0, checkpoint: first, reason: "no room".into() };
    let declined: FromWorker = serde_json::from_str(&serde_json::to_string(&declined).unwrap()).unwrap();
    assert_eq!(coordinator.receive(declined.clone(), now).await.unwrap(), [ToWorker::Abort(first)]);
    assert_eq!(coordinator.receive(declined, now).await.unwrap(), [], "it counts once");
    now += Duration::from_secs(10);
    let second = barrier(&mut coordinator, now).await;
    now += CheckpointPolicy::default().timeout;
    let error = coordinator.step(now).await.unwrap_err().to_string();
    assert!(error.contains("2 checkpoints failed in a row, and 1 may") && error.contains("stuck"), "{error}");
    assert_eq!((second.number, coordinator.failed(), coordinator.completed()), (2, 2, 0));

    let mut coordinator = Coordinator::start(&repo, &job, coordinator_options(1, 9)).await.unwrap();
    let assigned = coordinator.assignments()[0].clone();
    coordinator.receive(ready(&repo, &assigned).await, now).await.unwrap();
    let start = ToWorker::Start(assigned);
    let bytes = serde_json::to_vec(&start).unwrap();
    assert_eq!(serde_json::from_slice::<ToWorker>(&bytes).unwrap(), start);
    let _newer = Coordinator::start(&repo, &job, coordinator_options(1, 9)).await.unwrap();
    coordinator.ask();
    assert_eq!(coordinator.next_step(), Some(Duration::ZERO), "what is asked for is due at once");
    assert_eq!(coordinator.step(now).await.unwrap_err().kind(), ErrorKind::Fenced);
}
