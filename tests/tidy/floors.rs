//! The floors of a crate: the groups of `mod` lines in its `lib.rs`, separated by blank lines, lowest first.
//!
//! A top-level module uses only modules of lower floors; modules on one floor do not know each other. Every path that
//! starts at the crate's root counts, in a `use` or in passing, by `crate::` or by `super::`; a path through a name that
//! `lib.rs` hands on counts as one to the module that the name comes from. What only tests see is free.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, Token};
use super::{Finding, Rule};

/// What `lib.rs` says about the crate.
#[derive(Debug, Default)]
struct Floors {
    /// The floor of each module, zero for the lowest.
    floor_of: BTreeMap<String, usize>,
    /// The modules that only tests see: they stand above everything.
    test_modules: BTreeSet<String>,
    /// The module that each name handed on by `lib.rs` comes from.
    handed_on: BTreeMap<String, String>,
}

/// Reports each path of the crate with this `lib.rs` that does not lead to a lower floor.
pub fn check(lib: &Source, sources: &[Source], found: &mut Vec<Finding>) {
    let floors = Floors::read(lib);
    let root = lib.file.path.trim_end_matches("lib.rs");
    for source in sources {
        let Some(path) = source.file.path.strip_prefix(root).and_then(|path| path.strip_suffix(".rs")) else {
            continue;
        };
        let mut modules: Vec<&str> = path.split('/').collect();
        if modules.last() == Some(&"mod") {
            modules.pop();
        }
        // `lib.rs` sees everything; a program is a crate of its own.
        if ["lib", "main", "bin"].contains(&modules[0]) || modules.contains(&"tests") {
            continue;
        }
        floors.check_module(source, &modules, found);
    }
}

impl Floors {
    fn read(lib: &Source) -> Floors {
        let mut floors = Floors { test_modules: lib.test_modules(), ..Floors::default() };
        let blank: Vec<bool> = lib.file.text.lines().map(|line| line.trim().is_empty()).collect();
        let tokens = lib.product_tokens();
        let (mut floor, mut last_line) = (0, None);
        for words in tokens.windows(3).filter(|words| words[0].text == "mod" && words[2].text == ";") {
            let line = words[0].first_line;
            // Lines count from one, the list from zero: this looks at the lines between the two.
            if last_line.is_some_and(|last: usize| blank[last..line - 1].contains(&true)) {
                floor += 1;
            }
            floors.floor_of.insert(words[1].text.clone(), floor);
            last_line = Some(line);
        }
        for path in paths(&tokens, 0).into_iter().filter(|path| path.is_use) {
            let words = path.words.iter().filter(|word| *word != "crate" && *word != "self");
            let words: Vec<&String> = words.collect();
            if let [module, .., _] = words.as_slice() {
                floors.handed_on.insert(path.name.clone(), (*module).clone());
            }
        }
        floors
    }

    fn check_module(&self, source: &Source, modules: &[&str], found: &mut Vec<Finding>) {
        let own = modules[0];
        if self.test_modules.contains(own) {
            return;
        }
        let file = &source.file.path;
        let mut report = |line: usize, message: String| {
            found.push(Finding { path: file.clone(), line, rule: Rule::Floors, message });
        };
        let Some(own_floor) = self.floor_of.get(own) else {
            return report(1, format!("`{own}` is not declared in lib.rs: it stands on no floor"));
        };
        for path in paths(&source.product_tokens(), modules.len()) {
            let Some(name) = path.root_name() else { continue };
            let module = self.handed_on.get(name).map_or(name, String::as_str);
            match self.floor_of.get(module) {
                _ if module == own => {}
                None => report(path.line, format!("`crate::{name}` leads to no module of lib.rs")),
                Some(floor) if floor == own_floor => {
                    report(path.line, format!("`{own}` uses `{module}`: modules on one floor do not know each other"));
                }
                Some(floor) if floor > own_floor => {
                    report(path.line, format!("`{own}` uses `{module}`, which stands above it"));
                }
                Some(_) => {}
            }
        }
    }
}

/// A path as written, with the depth of the module that it stands in (the root has depth zero).
#[derive(Debug)]
struct ModulePath {
    words: Vec<String>,
    /// What it is called here: its last word, or what stands behind `as`.
    name: String,
    line: usize,
    depth: usize,
    is_use: bool,
}

impl ModulePath {
    /// The first word behind the crate's root, for a path that leads there.
    fn root_name(&self) -> Option<&str> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).filter(|word| *word != "self").collect();
        let ups = words.iter().take_while(|word| **word == "super").count();
        let is_rooted = words.first() == Some(&"crate") || (ups > 0 && ups == self.depth);
        words.get(ups.max(1)).copied().filter(|_| is_rooted)
    }
}

/// Every `use` path, taken out of its groups, and every path in passing that starts at `crate` or `super`.
fn paths(tokens: &[Token], depth: usize) -> Vec<ModulePath> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut paths = Vec::new();
    // For each open brace, whether it opens a module.
    let mut braces = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let here = depth + braces.iter().filter(|is_module| **is_module).count();
        match text(at) {
            "{" => braces.push(at >= 2 && text(at - 2) == "mod"),
            "}" => drop(braces.pop()),
            // Not the `use<…>` of a captured lifetime.
            "use" if text(at + 1) != "<" => {
                let mut tree = UseTree { tokens, at: at + 1, depth: here, paths: &mut paths };
                tree.read(&[]);
                at = tree.at;
                continue;
            }
            "crate" | "super" if text(at + 1) == "::" => {
                let (mut words, line) = (vec![text(at).to_owned()], tokens[at].first_line);
                while text(at + 1) == "::" && is_word(text(at + 2)) {
                    words.push(text(at + 2).to_owned());
                    at += 2;
                }
                paths.push(ModulePath { name: String::new(), words, line, depth: here, is_use: false });
            }
            _ => {}
        }
        at += 1;
    }
    paths
}

fn is_word(text: &str) -> bool {
    text.starts_with(|mark: char| mark.is_alphabetic() || mark == '_')
}

/// Takes the paths out of `a::{b, c::{d as e, f}};`.
struct UseTree<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    paths: &'a mut Vec<ModulePath>,
}

impl UseTree<'_> {
    fn text(&self) -> &str {
        self.tokens.get(self.at).map_or(";", |token| token.text.as_str())
    }

    /// Reads one branch; stops at the mark behind it.
    fn read(&mut self, above: &[String]) {
        let mut words = above.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |token| token.first_line);
        let mut name = None;
        loop {
            match self.text() {
                "," | "}" | ";" => break,
                "{" => {
                    while !["}", ";"].contains(&self.text()) {
                        self.at += 1;
                        if !["}", ";"].contains(&self.text()) {
                            self.read(&words);
                        }
                    }
                    self.at += usize::from(self.text() == "}");
                    return;
                }
                "as" => {
                    self.at += 1;
                    name = Some(self.text().to_owned());
                }
                "::" | "#" | "r" => {}
                word => words.push(word.to_owned()),
            }
            self.at += 1;
        }
        let name = name.or_else(|| words.iter().rfind(|word| *word != "self").cloned()).unwrap_or_default();
        self.paths.push(ModulePath { words, name, line, depth: self.depth, is_use: true });
    }
}
