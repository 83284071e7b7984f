//! Lets each message through once: its id is remembered for an hour of event time, and forgotten without anybody deleting it.
//!
//! `cargo run -p bedload --example dedup_ttl`

use std::time::Duration;

use bedload::{Clock, Engine, Result, Spec, Start, Ttl, Value};

const HOUR: Duration = Duration::from_secs(3_600);
const SEEN: Spec<Value<()>> = Value::named("seen").ttl(Ttl::after(HOUR).clock(Clock::Event));

#[tokio::main]
pub(crate) async fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory can be had");
    let mut engine = Engine::builder(directory.path()).start(Start::Empty).open().await?;
    let seen = engine.state(SEEN)?;
    let minute = 60_000;
    let messages = [(0, "a"), (1, "b"), (2, "a"), (59, "b"), (62, "a"), (63, "b"), (64, "a")];
    let mut passed = Vec::new();
    for (at, id) in messages {
        engine.advance_watermark(at * minute, |_, _| Ok(()))?;
        // A message that is held back does not renew its life.
        let mut key = engine.with_key(id)?;
        if key.get(&seen)?.is_none() {
            key.set(&seen, &())?;
            passed.push((at, id));
            println!("minute {at:2}: {id} passes");
        } else {
            println!("minute {at:2}: {id} was seen within the hour");
        }
    }
    assert_eq!(passed, [(0, "a"), (1, "b"), (62, "a"), (63, "b")]);
    engine.close()
}
