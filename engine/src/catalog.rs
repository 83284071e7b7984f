//! What a claim says of the states in it: their names, how they are written, and what belongs to no key.
//!
//! It stands in each claim as JSON, so that people see what a checkpoint holds, and so that a declaration that does not fit what is stored is
//! refused by name before anything is read.

use bedload_snapshot::Claim;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, fix};
use crate::hex::HexBytes;
use crate::key_groups::KeyHash;
use crate::operator_state::OperatorState;
use crate::spec::{Forms, Spec, StateKind};
use crate::state_key::{Kind, Tag};
use crate::ttl::{Clock, Ttl};

/// The version of this form.
const FORMAT: u32 = 1;

/// What a worker says of its states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalog {
    pub engine: u32,
    /// The form of the keys, once there was one.
    pub keys: Option<String>,
    pub hash: KeyHash,
    pub states: Vec<StateInfo>,
    pub timers: Vec<TimersInfo>,
    #[serde(default)]
    pub operator: OperatorState,
    /// Where the worker's sources are.
    #[serde(default)]
    pub position: HexBytes,
}

/// What is known of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateInfo {
    /// Its name.
    pub name: String,
    /// `value`, `list`, `map`, `sum`, `min`, `max`, or `merged` with a function of the user's; other reducing states and aggregates are
    /// values.
    pub kind: String,
    /// The version of items that are written now.
    pub version: u8,
    /// The earliest version of items that may still be there.
    pub oldest_version: u8,
    /// How its parts are written.
    pub forms: Forms,
    /// How long its items live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// The function that merges it, once a program has declared the state with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionInfo>,
    /// Of a list whose life was made shorter: when the last element ends that was written before, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_until: Option<u64>,
}

/// What is known of the function that merges a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u16,
}

/// What is known of timers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimersInfo {
    /// Their name.
    pub name: String,
    /// The clock that they are due by.
    pub clock: Clock,
}

const KINDS: [(Kind, &str); 7] = [
    (Kind::Value, "value"),
    (Kind::List, "list"),
    (Kind::Sum, "sum"),
    (Kind::Min, "min"),
    (Kind::Max, "max"),
    (Kind::Map, "map"),
    (Kind::Merged, "merged"),
];

impl StateInfo {
    fn new<S: StateKind>(spec: &Spec<S>) -> StateInfo {
        let kind = KINDS.iter().find(|(kind, _)| *kind == spec.kind).map_or("timer", |(_, name)| name);
        StateInfo {
            name: spec.name.to_owned(),
            kind: kind.to_owned(),
            version: spec.version,
            oldest_version: spec.version,
            forms: S::forms(),
            ttl: spec.ttl,
            ends_until: None,
            function: spec
                .function()
                .map(|function| FunctionInfo { name: function.name.to_owned(), version: function.version }),
        }
    }

    /// Takes over the function that another worker says.
    fn join_function(&mut self, other: &StateInfo) -> Result<()> {
        match (&mut self.function, &other.function) {
            (Some(mine), Some(theirs)) if mine.name != theirs.name => Err(fix(format!(
                "state {}: one worker says that {} merges it, and another one {}",
                self.name, mine.name, theirs.name
            ))),
            (Some(mine), Some(theirs)) => {
                mine.version = mine.version.max(theirs.version);
                Ok(())
            }
            (mine, theirs) => {
                *mine = mine.take().or_else(|| theirs.clone());
                Ok(())
            }
        }
    }

    /// The first bytes of its keys.
    pub(crate) fn tag(&self) -> Result<Tag> {
        let kind = KINDS.iter().find(|(_, name)| *name == self.kind).map(|(kind, _)| *kind);
        let kind = kind.ok_or_else(|| {
            fix(format!("state {}: of kind {}, which this version does not know", self.name, self.kind))
        })?;
        let is_merged = !matches!(kind, Kind::Value | Kind::Map);
        Ok(Tag::new(kind, self.ttl.filter(|_| is_merged).map(|ttl| ttl.which_clock()), &self.name))
    }
}

