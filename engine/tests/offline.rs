//! Checkpoints that are made and read without a running job.

use bedload::{CheckpointReader, Engine, List, Map, Repo, Spec, Value, bootstrap};

const SEATS: Spec<Value<u32>> = Value::named("seats");
const STOPS: Spec<Map<str, u64>> = Map::named("stops");
const DELAYS: Spec<List<i32>> = List::named("delays");

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_written_offline_is_read_offline() {
    let directory = tempfile::tempdir().unwrap();
    let repo = Repo::open(&format!("file://{}/repo", directory.path().display())).await.unwrap();
    let write = |engine: &mut Engine| {
        let (seats, stops, delays) = (engine.state(SEATS)?, engine.state(STOPS)?, engine.state(DELAYS)?);
        let idle = engine.timers::<()>("idle")?;
        for number in (0..300u32).rev() {
            let mut key = engine.with_key(&format!("N{number}"))?;
            key.set(&seats, &number)?;
            key.insert(&stops, "EWR", &7)?;
            key.add(&delays, -3)?;
            key.set_timer(&idle, 1_000)?;
        }
        Ok(())
    };
    let first = directory.path().join("first");
    let made = bootstrap(&repo, "board", 16, &first, |options| options.memory(32 << 20), write).await.unwrap();
    let again = bootstrap(&repo, "board", 16, directory.path().join("again"), |options| options, |_| Ok(())).await;
    assert!(again.unwrap_err().to_string().contains("has been started already"));

    // Two workers start from it.
    let mut found = 0;
    for index in 0..2 {
        let builder = Engine::builder(directory.path().join(format!("w-{index}"))).repo(&repo, "board");
        let mut engine = builder.max_groups(16).worker(index, 2).open().await.unwrap();
        let seats = engine.state(SEATS).unwrap();
        let mut count = |_, ()| {
            found += 1;
            Ok(())
        };
        engine.keys::<str, _>(&seats, &mut count).unwrap();
    }
    assert_eq!(found, 300);
    let refused = Engine::builder(directory.path().join("other")).repo(&repo, "board").open().await;
    assert!(refused.err().unwrap().to_string().contains("pass max_groups(16)"));

    let mut reader = CheckpointReader::open(&repo, "board", None, directory.path().join("reading")).await.unwrap();
    assert_eq!(reader.checkpoint(), made);
    let names: Vec<&str> = reader.states().iter().map(|state| state.name.as_str()).collect();
    assert_eq!(names, ["seats", "stops", "delays"]);
    let mut counts = std::collections::BTreeMap::new();
    reader
        .entries(None, |entry| {
            *counts.entry(entry.state.unwrap().to_owned()).or_insert(0) += 1;
            assert!(entry.time == 0 || entry.state == Some("idle"));
            Ok(true)
        })
        .unwrap();
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [("delays".to_owned(), 300), ("idle".to_owned(), 300), ("seats".to_owned(), 300), ("stops".to_owned(), 300)]
    );
    // What stands under one key, without its types.
    let mut told = Vec::new();
    reader
        .entries_of("N42", |entry| {
            told.push(reader.describe(entry));
            Ok(())
        })
        .unwrap();
    let parts: Vec<[String; 4]> =
        told.iter().map(|told| ["state", "key", "map_key", "value"].map(|part| told[part].to_string())).collect();
    let item = |hex: &str| format!(r#"{{"codec":"postcard","hex":"{hex}","version":1}}"#);
    assert_eq!(
        parts,
        [
            ["\"seats\"", "\"N42\"", "null", &item("2a")].map(str::to_owned),
            ["\"stops\"", "\"N42\"", "\"EWR\"", &item("07")].map(str::to_owned),
            ["\"delays\"", "\"N42\"", "null", &format!("[{}]", item("05"))].map(str::to_owned),
        ]
    );
    let mut first = None;
    reader
        .entries(None, |entry| {
            assert!(first.replace(entry.group).is_none(), "it was told to stop");
            Ok(false)
        })
        .unwrap();
    let (seats, stops) = (reader.engine().state(SEATS).unwrap(), reader.engine().state(STOPS).unwrap());
    let mut key = reader.engine().with_key("N42").unwrap();
    assert_eq!((key.get(&seats).unwrap(), key.find(&stops, "EWR").unwrap()), (Some(42), Some(7)));
}
