//! What was counted, in a form that can be compared: sums, and a digest of every key with all that it holds.
//!
//! Parts of the keys add up to the whole, in any order: the digest is the sum of a hash for each key.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// What was counted. What each sum is of, the input tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub sums: Vec<i64>,
    pub digest: u64,
}

impl Totals {
    /// Adds one key: its sums, and its content as bytes.
    pub fn add(&mut self, sums: &[i64], content: &[u8]) {
        self.add_sums(sums);
        self.digest = self.digest.wrapping_add(xxh3_64(content));
    }

    /// Adds what was counted of other keys.
    pub fn join(&mut self, other: &Totals) {
        self.add_sums(&other.sums);
        self.digest = self.digest.wrapping_add(other.digest);
    }

    fn add_sums(&mut self, sums: &[i64]) {
        self.sums.resize(self.sums.len().max(sums.len()), 0);
        for (sum, more) in self.sums.iter_mut().zip(sums) {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_whatever_their_order() {
        let keys: [(&[i64], &[u8]); 3] = [(&[1, 5], b"a"), (&[1, -2], b"b"), (&[1, 0], b"c")];
        let all = |order: &[usize]| {
            let mut totals = Totals::default();
            order.iter().for_each(|key| totals.add(keys[*key].0, keys[*key].1));
            totals
        };
        let mut parts = all(&[2]);
        parts.join(&all(&[1, 0]));
        assert_eq!(parts, all(&[0, 1, 2]));
        assert_eq!(parts.sums, [3, 3]);
    }

    #[test]
    fn what_keys_hold_counts_and_not_sums_alone() {
        let of = |first: &[u8], second: &[u8]| {
            let mut totals = Totals::default();
            totals.add(&[1], first);
            totals.add(&[1], second);
            totals
        };
        assert_ne!(of(b"a 1", b"b 2"), of(b"a 2", b"b 1"));
    }
}