impl Catalog {
    pub fn new(hash: KeyHash) -> Catalog {
        Catalog {
            engine: FORMAT,
            keys: None,
            hash,
            states: Vec::new(),
            timers: Vec::new(),
            operator: OperatorState::default(),
            position: HexBytes::default(),
        }
    }

    /// Reads what a claim says.
    ///
    /// # Errors
    /// `Fix` when the claim is not of this crate, or of a later version of it.
    pub fn read(claim: &Claim) -> Result<Catalog> {
        let place = || format!("checkpoint {} of job {}, worker {}", claim.checkpoint, claim.job, claim.worker);
        let format = claim.attachment.get("engine").and_then(|format| format.as_u64());
        match format {
            Some(format) if format > u64::from(FORMAT) => Err(Error::new(
                ErrorKind::Fix,
                format!("{}: states of format {format}, expected at most {FORMAT}; use a newer bedload", place()),
            )),
            Some(_) => serde_json::from_value(claim.attachment.clone())
                .map_err(|cause| Error::new(ErrorKind::Damaged, format!("{}: {cause}", place()))),
            None => Err(fix(format!("{}: says nothing of states; it was not written by an engine", place()))),
        }
    }

    /// Joins what several workers say: they declare the same states, though perhaps not all of them yet.
    pub fn join(&mut self, other: &Catalog) -> Result<()> {
        if self.hash != other.hash {
            return Err(fix(format!(
                "keys are hashed by {:?}, and a checkpoint says {:?}: the hash is fixed for the life of a job",
                self.hash, other.hash
            )));
        }
        match (&self.keys, &other.keys) {
            (Some(mine), Some(theirs)) if mine != theirs => {
                return Err(fix(format!(
                    "keys of form {mine}, and a checkpoint says {theirs}: one job has one type of keys"
                )));
            }
            (None, Some(theirs)) => self.keys = Some(theirs.clone()),
            _ => {}
        }
        for info in &other.states {
            match self.states.iter_mut().find(|known| known.name == info.name) {
                Some(known) => {
                    known.version = known.version.max(info.version);
                    known.oldest_version = known.oldest_version.min(info.oldest_version);
                    known.join_function(info)?;
                    known.ends_until = known.ends_until.max(info.ends_until);
                    // Where one worker had declared another life already and one had not, both are there.
                    let life_ms = |ttl: &Option<Ttl>| ttl.map(|ttl| ttl.after_ms());
                    if life_ms(&known.ttl) < life_ms(&info.ttl) {
                        known.ttl = info.ttl;
                    }
                }
                None => self.states.push(info.clone()),
            }
        }
        for info in &other.timers {
            if !self.timers.contains(info) {
                self.timers.push(info.clone());
            }
        }
        Ok(())
    }

