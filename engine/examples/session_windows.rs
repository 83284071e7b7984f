//! Session windows: clicks of a user that are at most ten seconds apart are one session. Windows are namespaces; when a click joins two of
//! them, their states are joined too; a timer closes a window when the watermark has passed it.
//!
//! `cargo run -p bedload --example session_windows`

use bedload::{Engine, List, Map, Result, Spec, Start};

const GAP_MS: u64 = 10_000;

/// The open windows of a user, by their start: their end.
const WINDOWS: Spec<Map<u64, u64>> = Map::named("windows");
/// The pages of a window.
const PAGES: Spec<List<String, u64>> = List::named("pages");

#[tokio::main]
pub(crate) async fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory can be had");
    let mut engine = Engine::builder(directory.path()).start(Start::Empty).open().await?;
    let (windows, pages) = (engine.state(WINDOWS)?, engine.state(PAGES)?);
    let close = engine.timers::<u64>("close")?;

    // Out of order: the click at 9 s joins the windows of those at 0 and 18 s.
    let clicks =
        [("ann", 0, "/"), ("ann", 18_000, "/buy"), ("bob", 5_000, "/"), ("ann", 9_000, "/shoes"), ("ann", 60_000, "/")];
    for (user, at, page) in clicks {
        let mut key = engine.with_key(user)?;
        let (mut start, mut end, mut joined) = (at, at + GAP_MS, Vec::new());
        let mut open = key.entries(&windows);
        while let Some((other_start, other_end)) = open.next()? {
            if other_start <= at + GAP_MS && at <= other_end {
                (start, end) = (start.min(other_start), end.max(other_end));
                joined.push((other_start, other_end));
                open.remove()?;
            }
        }
        for (other_start, other_end) in joined {
            key.namespace(&other_start).delete_timer(&close, other_end)?;
            if other_start != start {
                key.merge_namespaces(&pages, &start, &[&other_start])?;
            }
        }
        key.insert(&windows, &start, &end)?;
        let mut window = key.namespace(&start);
        window.add(&pages, page.to_owned())?;
        window.set_timer(&close, end)?;
    }

    let mut sessions = Vec::new();
    engine.advance_watermark(40_000, |key, timer| {
        let (user, start) = (timer.key::<str>()?, timer.namespace::<u64>()?);
        let seen = key.namespace(&start).get(&pages)?;
        println!("{user} from {start} to {} ms: {seen:?}", timer.at());
        sessions.push((user, seen.len()));
        key.namespace(&start).clear(&pages)?;
        key.remove(&windows, &start)
    })?;
    // The last click of Ann is in a window that is still open.
    assert_eq!(sessions, [("bob".to_owned(), 1), ("ann".to_owned(), 3)]);
    engine.close()
}
