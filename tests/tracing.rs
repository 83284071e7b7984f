//! What an engine tells a subscriber of `tracing`: the spans and events that the guide names. Alone in its process, since tasks run on
//! any thread and so the subscriber is that of all.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bedload::testing::{Epoch, FaultStore, ObjectFault, TestAmbient};
use bedload::{Engine, Reducing, RepoOptions, Restoring, Spec, Start};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const FLIGHTS: Spec<Reducing<i64>> = Reducing::sum("flights");

/// Keeps the names of spans, with those around them, and the events.
#[derive(Clone, Default)]
struct Collecting(Arc<State>);

#[derive(Default)]
struct State {
    next: AtomicU64,
    /// The path of each span, as `checkpoint/ship/upload`.
    paths: Mutex<HashMap<u64, String>>,
    /// Level, path of the span, and fields of each event and span.
    lines: Mutex<Vec<(Level, String, String)>>,
}

thread_local! {
    static ENTERED: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Collecting {
    fn path(&self, span: Option<u64>) -> String {
        let paths = self.0.paths.lock().expect("nobody panics under this lock");
        span.and_then(|span| paths.get(&span).cloned()).unwrap_or_default()
    }

    fn around(&self) -> Option<u64> {
        ENTERED.with(|entered| entered.borrow().last().copied())
    }

    fn line(&self, metadata: &Metadata<'_>, path: String, fields: Fields) {
        let mut lines = self.0.lines.lock().expect("nobody panics under this lock");
        lines.push((*metadata.level(), path, fields.0));
    }

    /// What was told since the last call.
    fn take(&self) -> Vec<(Level, String, String)> {
        std::mem::take(&mut self.0.lines.lock().expect("nobody panics under this lock"))
    }
}

impl Subscriber for Collecting {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("bedload")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.0.next.fetch_add(1, Ordering::SeqCst) + 1;
        let parent = if span.is_contextual() { self.around() } else { span.parent().map(Id::into_u64) };
        let above = self.path(parent);
        let name = span.metadata().name();
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
        let mut fields = Fields(String::new());
        span.record(&mut fields);
        self.0.paths.lock().expect("nobody panics under this lock").insert(id, path.clone());
        self.line(span.metadata(), path, fields);
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.line(event.metadata(), self.path(self.around()), fields);
    }

    fn enter(&self, span: &Id) {
        ENTERED.with(|entered| entered.borrow_mut().push(span.into_u64()));
    }

    fn exit(&self, _: &Id) {
        ENTERED.with(|entered| entered.borrow_mut().pop());
    }
}

/// The paths of spans and events of some levels.
fn paths(lines: &[(Level, String, String)], levels: &[Level]) -> BTreeSet<String> {
    lines.iter().filter(|(level, ..)| levels.contains(level)).map(|(_, path, _)| path.clone()).collect()
}

fn has(lines: &[(Level, String, String)], level: Level, part: &str) -> bool {
    lines.iter().any(|(found, _, fields)| *found == level && fields.contains(part))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_and_a_restore_are_told_as_the_guide_says() {
    let told = Collecting::default();
    tracing::subscriber::set_global_default(told.clone()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let objects = FaultStore::default();
    let options = RepoOptions::default().ambient(Arc::new(TestAmbient::new(7)));
    let repo = options.open_store(Arc::new(objects.clone()), "memory://test").await.unwrap();
    let builder = |name: &str| Engine::builder(directory.path().join(name)).repo(&repo, "board");
    let mut engine = builder("one").start(Start::Empty).open().await.unwrap();
    let flights = engine.state(FLIGHTS).unwrap();
    let mut epoch = Epoch::start(&repo, &"board".parse().unwrap(), 128, "a test").await.unwrap();

    // Nothing is told of records.
    told.take();
    for key in 0..10_000u32 {
        engine.with_key(&key).unwrap().add(&flights, 1).unwrap();
        engine.with_key(&key).unwrap().get(&flights).unwrap();
    }
    assert_eq!(told.take(), []);

    // A checkpoint, with one request that fails.
    let mut failures = 1;
    objects.choose(move |request| {
        let fails = request.path.ends_with(".parcel") && failures > 0;
        failures -= i32::from(fails);
        fails.then_some(ObjectFault::FailBefore)
    });
    let barrier = epoch.begin().await.unwrap();
    let shipped = engine.checkpoint(&barrier, b"").unwrap().ship().await.unwrap();
    epoch.complete(&barrier, vec![shipped.claim]).await.unwrap();
    engine.confirm(barrier.checkpoint).await;
    let lines = told.take();
    let expected = [
        "",
        "checkpoint",
        "checkpoint/freeze",
        "checkpoint/ship",
        "checkpoint/ship/claim",
        "checkpoint/ship/flush",
        "checkpoint/ship/link",
        "checkpoint/ship/upload",
        "checkpoint/ship/verify",
    ];
    assert_eq!(paths(&lines, &[Level::INFO]), expected.map(str::to_owned).into(), "{lines:#?}");
    let debug = paths(&lines, &[Level::DEBUG]);
    for path in ["flush", "checkpoint/ship/upload/ship_run"] {
        assert!(debug.contains(path), "{path} is missing: {debug:?}");
    }
    for field in ["pause_us=", "uploaded_bytes=", "claimed_bytes=", "flush_us=", "job=board", "worker=w-0"] {
        assert!(has(&lines, Level::INFO, field), "{field} is missing: {lines:#?}");
    }
    assert!(has(&lines, Level::WARN, "failures=1 "), "{lines:#?}");
    let warnings = paths(&lines, &[Level::WARN]);
    assert_eq!(warnings, ["checkpoint/ship/upload/ship_run".to_owned()].into());

    // A restore, as a whole and lazily.
    let restored = builder("two").open().await.unwrap();
    restored.close().unwrap();
    let lines = told.take();
    let info = paths(&lines, &[Level::INFO]);
    assert_eq!(info, ["open", "open/restore"].map(str::to_owned).into(), "{lines:#?}");
    assert!(paths(&lines, &[Level::DEBUG]).contains("open/restore/fetch_run"), "{lines:#?}");
    assert!(has(&lines, Level::INFO, "fetched_bytes="), "{lines:#?}");

    let lazy = builder("three").restoring(Restoring::Lazily).open().await.unwrap();
    let progress = lazy.restoring().unwrap();
    let mut lines = Vec::new();
    while !has(&lines, Level::INFO, "all of it is here") {
        tokio::task::yield_now().await;
        lines.extend(told.take());
    }
    assert_eq!(progress.here_bytes(), progress.total_bytes());
    assert!(paths(&lines, &[Level::INFO]).contains("open/restore_lazily"), "{lines:#?}");
    assert!(has(&lines, Level::DEBUG, "fetched a run"), "{lines:#?}");

    // One that is given up is a warning.
    let barrier = epoch.begin().await.unwrap();
    drop(engine.checkpoint(&barrier, b"").unwrap());
    engine.abort(barrier.checkpoint).await;
    assert!(has(&told.take(), Level::WARN, "given up"));
}
