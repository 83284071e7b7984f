//! Merge functions of users: applied wherever operands meet, refused by name where they do not fit, and losing nothing that they refuse.

use std::path::Path;

use bedload::{
    Aggregate, Aggregating, CheckpointId, CheckpointReader, Engine, Error, ErrorKind, MergeFunction, Reducing, Repo,
    Residence, Spec, Start,
};
use bedload_snapshot::Epoch;

/// Texts one behind the other: associative, and not the same the other way around.
const TRACK: Spec<Reducing<String, u64>> =
    Reducing::with("track", MergeFunction::new("track", 1, |left, right| left + &right));

/// Refuses to put anything behind a full stop, in both ways in which a function can.
const SENTENCE: Spec<Reducing<String>> = Reducing::with("sentence", MergeFunction::fallible("sentence", 1, sentence));

fn sentence(left: String, right: String) -> bedload::Result<String> {
    assert!(!left.ends_with('!'), "{left} is over");
    if left.ends_with('.') {
        return Err(Error::new(ErrorKind::Fix, format!("{left} has ended before {right}")));
    }
    Ok(left + &right)
}

struct Mean;

impl Aggregate for Mean {
    type In = u64;
    type Accumulator = (u64, u64);
    type Out = u64;

    fn start() -> (u64, u64) {
        (0, 0)
    }

    fn add((sum, count): &mut (u64, u64), input: u64) {
        *sum += input;
        *count += 1;
    }

    fn merge(into: &mut (u64, u64), other: (u64, u64)) {
        into.0 += other.0;
        into.1 += other.1;
    }

    fn result((sum, count): &(u64, u64)) -> u64 {
        sum / count
    }
}

const MEAN: Spec<Aggregating<Mean>> = Aggregating::with("mean", MergeFunction::new("mean", 1, Mean::join));

struct Job {
    directory: tempfile::TempDir,
    repo: Repo,
    epoch: Epoch,
}

impl Job {
    async fn new() -> Job {
        let directory = tempfile::tempdir().expect("a directory");
        let repo = Repo::open(&format!("file://{}/repo", directory.path().display())).await.expect("a fine place");
        let epoch = Epoch::start(&repo, &"board".parse().expect("a fine name"), 128, "a test").await;
        Job { directory, repo, epoch: epoch.expect("nothing fails") }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.directory.path()).join(name)
    }

    async fn open(&self, name: &str, residence: Residence, start: Start) -> Engine {
        let builder = Engine::builder(self.path(name)).repo(&self.repo, "board").residence(residence).start(start);
        builder.open().await.expect("nothing is in its way")
    }

    async fn checkpoint(&mut self, engine: &mut Engine) -> CheckpointId {
        let barrier = self.epoch.begin().await.expect("nothing fails");
        let shipped = engine.checkpoint(&barrier, b"").expect("nothing fails").ship().await.expect("nothing fails");
        self.epoch.complete(&barrier, vec![shipped.claim]).await.expect("nothing fails");
        engine.confirm(barrier.checkpoint).await;
        barrier.checkpoint
    }
}

const RESIDENCES: [Residence; 2] = [Residence::Disk, Residence::Heap];

