//! The engine as an operator uses it: states, timers, checkpoints, restores.

#[path = "engine/lives.rs"]
mod lives;

use std::time::Duration;

use bedload::{
    Aggregate, Aggregating, CheckpointId, Clock, Engine, ErrorKind, JobName, List, Map, Reducing, Renewal, Repo,
    Residence, Restoring, Spec, Start, Ttl, Value,
};
use bedload_snapshot::{ClaimRef, Epoch};

const PLANE: Spec<Value<(String, u64)>> = Value::named("plane");
const STOPS: Spec<Map<u64, String>> =
    Map::named("stops").ttl(Ttl::after(Duration::from_millis(100)).clock(Clock::Event));
const DELAYS: Spec<List<u32, u64>> = List::named("delays");
const FLIGHTS: Spec<Reducing<i64>> = Reducing::sum("flights");
const LONGEST: Spec<Reducing<String>> =
    Reducing::by("longest", |left, right| if right.len() > left.len() { right } else { left });
const MEAN: Spec<Aggregating<Mean>> = Aggregating::named("mean");

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

async fn empty(directory: &std::path::Path, residence: Residence) -> Engine {
    Engine::builder(directory).start(Start::Empty).residence(residence).open().await.expect("nothing is in its way")
}

/// Runs a test with the state on the disk, and in memory.
async fn with_both(test: impl AsyncFn(Engine)) {
    for residence in [Residence::Disk, Residence::Heap] {
        let directory = tempfile::tempdir().expect("a directory");
        test(empty(directory.path(), residence).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_state_keeps_what_it_is_given() {
    with_both(async |mut engine| {
        let (plane, stops, delays) =
            (engine.state(PLANE).unwrap(), engine.state(STOPS).unwrap(), engine.state(DELAYS).unwrap());
        let (flights, longest, mean) =
            (engine.state(FLIGHTS).unwrap(), engine.state(LONGEST).unwrap(), engine.state(MEAN).unwrap());
        let mut key = engine.with_key("N14228").unwrap();
        assert_eq!(key.get(&plane).unwrap(), None);
        key.set(&plane, &("Boeing".into(), 1)).unwrap();
        key.update(&plane, |plane| plane.as_mut().unwrap().1 += 1).unwrap();
        assert_eq!(key.get(&plane).unwrap(), Some(("Boeing".into(), 2)));
        key.update(&plane, |plane| *plane = None).unwrap();
        assert_eq!(key.get(&plane).unwrap(), None);

        for at in [30u64, 10, 20] {
            key.insert(&stops, &at, &format!("stop {at}")).unwrap();
        }
        assert!(key.contains(&stops, &10).unwrap() && !key.contains(&stops, &11).unwrap());
        assert_eq!(key.find(&stops, &20).unwrap().as_deref(), Some("stop 20"));
        let mut entries = key.entries(&stops);
        let mut seen = Vec::new();
        while let Some((at, _)) = entries.next().unwrap() {
            seen.push(at);
            if at == 20 {
                entries.remove().unwrap();
                assert_eq!(entries.remove().unwrap_err().kind(), ErrorKind::Fix);
            }
        }
        assert_eq!(seen, [10, 20, 30]);
        assert!(!key.contains(&stops, &20).unwrap());
        key.clear(&stops).unwrap();
        assert!(key.is_empty(&stops).unwrap());

        for window in [100u64, 200] {
            key.namespace(&window).add(&delays, window as u32).unwrap();
            key.namespace(&window).add(&delays, 7).unwrap();
        }
        key.merge_namespaces(&delays, &100, &[&200, &300]).unwrap();
        assert_eq!(key.namespace(&100).get(&delays).unwrap(), [100, 7, 200, 7]);
        assert!(key.namespace(&200).get(&delays).unwrap().is_empty());
        key.namespace(&100).set_list(&delays, &[1, 2]).unwrap();
        assert_eq!(key.namespace(&100).get(&delays).unwrap(), [1, 2]);

        for number in [3, -1, 40] {
            key.add(&flights, number).unwrap();
            key.add(&longest, "x".repeat(number.unsigned_abs() as usize)).unwrap();
            key.add(&mean, number.unsigned_abs()).unwrap();
        }
        assert_eq!(key.get(&flights).unwrap(), Some(42));
        assert_eq!(key.get(&longest).unwrap().unwrap().len(), 40);
        assert_eq!(key.get(&mean).unwrap(), Some(44 / 3));
        key.clear(&flights).unwrap();
        assert_eq!(key.get(&flights).unwrap(), None);

        let mut keys = Vec::new();
        engine
            .keys::<str, _>(&delays, |key, window| {
                keys.push((key, window));
                Ok(())
            })
            .unwrap();
        assert_eq!(keys, [("N14228".to_owned(), 100)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_lived_long_enough_is_gone() {
    const SEEN: Spec<List<u32>> = List::named("seen").ttl(Ttl::after(Duration::from_millis(50)));
    with_both(async |mut engine| {
        let (stops, seen) = (engine.state(STOPS).unwrap(), engine.state(SEEN).unwrap());
        let mut key = engine.with_key(&7u64).unwrap();
        key.insert(&stops, &1, &"a".to_owned()).unwrap();
        key.add(&seen, 1).unwrap();
        engine.advance_watermark(60, |_, _| Ok(())).unwrap();
        engine.advance_processing_time(30, |_, _| Ok(())).unwrap();
        let mut key = engine.with_key(&7u64).unwrap();
        key.insert(&stops, &2, &"b".to_owned()).unwrap();
        key.add(&seen, 2).unwrap();
        assert_eq!(key.get(&seen).unwrap(), [1, 2]);
        engine.advance_watermark(100, |_, _| Ok(())).unwrap();
        engine.advance_processing_time(50, |_, _| Ok(())).unwrap();
        let mut key = engine.with_key(&7u64).unwrap();
        assert_eq!(key.find(&stops, &1).unwrap(), None);
        assert_eq!(key.find(&stops, &2).unwrap().as_deref(), Some("b"));
        assert_eq!(key.get(&seen).unwrap(), [2], "each element has a life of its own");
        engine.advance_watermark(160, |_, _| Ok(())).unwrap();
        assert!(engine.with_key(&7u64).unwrap().is_empty(&stops).unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_fire_once_in_the_order_of_their_times() {
    with_both(async |mut engine| {
        let idle = engine.timers::<()>("idle").unwrap();
        let window = engine.timers::<u64>("window").unwrap();
        for number in 0..1000u64 {
            let mut key = engine.with_key(&number).unwrap();
            key.set_timer(&idle, 10_000 - number).unwrap();
            key.set_timer(&idle, 10_000 - number).unwrap();
            key.namespace(&number).set_timer(&window, 5_000 + number).unwrap();
        }
        engine.with_key(&5u64).unwrap().delete_timer(&idle, 9_995).unwrap();
        let mut fired = Vec::new();
        let count = engine
            .advance_watermark(9_500, |key, timer| {
                fired.push(timer.at());
                let number = timer.key::<u64>()?;
                if timer.is(&window) {
                    assert_eq!(timer.namespace::<u64>()?, number);
                    // Due already: it waits for the next advance.
                    key.set_timer(&idle, 42)?;
                    // Before it fires, it is taken back.
                    if number == 600 {
                        key.delete_timer(&idle, 9_400)?;
                    }
                }
                Ok(())
            })
            .unwrap();
        // Those of 500 to 999 by their idle time, less one, and all windows.
        assert_eq!((count, fired.len()), (1_499, 1_499));
        assert!(fired.is_sorted());
        let mut late = 0;
        engine
            .advance_watermark(9_500, |_, timer| {
                late += u64::from(timer.at() == 42);
                Ok(())
            })
            .unwrap();
        assert_eq!(late, 1_000);
        let rest = engine.advance_watermark(20_000, |_, _| Ok(())).unwrap();
        assert_eq!(rest, 499, "one was deleted");
        assert_eq!(engine.advance_watermark(30_000, |_, _| Ok(())).unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = empty(directory.path(), Residence::Disk).await;
    engine.state(PLANE).unwrap();
    const OTHER: Spec<List<u64>> = List::named("plane");
    let error = engine.state(OTHER).err().unwrap().to_string();
    assert!(error.contains("declared as list, and what is stored is a value"), "{error}");
    engine.with_key("a").unwrap();
    let error = engine.with_key(&1u64).err().unwrap().to_string();
    assert!(error.contains("a key of form u64, and the keys of this job are of form str"), "{error}");
    let second = Engine::builder(directory.path()).start(Start::Empty).open().await.err().unwrap();
    assert!(second.to_string().contains("locked"), "{second}");
    let barrier = bedload::Barrier {
        checkpoint: CheckpointId { epoch: 1, number: 1 },
        base: None,
        lease: bedload_snapshot::LeaseId(1),
    };
    assert!(engine.checkpoint(&barrier, &[]).is_err_and(|error| error.to_string().contains("without a repo")));
}

/// Only values and single entries of maps were renewed by reads: lists, numbers and entries in a walk ended as if nobody read them.
#[tokio::test(flavor = "multi_thread")]
async fn reads_renew_the_lives_of_all_kinds() {
    const LIFE: Ttl = Ttl::after(Duration::from_millis(50)).renewed_by(Renewal::ReadAndWrite);
    const SEEN: Spec<List<u32>> = List::named("seen").ttl(LIFE);
    const COUNT: Spec<Reducing<i64>> = Reducing::sum("count").ttl(LIFE);
    const WALKED: Spec<Map<u32, u32>> = Map::named("walked").ttl(LIFE);
    const ASKED: Spec<Map<u32, u32>> = Map::named("asked").ttl(LIFE);
    with_both(async |mut engine| {
        let (seen, count) = (engine.state(SEEN).unwrap(), engine.state(COUNT).unwrap());
        let (walked, asked) = (engine.state(WALKED).unwrap(), engine.state(ASKED).unwrap());
        let mut key = engine.with_key(&7u64).unwrap();
        key.add(&seen, 1).unwrap();
        key.add(&count, 5).unwrap();
        key.insert(&walked, &1, &10).unwrap();
        key.insert(&asked, &1, &10).unwrap();
        for now in [40, 80, 120] {
            engine.advance_processing_time(now, |_, _| Ok(())).unwrap();
            let mut key = engine.with_key(&7u64).unwrap();
            assert_eq!(key.get(&seen).unwrap(), [1], "at {now}");
            assert_eq!(key.get(&count).unwrap(), Some(5), "at {now}");
            assert_eq!(key.entries(&walked).next().unwrap(), Some((1, 10)), "at {now}");
            assert!(key.contains(&asked, &1).unwrap(), "at {now}");
        }
        engine.advance_processing_time(170, |_, _| Ok(())).unwrap();
        let mut key = engine.with_key(&7u64).unwrap();
        assert!(key.get(&seen).unwrap().is_empty() && key.get(&count).unwrap().is_none());
        assert!(key.is_empty(&walked).unwrap() && key.is_empty(&asked).unwrap());
    })
    .await;
}

/// Lists that were joined lived on without elements: a listing of keys showed them.
#[tokio::test(flavor = "multi_thread")]
async fn a_joined_list_ends_with_its_last_element() {
    const SEEN: Spec<List<u32, u64>> = List::named("seen").ttl(Ttl::after(Duration::from_millis(50)));
    with_both(async |mut engine| {
        let seen = engine.state(SEEN).unwrap();
        let mut key = engine.with_key(&7u64).unwrap();
        key.namespace(&1).add(&seen, 1).unwrap();
        engine.advance_processing_time(20, |_, _| Ok(())).unwrap();
        let mut key = engine.with_key(&7u64).unwrap();
        key.namespace(&2).add(&seen, 2).unwrap();
        engine.advance_processing_time(40, |_, _| Ok(())).unwrap();
        engine.with_key(&7u64).unwrap().merge_namespaces(&seen, &2, &[&1]).unwrap();
        for (now, count) in [(45, 1), (69, 1), (70, 0)] {
            engine.advance_processing_time(now, |_, _| Ok(())).unwrap();
            let mut listed = 0;
            let look = |_, _| {
                listed += 1;
                Ok(())
            };
            engine.keys::<u64, _>(&seen, look).unwrap();
            assert_eq!(listed, count, "at {now}");
        }
    })
    .await;
}

/// One that was among the timers that had been read fired at once, and one behind them at the next advance.
#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_is_deleted_and_set_again_waits_for_the_next_advance() {
    with_both(async |mut engine| {
        let idle = engine.timers::<()>("idle").unwrap();
        let mut key = engine.with_key(&7u64).unwrap();
        (1..=1_000).for_each(|at| key.set_timer(&idle, at).unwrap());
        let mut fired = Vec::new();
        let fire = |key: &mut bedload::Keyed<'_>, timer: &bedload::Fired<'_>| {
            fired.push(timer.at());
            for at in [5, 900].into_iter().filter(|_| timer.at() == 1) {
                key.delete_timer(&idle, at)?;
                key.set_timer(&idle, at)?;
            }
            Ok(())
        };
        assert_eq!(engine.advance_watermark(1_000, fire).unwrap(), 998);
        assert!(!fired.contains(&5) && !fired.contains(&900));
        assert_eq!(engine.advance_watermark(1_000, |_, _| Ok(())).unwrap(), 2);
    })
    .await;
}

/// A heap took keys that the store of its checkpoints refuses.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_any_length_that_a_store_takes_come_back() {
    with_both(async |mut engine| {
        let plane = engine.state(PLANE).unwrap();
        for length in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 60_000] {
            let name = "k".repeat(length);
            let mut key = engine.with_key(&name).unwrap();
            key.set(&plane, &(String::new(), length as u64)).unwrap();
            assert_eq!(key.get(&plane).unwrap(), Some((String::new(), length as u64)));
        }
        let mut lengths = Vec::new();
        let look = |key: String, ()| {
            lengths.push(key.len());
            Ok(())
        };
        engine.keys::<str, _>(&plane, look).unwrap();
        lengths.sort_unstable();
        assert_eq!(lengths, [0, 1, 126, 127, 128, 129, 16_383, 16_384, 60_000]);
        let mut key = engine.with_key(&"k".repeat(70_000)).unwrap();
        assert_eq!(key.set(&plane, &(String::new(), 1)).unwrap_err().kind(), ErrorKind::Fix);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_or_a_number_gets_no_life_later() {
    const LIFE: Ttl = Ttl::after(Duration::from_millis(50));
    with_both(async |mut engine| {
        let seen: Spec<List<u32>> = List::named("seen");
        let count: Spec<Reducing<i64>> = Reducing::sum("count");
        let plane: Spec<Value<u64>> = Value::named("plane");
        engine.state(seen).unwrap();
        engine.state(count).unwrap();
        engine.state(plane).unwrap();
        assert!(engine.state(seen.ttl(LIFE)).is_err_and(|error| error.to_string().contains("keep their clock")));
        assert!(engine.state(count.ttl(LIFE)).is_err_and(|error| error.to_string().contains("keep their clock")));
        assert!(engine.state(plane.ttl(LIFE)).is_ok());
    })
    .await;
}

struct Job {
    repo: Repo,
    epoch: Epoch,
    directory: tempfile::TempDir,
    openings: u32,
}

impl Job {
    async fn start() -> Job {
        let directory = tempfile::tempdir().expect("nothing is in its way");
        let repo =
            Repo::open(&format!("file://{}/repo", directory.path().display())).await.expect("nothing is in its way");
        let epoch = Epoch::start(&repo, &JobName::new("board").expect("nothing is in its way"), 128, "test")
            .await
            .expect("nothing is in its way");
        Job { repo, epoch, directory, openings: 0 }
    }

    async fn open(&mut self, index: u32, workers: u32, residence: Residence, restoring: Restoring) -> Engine {
        self.openings += 1;
        let directory = self.directory.path().join(format!("worker-{}", self.openings));
        let builder = Engine::builder(directory).repo(&self.repo, "board").worker(index, workers);
        builder
            .start(Start::LatestOrEmpty)
            .residence(residence)
            .restoring(restoring)
            .open()
            .await
            .expect("nothing is in its way")
    }

    /// Takes a checkpoint of all workers.
    async fn checkpoint(&mut self, engines: &mut [Engine]) -> u64 {
        let barrier = self.epoch.begin().await.expect("nothing is in its way");
        let mut claims: Vec<ClaimRef> = Vec::new();
        let mut uploaded = 0;
        for (number, engine) in engines.iter_mut().enumerate() {
            let shipped = engine
                .checkpoint(&barrier, &[number as u8])
                .expect("nothing is in its way")
                .ship()
                .await
                .expect("nothing is in its way");
            uploaded += shipped.report.uploaded_bytes;
            claims.push(shipped.claim);
        }
        self.epoch.complete(&barrier, claims).await.expect("nothing is in its way");
        for engine in engines {
            engine.confirm(barrier.checkpoint).await;
        }
        uploaded
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_comes_back_on_other_workers_and_in_the_other_residence() {
    let mut job = Job::start().await;
    let mut one = vec![job.open(0, 1, Residence::Disk, Restoring::Whole).await];
    let (plane, stops) = (one[0].state(PLANE).unwrap(), one[0].state(STOPS).unwrap());
    let idle = one[0].timers::<()>("idle").unwrap();
    for number in 0..500u64 {
        let mut key = one[0].with_key(&number).unwrap();
        key.set(&plane, &(format!("plane {number}"), number)).unwrap();
        key.insert(&stops, &number, &"Ely".to_owned()).unwrap();
        key.set_timer(&idle, 1_000 + number).unwrap();
    }
    one[0].advance_watermark(50, |_, _| Ok(())).unwrap();
    one[0].operator_state().set_list("parts", &[1u8, 2, 3]).unwrap();
    job.checkpoint(&mut one).await;
    drop(one);

    for (residence, restoring) in
        [(Residence::Disk, Restoring::Whole), (Residence::Heap, Restoring::Whole), (Residence::Disk, Restoring::Lazily)]
    {
        let mut three = Vec::new();
        for index in 0..3 {
            three.push(job.open(index, 3, residence, restoring).await);
        }
        let (mut found, mut fired, mut parts) = (0, 0, Vec::new());
        for engine in &mut three {
            assert!(engine.opened_from().unwrap().is_own);
            assert_eq!(engine.positions().len(), 1);
            let (plane, stops) = (engine.state(PLANE).unwrap(), engine.state(STOPS).unwrap());
            let idle = engine.timers::<()>("idle").unwrap();
            assert_eq!(engine.now(Clock::Event), 50);
            let mut keys = Vec::new();
            engine
                .keys::<u64, _>(&plane, |key, ()| {
                    keys.push(key);
                    Ok(())
                })
                .unwrap();
            for number in keys {
                let mut key = engine.with_key(&number).unwrap();
                assert_eq!(key.get(&plane).unwrap(), Some((format!("plane {number}"), number)));
                assert_eq!(key.find(&stops, &number).unwrap().as_deref(), Some("Ely"));
                found += 1;
            }
            parts.extend(engine.operator_state().list::<u8>("parts").unwrap());
            let due = engine.advance_watermark(1_249, |_, timer| {
                assert!(timer.is(&idle));
                Ok(())
            });
            fired += due.unwrap();
            assert!(engine.with_key(&0u64).is_ok() || engine.group_of(&0u64).unwrap() > 0);
        }
        assert_eq!((found, fired), (500, 250));
        parts.sort();
        assert_eq!(parts, [1, 2, 3]);
    }

    // From three workers back to one, in memory, and on; the timers that have fired stay fired.
    let mut three = Vec::new();
    for index in 0..3 {
        let mut engine = job.open(index, 3, Residence::Disk, Restoring::Whole).await;
        engine.timers::<()>("idle").unwrap();
        engine.advance_watermark(1_249, |_, _| Ok(())).unwrap();
        three.push(engine);
    }
    job.checkpoint(&mut three).await;
    let mut one = vec![job.open(0, 1, Residence::Heap, Restoring::Whole).await];
    assert_eq!(one[0].positions().iter().map(|position| position.bytes[0]).collect::<Vec<_>>(), [0, 1, 2]);
    one[0].timers::<()>("idle").unwrap();
    assert_eq!(one[0].advance_watermark(1_300, |_, _| Ok(())).unwrap(), 51);
    let plane = one[0].state(PLANE).unwrap();
    assert_eq!(one[0].with_key(&77u64).unwrap().get(&plane).unwrap(), Some(("plane 77".into(), 77)));
    job.checkpoint(&mut one).await;
    let mut last = job.open(0, 1, Residence::Disk, Restoring::Whole).await;
    last.timers::<()>("idle").unwrap();
    assert_eq!(last.advance_watermark(9_000, |_, _| Ok(())).unwrap(), 199);
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_an_earlier_version_are_read_and_migrated() {
    #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct Plane {
        maker: String,
        seats: u32,
    }
    impl From<String> for Plane {
        fn from(maker: String) -> Plane {
            Plane { maker, seats: 0 }
        }
    }
    const FIRST: Spec<Value<String>> = Value::named("plane");
    const SECOND: Spec<Value<Plane>> = Value::named("plane").version(2).reads_version::<String>(1);
    const FORGETFUL: Spec<Value<Plane>> = Value::named("plane").version(2);
    const FIRST_LIST: Spec<List<String>> = List::named("history");
    const SECOND_LIST: Spec<List<Plane>> = List::named("history").version(2).reads_version::<String>(1);
    let mut job = Job::start().await;
    let mut engines = vec![job.open(0, 1, Residence::Disk, Restoring::Whole).await];
    let (plane, history) = (engines[0].state(FIRST).unwrap(), engines[0].state(FIRST_LIST).unwrap());
    for number in 0..10u64 {
        let mut key = engines[0].with_key(&number).unwrap();
        key.set(&plane, &format!("maker {number}")).unwrap();
        key.add(&history, "a".to_owned()).unwrap();
    }
    job.checkpoint(&mut engines).await;

    let mut engines = vec![job.open(0, 1, Residence::Disk, Restoring::Whole).await];
    let error = engines[0].state(FORGETFUL).err().unwrap().to_string();
    assert!(error.contains("items of version 1, and the declaration of version 2 does not read them"), "{error}");
    let (plane, history) = (engines[0].state(SECOND).unwrap(), engines[0].state(SECOND_LIST).unwrap());
    let mut key = engines[0].with_key(&3u64).unwrap();
    key.update(&plane, |plane| plane.as_mut().unwrap().seats = 180).unwrap();
    assert_eq!(key.get(&plane).unwrap(), Some(Plane { maker: "maker 3".into(), seats: 180 }));
    key.add(&history, Plane { maker: "b".into(), seats: 2 }).unwrap();
    let seats: Vec<u32> = key.get(&history).unwrap().into_iter().map(|plane| plane.seats).collect();
    assert_eq!(seats, [0, 2]);
    job.checkpoint(&mut engines).await;

    let mut engines = vec![job.open(0, 1, Residence::Disk, Restoring::Whole).await];
    let error = engines[0].state(FIRST).err().unwrap().to_string();
    assert!(error.contains("items of version 2, and this program knows version 1"), "{error}");
    let (plane, history) = (engines[0].state(SECOND).unwrap(), engines[0].state(SECOND_LIST).unwrap());
    assert_eq!(engines[0].migrate(&plane).unwrap(), 9);
    assert_eq!(engines[0].migrate(&history).unwrap(), 10);
    assert_eq!(engines[0].migrate(&plane).unwrap(), 0);
    job.checkpoint(&mut engines).await;
    let mut engine = job.open(0, 1, Residence::Disk, Restoring::Whole).await;
    let plane = engine.state(FORGETFUL).unwrap();
    assert_eq!(engine.with_key(&4u64).unwrap().get(&plane).unwrap().unwrap().maker, "maker 4");
}
