//! Which key group a key belongs to, and how many groups a job has: Apache Flink's formulas (`KeyGroupRangeAssignment`,
//! `MathUtils.murmurHash`).

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::ordered::Ordered;

/// How a key becomes the 32-bit hash that decides its key group. Fixed for the life of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyHash {
    /// XXH3 of the key's bytes, its lower half (default).
    #[default]
    Xxh3,
    /// Java's `hashCode`: numbers and text then lie in the groups in which Apache Flink has them.
    Java,
}

impl KeyHash {
    /// The hash of a key whose bytes are `encoded`.
    ///
    /// # Errors
    /// `Fix` when Java has no such hash for this type.
    #[inline]
    pub(crate) fn hash<K: Ordered + ?Sized>(self, key: &K, encoded: &[u8]) -> Result<i32> {
        match self {
            KeyHash::Xxh3 => Ok(xxhash_rust::xxh3::xxh3_64(encoded) as u32 as i32),
            KeyHash::Java => key.java_hash().ok_or_else(|| {
                let message = format!(
                    "a key of type {} has no hash of Java's: use numbers or text, or the default hash",
                    K::name()
                );
                Error::new(ErrorKind::Fix, message)
            }),
        }
    }
}

/// The key group, of `max_groups`, of a key with this hash.
///
/// ```
/// assert_eq!(bedload::key_group(42, 128), 29);
/// ```
#[inline]
pub fn key_group(hash: i32, max_groups: u32) -> u16 {
    (murmur(hash) % max_groups) as u16
}

/// How many key groups a job gets when nobody says: room to grow to one and a half times its workers, as a power of two between
/// 128 and 32,768.
pub fn default_max_groups(workers: u32) -> u32 {
    let wanted = u64::from(workers) + u64::from(workers / 2);
    wanted.next_power_of_two().clamp(128, u64::from(bedload_snapshot::KEY_GROUPS_MAX)) as u32
}

/// One round of MurmurHash3 for 32 bits, with Flink's seed and its way to make the result positive.
#[inline]
fn murmur(code: i32) -> u32 {
    let mut code = (code as u32).wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    code = code.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    code ^= 4;
    code = (code ^ (code >> 16)).wrapping_mul(0x85eb_ca6b);
    code = (code ^ (code >> 13)).wrapping_mul(0xc2b2_ae35);
    code ^= code >> 16;
    match code as i32 {
        positive @ 0.. => positive as u32,
        i32::MIN => 0,
        negative => negative.unsigned_abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bedload_snapshot::KeyGroups;

    /// The lines of one part of `KEY_GROUPS.txt`, which was printed by Flink.
    fn part(title: &str) -> impl Iterator<Item = Vec<&'static str>> {
        let text = include_str!("../tests/KEY_GROUPS.txt");
        let lines = text.lines().skip_while(move |line| !line.starts_with(title)).skip(1);
        lines.take_while(|line| !line.starts_with('#')).map(|line| line.split_whitespace().collect())
    }

    fn number_in<T: std::str::FromStr>(word: &str) -> T {
        word.split_once('=').and_then(|(_, number)| number.parse().ok()).unwrap()
    }

    #[test]
    fn hashes_are_mixed_as_in_flink() {
        let mut count = 0;
        for words in part("# murmurHash") {
            let code: i32 = words[1].parse().unwrap();
            assert_eq!(murmur(code).to_string(), words[2]);
            assert_eq!(key_group(code, 128), number_in::<u16>(words[3]));
            assert_eq!(key_group(code, 4096), number_in::<u16>(words[4]));
            count += 1;
        }
        assert_eq!(count, 9);
    }

    #[test]
    fn keys_lie_in_the_groups_in_which_flink_has_them() {
        let mut count = 0;
        for words in part("# keys") {
            let text = words[1].trim_matches('\'');
            let hash = match words[0] {
                "Long" => text.parse::<i64>().unwrap().java_hash(),
                _ => text.java_hash(),
            };
            assert_eq!(hash, Some(number_in(words[2])), "{words:?}");
            assert_eq!(key_group(hash.unwrap(), 128), number_in::<u16>(words[3]), "{words:?}");
            assert_eq!(key_group(hash.unwrap(), 32_768), number_in::<u16>(words[4]), "{words:?}");
            count += 1;
        }
        assert_eq!(count, 8);
    }

    #[test]
    fn ranges_and_their_number_are_those_of_flink() {
        let mut count = 0;
        for words in part("# ranges") {
            let number = |at: usize| -> u32 { words[at].parse().unwrap() };
            let groups = KeyGroups::of_worker(number(0), number(1), number(2));
            assert_eq!(words[3], format!("[{},{}]", groups.first, groups.last));
            count += 1;
        }
        for words in part("# default max parallelism") {
            assert_eq!(default_max_groups(words[0].parse().unwrap()).to_string(), words[2]);
            count += 1;
        }
        assert_eq!(count, 24 + 9);
    }

    #[test]
    fn the_default_hash_stays_what_it_is() {
        let hash = |bytes: &[u8]| KeyHash::Xxh3.hash(bytes, bytes).unwrap();
        let found = [b"".as_slice(), b"a", b"N14228", &[0; 40]].map(|key| (hash(key), key_group(hash(key), 128)));
        assert_eq!(found, [(953390274, 45), (513166879, 88), (-830368090, 61), (642603689, 57)]);
    }
}
