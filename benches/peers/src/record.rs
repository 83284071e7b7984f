//! A run as a line of JSON: what was run, what it found, what it cost.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::measure::Costs;

/// One run. Figures carry their unit at the end of their name: `_ns` for each operation, `_us`, `_ms`, `_bytes`, `_ratio`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub store: String,
    pub workload: String,
    pub keys: u64,
    pub memory_mib: u64,
    /// A limit of all memory, page cache included, if one was asked for.
    #[serde(default)]
    pub limit_mib: Option<u64>,
    pub repetition: u32,
    pub operations: u64,
    pub figures: BTreeMap<String, f64>,
    pub costs: Costs,
}

impl Record {
    /// Adds the run to a file of results.
    pub fn append_to(&self, path: &Path) -> Result<()> {
        let mut line = serde_json::to_string(self).context("writing a result as JSON")?;
        line.push('\n');
        let mut file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.as_mut().map_err(|error| anyhow::anyhow!("opening {}: {error}", path.display()))?;
        file.write_all(line.as_bytes()).with_context(|| format!("writing {}", path.display()))
    }

    /// Reads all runs of some files.
    pub fn read_all<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let place = || format!("line {} of {}", index + 1, path.display());
                records.push(serde_json::from_str(line).with_context(place)?);
            }
        }
        Ok(records)
    }
}