#[tokio::test(flavor = "multi_thread")]
async fn operands_are_joined_in_their_order_wherever_they_meet() {
    for residence in RESIDENCES {
        let mut job = Job::new().await;
        let mut engine = job.open("one", residence, Start::Empty).await;
        let (track, mean) = (engine.state(TRACK).unwrap(), engine.state(MEAN).unwrap());
        let expected = "abcdefghijklmnopqrst";
        // Each letter goes into a memtable of its own, and so into a run of its own.
        for letter in expected.chars() {
            let mut key = engine.with_key("N14228").unwrap();
            key.namespace(&7).add(&track, letter.to_string()).unwrap();
            key.namespace(&8).add(&track, letter.to_uppercase().to_string()).unwrap();
            key.add(&mean, u64::from(u32::from(letter))).unwrap();
            job.checkpoint(&mut engine).await;
        }
        let check = |engine: &mut Engine| {
            let (track, mean) = (engine.state(TRACK).unwrap(), engine.state(MEAN).unwrap());
            let mut key = engine.with_key("N14228").unwrap();
            assert_eq!(key.namespace(&7).get(&track).unwrap().as_deref(), Some(expected));
            assert_eq!(key.get(&mean).unwrap(), Some(106));
            assert_eq!(key.namespace(&9).get(&track).unwrap(), None);
        };
        check(&mut engine);
        // From a checkpoint, on disk and in memory.
        for residence in RESIDENCES {
            let mut restored = job.open(&format!("{residence:?}"), residence, Start::Latest).await;
            check(&mut restored);
            let mut key = restored.with_key("N14228").unwrap();
            key.merge_namespaces(&track, &7, &[&8]).unwrap();
            let joined = key.namespace(&7).get(&track).unwrap().unwrap();
            assert_eq!(joined, format!("{expected}{}", expected.to_uppercase()));
            assert_eq!(key.namespace(&7).operands(&track).unwrap().len(), 1);
            assert_eq!(key.namespace(&8).get(&track).unwrap(), None);
            key.namespace(&7).clear(&track).unwrap();
            assert_eq!(key.namespace(&7).get(&track).unwrap(), None);
            assert_eq!(restored.stats().refused_merges, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_refuses_stays_and_is_told_to_who_reads() {
    for residence in RESIDENCES {
        let mut job = Job::new().await;
        let mut engine = job.open("one", residence, Start::Empty).await;
        let sentences = engine.state(SENTENCE).unwrap();
        for (key, parts) in
            [("error", ["It ", "rains.", "Oh"]), ("panic", ["Oh", "!", "no"]), ("fine", ["a", "b", "."])]
        {
            for part in parts {
                engine.with_key(key).unwrap().add(&sentences, part.to_owned()).unwrap();
            }
        }
        let check = |engine: &mut Engine| {
            let sentences = engine.state(SENTENCE).unwrap();
            let error = engine.with_key("error").unwrap().get(&sentences).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fix);
            let text = error.to_string();
            assert_eq!(text, "state sentence: merge function sentence, version 1: It rains. has ended before Oh");
            let error = engine.with_key("panic").unwrap().get(&sentences).unwrap_err().to_string();
            assert_eq!(error, "state sentence: merge function sentence, version 1: it panicked: Oh! is over");
            assert_eq!(engine.with_key("error").unwrap().operands(&sentences).unwrap(), ["It rains.", "Oh"]);
            assert_eq!(engine.with_key("panic").unwrap().operands(&sentences).unwrap(), ["Oh!", "no"]);
            assert_eq!(engine.with_key("fine").unwrap().get(&sentences).unwrap().as_deref(), Some("ab."));
        };
        check(&mut engine);
        assert!(engine.stats().refused_merges >= 2);
        job.checkpoint(&mut engine).await;
        check(&mut engine);
        for residence in RESIDENCES {
            let mut restored = job.open(&format!("{residence:?}"), residence, Start::Latest).await;
            check(&mut restored);
            let mut key = restored.with_key("panic").unwrap();
            key.clear(&sentences).unwrap();
            key.add(&sentences, "again".to_owned()).unwrap();
            assert_eq!(key.get(&sentences).unwrap().as_deref(), Some("again"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_of_another_name_or_version_is_refused_by_name() {
    let mut job = Job::new().await;
    let mut engine = job.open("one", Residence::Disk, Start::Empty).await;
    let track = engine.state(TRACK).unwrap();
    engine.with_key("N14228").unwrap().namespace(&7).add(&track, "Ely".to_owned()).unwrap();
    job.checkpoint(&mut engine).await;
    let info = engine.states()[0].function.clone().unwrap();
    assert_eq!((engine.states()[0].kind.as_str(), info.name.as_str(), info.version), ("merged", "track", 1));

    let join: fn(String, String) -> String = |left, right| left + &right;
    let declared = |function| -> Spec<Reducing<String, u64>> { Reducing::with("track", function) };
    let mut other = job.open("two", Residence::Disk, Start::Latest).await;
    let error = other.state(declared(MergeFunction::new("path", 1, join))).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fix);
    let text = error.to_string();
    for part in ["state track", "merge function path, version 1", "merged by track, version 1", "replaces"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(other.state(declared(MergeFunction::new("track", 2, join))).is_err());
    let by: Spec<Reducing<String, u64>> = Reducing::by("track", join);
    assert!(other.state(by).is_err(), "it is of another kind");
    // One that says so goes on, and from then on the former one is refused.
    let track = other.state(declared(MergeFunction::new("track", 3, join).replaces(1))).unwrap();
    assert_eq!(other.with_key("N14228").unwrap().namespace(&7).get(&track).unwrap().as_deref(), Some("Ely"));
    job.checkpoint(&mut other).await;
    let mut third = job.open("three", Residence::Disk, Start::Latest).await;
    assert!(third.state(TRACK).map(drop).unwrap_err().to_string().contains("merged by track, version 3"));
}

/// Workers merge what was restored before the program has declared its states, and a reader may never declare them.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_function_a_state_keeps_and_shows_its_operands() {
    for residence in RESIDENCES {
        let mut job = Job::new().await;
        let mut engine = job.open("one", residence, Start::Empty).await;
        let track = engine.state(TRACK).unwrap();
        engine.with_key("N14228").unwrap().namespace(&7).add(&track, "Ely ".to_owned()).unwrap();
        let first = job.checkpoint(&mut engine).await;

        // A program without the function adds to it, through checkpoints.
        const BARE: Spec<Reducing<String, u64>> = Reducing::without_function("track");
        let mut bare = job.open("bare", residence, Start::At(first)).await;
        let track = bare.state(BARE).unwrap();
        for part in ["March ", "Cambridge"] {
            bare.with_key("N14228").unwrap().namespace(&7).add(&track, part.to_owned()).unwrap();
            job.checkpoint(&mut bare).await;
        }
        let mut keyed = bare.with_key("N14228").unwrap();
        let mut keyed = keyed.namespace(&7);
        assert_eq!(keyed.operands(&track).unwrap(), ["Ely ", "March ", "Cambridge"]);
        assert!(keyed.get(&track).unwrap_err().to_string().contains("without its merge function"));

        let mut reader = CheckpointReader::open(&job.repo, "board", None, job.path("reader")).await.unwrap();
        assert_eq!(reader.states()[0].function.as_ref().unwrap().name, "track");
        let shown = reader.engine().state(BARE).unwrap();
        let mut keyed = reader.engine().with_key("N14228").unwrap();
        assert_eq!(keyed.namespace(&7).operands(&shown).unwrap(), ["Ely ", "March ", "Cambridge"]);
        let mut entries = 0;
        reader
            .entries(None, |entry| {
                assert_eq!(entry.state, Some("track"));
                entries += 1;
                Ok(true)
            })
            .unwrap();
        assert_eq!(entries, 1);

        // With the function again, what was apart is joined.
        let mut whole = job.open("whole", residence, Start::Latest).await;
        let track = whole.state(TRACK).unwrap();
        let mut keyed = whole.with_key("N14228").unwrap();
        let mut keyed = keyed.namespace(&7);
        assert_eq!(keyed.get(&track).unwrap().as_deref(), Some("Ely March Cambridge"));
        keyed.add(&track, ".".to_owned()).unwrap();
        assert_eq!(keyed.operands(&track).unwrap(), ["Ely March Cambridge."]);
    }
}