    /// Declares a state: what is stored under its name must be readable by it. `now` reads the clock that it ends by. Gives when the last
    /// element of a list ends whose life was longer before, or 0.
    ///
    /// # Errors
    /// `Fix` with what does not fit.
    pub fn declare<S: StateKind>(&mut self, spec: &Spec<S>, now: u64) -> Result<u64> {
        let info = StateInfo::new(spec);
        let refuse = |what: String| Err(fix(format!("state {}: {what}", info.name)));
        if info.version == 0 {
            return refuse("version 0; versions are 1 to 255".into());
        }
        for known in &self.states {
            if known.name != info.name && known.tag()? == spec.tag() {
                return refuse(format!("its name has the hash of {}: rename one of them", known.name));
            }
        }
        let Some(known) = self.states.iter_mut().find(|known| known.name == info.name) else {
            self.states.push(info);
            return Ok(0);
        };
        if known.kind != info.kind {
            return refuse(format!(
                "declared as {}, and what is stored is a {}: give it another name",
                info.kind, known.kind
            ));
        }
        if known.forms != info.forms {
            return refuse(format!(
                "declared with {:?}, and what is stored has {:?}: give it another name, or keep its types",
                info.forms, known.forms
            ));
        }
        let clocks = (known.ttl.map(|ttl| ttl.which_clock()), info.ttl.map(|ttl| ttl.which_clock()));
        if clocks.0 != clocks.1 && !matches!(spec.kind, Kind::Value | Kind::Map) {
            return refuse(format!(
                "declared to end by {:?}, and what is stored ends by {:?}: lists and numbers keep their clock; give it another name",
                clocks.1, clocks.0
            ));
        }
        if known.version > info.version {
            return refuse(format!(
                "items of version {}, and this program knows version {}: use the newer program",
                known.version, info.version
            ));
        }
        if let Some(unread) = [known.oldest_version, known.version].into_iter().find(|version| !spec.reads(*version)) {
            return refuse(format!(
                "items of version {unread}, and the declaration of version {} does not read them: add reads_version, or migrate with a program that does",
                info.version
            ));
        }
        if let (Some(function), Some(stored)) = (spec.function(), &known.function)
            && (stored.name != function.name || !(function.replaces..=function.version).contains(&stored.version))
        {
            return refuse(format!(
                "declared with {function}, and what is stored was merged by {}, version {}: give the state another name, or say which versions \
                 the function replaces",
                stored.name, stored.version
            ));
        }
        known.version = info.version;
        known.function = info.function.or(known.function.take());
        let former = std::mem::replace(&mut known.ttl, info.ttl);
        if let (Kind::List, Some(former), Some(ttl)) = (spec.kind, former, info.ttl)
            && former.after_ms() > ttl.after_ms()
        {
            // What was written by now ends by then.
            known.ends_until = known.ends_until.max(Some(former.expiry(now).at));
        }
        known.ends_until = known.ends_until.filter(|end| *end > now);
        Ok(known.ends_until.unwrap_or(0))
    }

    /// Says that no items of earlier versions are left.
    pub fn migrated<S: StateKind>(&mut self, spec: &Spec<S>) {
        if let Some(known) = self.states.iter_mut().find(|known| known.name == spec.name) {
            known.oldest_version = spec.version;
        }
    }

    /// Declares timers.
    ///
    /// # Errors
    /// `Fix` when they are known with another clock, or others have the hash of their name.
    pub fn declare_timers(&mut self, name: &str, clock: Clock) -> Result<()> {
        let tag = Tag::new(Kind::Timer, Some(clock), name);
        let is_taken =
            |known: &&TimersInfo| known.name != name && Tag::new(Kind::Timer, Some(clock), &known.name) == tag;
        if let Some(known) = self.timers.iter().find(is_taken) {
            return Err(fix(format!("timers {name}: their name has the hash of {}: rename one of them", known.name)));
        }
        match self.timers.iter().find(|known| known.name == name) {
            Some(known) if known.clock != clock => Err(fix(format!(
                "timers {name}: declared by {clock:?} time, and what is stored is due by {:?} time: give them another name",
                known.clock
            ))),
            Some(_) => Ok(()),
            None => {
                self.timers.push(TimersInfo { name: name.to_owned(), clock });
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Their queues were one: each fired what was set in the other.
    #[test]
    fn timers_whose_names_have_one_hash_are_refused() {
        let mut seen: HashMap<Tag, String> = HashMap::new();
        let (first, second) = (0..)
            .find_map(|number| {
                let name = format!("timers {number}");
                let earlier = seen.insert(Tag::new(Kind::Timer, Some(Clock::Event), &name), name.clone());
                earlier.map(|earlier| (earlier, name))
            })
            .unwrap();
        let mut catalog = Catalog::new(KeyHash::Xxh3);
        catalog.declare_timers(&first, Clock::Event).unwrap();
        catalog.declare_timers(&first, Clock::Event).unwrap();
        let error = catalog.declare_timers(&second, Clock::Event).unwrap_err().to_string();
        assert!(error.contains(&format!("the hash of {first}")), "{error}");
        assert!(catalog.declare_timers(&first, Clock::Processing).is_err());
    }
}
