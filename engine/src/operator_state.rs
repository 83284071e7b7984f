//! State of an operator that belongs to no key: lists that are shared out anew, lists that everybody gets whole, and maps that are the
//! same everywhere. Small, in memory, and in the claim of each checkpoint as a whole.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{Codec, Postcard};
use crate::error::Result;
use crate::hex::HexBytes;

/// The state of an operator that belongs to no key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorState {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    lists: BTreeMap<String, Vec<HexBytes>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unions: BTreeMap<String, Vec<HexBytes>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    broadcasts: BTreeMap<String, BTreeMap<String, HexBytes>>,
}

fn encode<T: Serialize + DeserializeOwned>(item: &T) -> Result<HexBytes> {
    let mut bytes = Vec::new();
    Postcard::encode(item, &mut bytes)?;
    Ok(HexBytes(bytes))
}

fn decode_all<T: Serialize + DeserializeOwned>(items: Option<&Vec<HexBytes>>) -> Result<Vec<T>> {
    items.into_iter().flatten().map(|bytes| Postcard::decode(&bytes.0)).collect()
}

impl OperatorState {
    /// A list of which each worker has a part: after a rescale its elements are shared out anew, one to each worker in turn.
    ///
    /// # Errors
    /// `Damaged` when its elements are of another type.
    pub fn list<T: Serialize + DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        decode_all(self.lists.get(name))
    }

    /// Sets this worker's part of a list.
    ///
    /// # Errors
    /// `Fix` when an element cannot be written.
    pub fn set_list<T: Serialize + DeserializeOwned>(&mut self, name: &str, items: &[T]) -> Result<()> {
        let items = items.iter().map(encode).collect::<Result<_>>()?;
        self.lists.insert(name.to_owned(), items);
        Ok(())
    }

    /// A list of which each worker writes a part and, restored, gets all.
    ///
    /// # Errors
    /// As [`OperatorState::list`].
    pub fn union<T: Serialize + DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        decode_all(self.unions.get(name))
    }

    /// Sets this worker's part of such a list.
    ///
    /// # Errors
    /// As [`OperatorState::set_list`].
    pub fn set_union<T: Serialize + DeserializeOwned>(&mut self, name: &str, items: &[T]) -> Result<()> {
        let items = items.iter().map(encode).collect::<Result<_>>()?;
        self.unions.insert(name.to_owned(), items);
        Ok(())
    }

    /// A value of a map that is the same on every worker, because each of them gets the same input.
    ///
    /// # Errors
    /// As [`OperatorState::list`].
    pub fn broadcast<T: Serialize + DeserializeOwned>(&self, name: &str, key: &str) -> Result<Option<T>> {
        let found = self.broadcasts.get(name).and_then(|map| map.get(key));
        found.map(|bytes| Postcard::decode(&bytes.0)).transpose()
    }

    /// The keys of such a map, in order.
    pub fn broadcast_keys(&self, name: &str) -> impl Iterator<Item = &str> {
        self.broadcasts.get(name).into_iter().flat_map(|map| map.keys().map(String::as_str))
    }

    /// Sets a value of such a map, or removes it.
    ///
    /// # Errors
    /// As [`OperatorState::set_list`].
    pub fn set_broadcast<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &str,
        key: &str,
        value: Option<&T>,
    ) -> Result<()> {
        let map = self.broadcasts.entry(name.to_owned()).or_default();
        match value {
            Some(value) => map.insert(key.to_owned(), encode(value)?),
            None => map.remove(key),
        };
        Ok(())
    }

    /// What worker `index` of `count` gets of what all former workers had, in the order of their key groups.
    pub(crate) fn share(former: &[OperatorState], index: usize, count: usize) -> OperatorState {
        let mut mine = OperatorState::default();
        let mut dealt: BTreeMap<&str, usize> = BTreeMap::new();
        for state in former {
            for (name, items) in &state.lists {
                let (list, number) = (mine.lists.entry(name.clone()).or_default(), dealt.entry(name).or_default());
                for item in items {
                    if *number % count == index {
                        list.push(item.clone());
                    }
                    *number += 1;
                }
            }
            for (name, items) in &state.unions {
                mine.unions.entry(name.clone()).or_default().extend(items.iter().cloned());
            }
        }
        mine.broadcasts = former.first().map(|state| state.broadcasts.clone()).unwrap_or_default();
        mine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_dealt_out_and_unions_are_not() {
        let mut left = OperatorState::default();
        left.set_list("offsets", &[1u64, 2, 3]).unwrap();
        left.set_union("all", &["a".to_owned()]).unwrap();
        left.set_broadcast("rules", "limit", Some(&7u8)).unwrap();
        let mut right = OperatorState::default();
        right.set_list("offsets", &[4u64, 5]).unwrap();
        right.set_union("all", &["b".to_owned()]).unwrap();
        right.set_broadcast("rules", "limit", Some(&7u8)).unwrap();
        let former = [left, right];
        let shared: Vec<OperatorState> = (0..2).map(|index| OperatorState::share(&former, index, 2)).collect();
        assert_eq!(shared[0].list::<u64>("offsets").unwrap(), [1, 3, 5]);
        assert_eq!(shared[1].list::<u64>("offsets").unwrap(), [2, 4]);
        for state in &shared {
            assert_eq!(state.union::<String>("all").unwrap(), ["a", "b"]);
            assert_eq!(state.broadcast::<u8>("rules", "limit").unwrap(), Some(7));
            assert_eq!(state.broadcast_keys("rules").collect::<Vec<_>>(), ["limit"]);
        }
        assert!(shared[0].list::<String>("nothing").unwrap().is_empty());
        let text = serde_json::to_string(&shared[0]).unwrap();
        assert_eq!(serde_json::from_str::<OperatorState>(&text).unwrap(), shared[0]);
    }
}
