//! Keeps the rules of the project's own text: floors, names, lengths, heads, leftovers.
//!
//! A rule is a function over files in memory, so that `canary` can show each rule a text that breaks it. No rule knows an
//! exception by line; what is excepted stands in the rule.

mod canary;
mod floors;
mod rules;
mod source;

use std::fmt;
use std::fs;
use std::path::Path;

/// A text file of the project; the path is relative to its root and has forward slashes.
#[derive(Clone, Debug)]
struct File {
    path: String,
    text: String,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// A module uses only modules of lower floors.
    Floors,
    /// Names say what a thing is, in snake case.
    Names,
    /// A file can be read in one go.
    Length,
    /// A file opens with a head.
    Head,
    /// Nothing is left for later.
    Leftover,
    /// No code in comments.
    CommentedOut,
    /// `unsafe` stays in its modules.
    Unsafe,
    /// No directory of the machine it was written on.
    MachinePath,
    /// A dependency says what it is for.
    Dependency,
}

impl Rule {
    const ALL: [Rule; 9] = [
        Rule::Floors,
        Rule::Names,
        Rule::Length,
        Rule::Head,
        Rule::Leftover,
        Rule::CommentedOut,
        Rule::Unsafe,
        Rule::MachinePath,
        Rule::Dependency,
    ];
}

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counted from one.
    line: usize,
    rule: Rule,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {:?}: {}", self.path, self.line, self.rule, self.message)
    }
}

/// All places in `files` that break a rule.
fn check(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        rules::machine_path(file, &mut found);
        if file.path.ends_with("Cargo.toml") {
            rules::dependency(file, &mut found);
        }
    }
    let rust: Vec<source::Source> =
        files.iter().filter(|file| file.path.ends_with(".rs")).map(|file| source::Source::read(file.clone())).collect();
    for source in &rust {
        rules::names(source, &mut found);
        rules::length(source, &mut found);
        rules::head(source, &mut found);
        rules::leftover(source, &mut found);
        rules::commented_out(source, &mut found);
        rules::unsafety(source, &mut found);
    }
    for root in rust.iter().filter(|source| source.file.path.ends_with("src/lib.rs")) {
        floors::check(root, &rust, &mut found);
    }
    found.sort_by(|left, right| (&left.path, left.line).cmp(&(&right.path, right.line)));
    found
}

/// Every text file under the project's root, without what is built and what git keeps for itself.
fn project() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a directory of the project");
    let mut files = Vec::new();
    walk(root, "", &mut files);
    files.sort_by(|left, right| left.path.cmp(&right.path));
    files
}

fn walk(directory: &Path, path: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(directory).expect("the project can be read") {
        let entry = entry.expect("the project can be read");
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        let kind = entry.file_type().expect("the project can be read");
        if kind.is_dir() {
            // Not ours: builds, git's own files, and what a fuzzer has found but nobody has committed.
            if !["target", ".git", "artifacts"].contains(&name.as_str()) {
                walk(&entry.path(), &path, files);
            }
        } else if kind.is_file()
            // In a linked worktree it is a file.
            && name != ".git"
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            files.push(File { path, text });
        }
    }
}

#[test]
fn the_project_keeps_its_rules() {
    let files = project();
    for path in ["Cargo.toml", "README.md", ".ci/run", "lsm/src/lib.rs", "tests/tidy/source.rs"] {
        assert!(files.iter().any(|file| file.path == path), "the walk did not see {path}");
    }
    let found = check(&files);
    let list: String = found.iter().map(|finding| format!("\n{finding}")).collect();
    assert!(found.is_empty(), "{} places break a rule:{list}", found.len());
}
