//! Shows each rule a text that breaks it: a rule that cannot fail holds nothing.

use std::collections::BTreeSet;

use super::{File, Finding, Rule, check};

/// A crate that breaks no rule, though it tries to look as if it did.
const LIB: &str = "//! A crate.

mod error;

/// Two on one floor.
mod codec;
#[cfg(feature = \"x\")]
pub(crate) mod key;

pub mod store;

#[cfg(test)]
mod harness;

pub use codec::{RunId, inner::Reader as Cursor};
pub use error::Error;
";

const STORE: &str = "//! The store.

use std::fmt;

use crate::Error;
use crate::{RunId, codec::{self, Reader}, error};

mod inside {
    use super::super::key::Shape;
    use super::Here;
}

/// Says `crate::nothing::at_all`, TODOS and unsafe things.
fn a<'a>(text: &'a str) -> crate::error::Result<&'a str> {
    // A sentence about let and if; it goes on, as sentences do.
    let quote = '\"'; // see `crate::store::b` (which is here)
    Ok(\"crate::harness todo!() unsafe // XXX\")
}

#[cfg(test)]
mod tests {
    use crate::harness::Disk;
    use crate::whatever::*;
}
";

const MANIFEST: &str = "[package]
name = \"a\"

[dependencies]
bedload-lsm = { path = \"../lsm\" }
one = { version = \"1\", features = [\"x\"] } # does one thing
# Does two things.
two = \"2\"
three.workspace = true

[features]
four = []
";

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

fn crate_with(path: &str, text: &str) -> Vec<File> {
    let clean = [
        ("a/Cargo.toml", MANIFEST),
        ("a/src/lib.rs", LIB),
        ("a/src/error.rs", "//! Errors.\n"),
        ("a/src/codec.rs", "//! Bytes.\n"),
        ("a/src/key/mod.rs", "//! Keys.\nuse self::shape::Shape;\n"),
        ("a/src/key/shape.rs", "//! Shapes.\nuse super::Key;\nuse super::super::error::Error;\n"),
        ("a/src/store.rs", STORE),
        ("a/src/harness.rs", "//! Above all floors.\nuse crate::store::Store;\n"),
        ("a/README.md", "See `src/home/x` and https://example.org/work/x.\n"),
    ];
    let mut files: Vec<File> = clean.into_iter().map(|(path, text)| file(path, text)).collect();
    files.retain(|file| file.path != path);
    files.push(file(path, text));
    files
}

/// Each a file that breaks a rule, and the line at which it does.
fn broken() -> Vec<(Rule, &'static str, String, usize)> {
    let lines = |text: &[&str]| text.join("\n");
    let code = |count: usize| format!("//! Long.\n{}", "static A: u8 = 1;\n".repeat(count));
    let mut cases = Vec::new();

    let mut floors = |path, line, text: &[&str]| cases.push((Rule::Floors, path, lines(text), line));
    floors("a/src/error.rs", 2, &["//! Up.", "use crate::store::Store;"]);
    floors("a/src/error.rs", 2, &["//! Up, in passing.", "fn a() -> crate::store::Store {}"]);
    floors("a/src/error.rs", 2, &["//! Up, from the parent.", "use super::store;"]);
    floors("a/src/error.rs", 3, &["//! Up, from below.", "mod b {", "use super::super::store;", "}"]);
    floors("a/src/error.rs", 2, &["//! Up, through a name handed on.", "use crate::Cursor;"]);
    floors("a/src/error.rs", 2, &["//! To the crate's face.", "use crate::*;"]);
    floors("a/src/key/mod.rs", 2, &["//! Sideways.", "use crate::codec::Reader;"]);
    floors("a/src/key/shape.rs", 2, &["//! Sideways, from below.", "fn a() { super::super::codec::b() }"]);
    floors(
        "a/src/key/mod.rs",
        4,
        &["//! Grouped.", "use crate::{", "error::{self, Error},", "codec::Reader as R,", "};"],
    );
    floors(
        "a/src/key/mod.rs",
        4,
        &["//! Behind tests.", "#[cfg(test)]", "mod t { use crate::store::A; }", "use crate::store;"],
    );
    floors("a/src/store.rs", 2, &["//! What only tests see.", "use crate::harness::Disk;"]);
    floors("a/src/orphan.rs", 1, &["//! On no floor."]);

    let head = "//! Head.";
    let mut at_two = |rule, text: &[&str]| cases.push((rule, "a/src/store.rs", lines(&[&[head], text].concat()), 2));
    at_two(Rule::Names, &["mod key_utils;"]);
    at_two(Rule::Leftover, &["fn a() { todo!(\"later\") }"]);
    at_two(Rule::Leftover, &["fn a() { unimplemented!() }"]);
    at_two(Rule::Leftover, &["fn a() { dbg!(1); }"]);
    at_two(Rule::Leftover, &["#[ignore = \"slow\"]", "fn a() {}"]);
    at_two(Rule::Leftover, &["fn a() { std::thread::sleep(b) }"]);
    at_two(Rule::Leftover, &["use std::thread::{sleep, spawn};"]);
    at_two(Rule::Leftover, &["// FIXME: it is broken"]);
    at_two(Rule::Leftover, &["/* XXX */"]);
    at_two(Rule::Leftover, &["fn a() {} // TODO"]);
    at_two(Rule::Leftover, &["/// ```ignore", "fn a() {}"]);
    at_two(Rule::CommentedOut, &["// let a = 1;"]);
    at_two(Rule::CommentedOut, &["fn a() {} // b.flush(1);"]);
    at_two(Rule::Unsafe, &["fn a() { unsafe { b() } }"]);
    at_two(Rule::Unsafe, &["unsafe impl Send for A {}"]);

    cases.push((Rule::Names, "tests/helper.rs", head.to_owned(), 1));
    cases.push((Rule::Names, "tests/Model.rs", head.to_owned(), 1));
    cases.push((Rule::Names, "tests/misc/model.rs", head.to_owned(), 1));
    cases.push((Rule::Length, "tests/long.rs", format!("//! Long.\n{}", "// Prose.\n".repeat(900)), 901));
    cases.push((Rule::Length, "a/src/store.rs", code(601), 1));
    cases.push((Rule::Head, "a/src/store.rs", "use std::fmt;".to_owned(), 1));
    cases.push((Rule::Head, "a/src/store.rs", "//!".to_owned(), 1));
    cases.push((Rule::Head, "a/src/store.rs", String::new(), 1));
    for directory in ["home", "root", "work", "Users"] {
        cases.push((Rule::MachinePath, "docs/a.md", format!("one\nsee \"/{directory}/x\""), 2));
        cases.push((Rule::MachinePath, ".ci/run", format!("/{directory}/x"), 1));
        cases.push((Rule::MachinePath, "a/src/store.rs", format!("//! At file:///{directory}/x."), 1));
    }
    let mut manifest = |text: &[&str], line| cases.push((Rule::Dependency, "b/Cargo.toml", lines(text), line));
    manifest(&["[dependencies]", "a = \"1\" # why", "b = \"1#2\""], 3);
    manifest(&["[dev-dependencies]", "b = { version = \"1\" }"], 2);
    manifest(&["[target.'cfg(unix)'.build-dependencies]", "b.version = \"1\""], 2);
    manifest(&["[workspace.dependencies]", "# Why.", "a = \"1\"", "b = \"1\""], 4);
    manifest(&["[dependencies.b]", "version = \"1\""], 1);
    cases
}

#[test]
fn a_clean_crate_breaks_no_rule() {
    assert_eq!(check(&crate_with("a/src/store.rs", STORE)), []);
    // The limits themselves are allowed, and so is `unsafe` where it belongs.
    let code = |count: usize| format!("//! Long.\n{}", "static A: u8 = 1;\n".repeat(count));
    assert_eq!(check(&crate_with("a/src/store.rs", &code(600))), []);
    assert_eq!(check(&[file("lsm/src/fs/mmap.rs", "//! Maps.\nunsafe fn a() {}\n")]), []);
    let mostly_tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", code(500), "fn a() {}\n".repeat(350));
    assert_eq!(check(&[file("a.rs", &mostly_tests)]), []);
}

#[test]
fn every_rule_catches_what_breaks_it() {
    let mut caught = BTreeSet::new();
    for (rule, path, text, line) in broken() {
        let found = check(&crate_with(path, &text));
        let places: Vec<(Rule, &str, usize)> =
            found.iter().map(|Finding { rule, path, line, .. }| (*rule, path.as_str(), *line)).collect();
        assert_eq!(places, [(rule, path, line)], "in {path}:\n{text}\nfound: {found:#?}");
        caught.insert(rule);
    }
    assert_eq!(caught, BTreeSet::from(Rule::ALL), "a rule has no text that breaks it");
}
