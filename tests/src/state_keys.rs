//! Keys of states: some of each of several types.

use std::fmt::Debug;

use bedload::Ordered;

/// How many keys of each type there are.
pub const KEYS: u64 = 14;

/// A type of keys, and some keys of it.
pub trait TestKey: Ordered<Owned = Self> + Ord + Debug + Sized {
    /// The key of a number.
    fn of(number: u64) -> Self;
}

impl TestKey for i64 {
    fn of(number: u64) -> i64 {
        number as i64 * 7 - 40
    }
}

impl TestKey for String {
    /// Some of them are so long that their length takes two bytes.
    fn of(number: u64) -> String {
        let length = [0, 3, 126, 127, 128, 300][number as usize % 6];
        format!("{}\0{number}", "k".repeat(length))
    }
}

impl TestKey for (String, u32) {
    fn of(number: u64) -> (String, u32) {
        ("n".repeat(number as usize % 3), number as u32)
    }
}

/// The number of a key.
pub fn key_number<K: TestKey>(key: &K) -> u64 {
    (0..KEYS).find(|number| K::of(*number) == *key).expect("keys are those that were given")
}
