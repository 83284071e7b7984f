//! Counts words: the smallest operator there is. Reads from standard input, or a few lines of its own when that is a terminal.
//!
//! `cargo run -p bedload --example word_count < README.md`

use std::io::{BufRead, IsTerminal, stdin};

use bedload::{Engine, Reducing, Result, Spec, Start};

/// A sum for each word: adding to it reads nothing.
const COUNT: Spec<Reducing<i64>> = Reducing::sum("count");

#[tokio::main]
pub(crate) async fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory can be had");
    // Nothing is kept: no repo, no checkpoint to start from.
    let mut engine = Engine::builder(directory.path()).start(Start::Empty).open().await?;
    let count = engine.state(COUNT)?;
    let lines: Vec<String> = if stdin().is_terminal() || cfg!(test) {
        ["the fens are flat", "the river is slow", "the fens are wet"].map(str::to_owned).into()
    } else {
        stdin().lock().lines().map_while(|line| line.ok()).collect()
    };
    for word in lines.iter().flat_map(|line| line.split_whitespace()) {
        engine.with_key(word)?.add(&count, 1)?;
    }

    let mut words = Vec::new();
    engine.keys::<str, _>(&count, |word, ()| {
        words.push(word);
        Ok(())
    })?;
    let mut counted = Vec::new();
    for word in words {
        let number = engine.with_key(&word)?.get(&count)?.unwrap_or(0);
        counted.push((number, word));
    }
    counted.sort();
    for (number, word) in counted.iter().rev().take(10) {
        println!("{number:6} {word}");
    }
    engine.close()
}
