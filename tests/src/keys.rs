//! Keys of the tests: few, so that operations meet; of every shape the store tells apart.
//!
//! ```text
//!   byte 0   partition: a, b, c or d
//!   byte 1   p: point · s: scanned, prefix of three bytes · t: scanned, prefix of two (a queue)
//!            l: point, list (clock 0) · c: point, counter (clock 1)
//!   rest     a number, sometimes with a long tail
//! ```

use bedload_lsm::{ClockId, Fold, KeyShape, Rule, Rules};

/// The shape of the test keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestKeys;

impl TestKeys {
    /// The key of a number: every number is a key, and many numbers are one key.
    pub fn key(number: u16) -> Vec<u8> {
        let partition = b"abcd"[usize::from(number & 3)];
        let kind = b"pstlc"[usize::from((number >> 2) % 5)];
        let index = (number >> 5) % 24;
        let mut key = vec![partition, kind];
        match kind {
            b's' => key.extend_from_slice(&[b'0' + (index % 3) as u8, b'a' + index as u8]),
            _ => key.extend_from_slice(format!("{index:02}").as_bytes()),
        }
        if index % 7 == 3 {
            key.extend_from_slice("-a-rather-long-tail-of-a-key".as_bytes());
        }
        key
    }

    /// The start of a queue.
    pub fn queue(number: u16) -> Vec<u8> {
        vec![b"abcd"[usize::from(number & 3)], b't']
    }

    /// A prefix of keys: of a partition, a kind, or one scan prefix.
    pub fn prefix(number: u16) -> Vec<u8> {
        let mut key = TestKeys::key(number);
        key.truncate(usize::from(number >> 11) % 4);
        key
    }
}

impl KeyShape for TestKeys {
    fn name(&self) -> &str {
        "test"
    }

    fn version(&self) -> u32 {
        1
    }

    fn partition_bytes(&self, key: &[u8]) -> usize {
        key.len().min(1)
    }

    fn scan_prefix_bytes(&self, key: &[u8]) -> Option<usize> {
        match key.get(1) {
            Some(b's') if key.len() >= 3 => Some(3),
            Some(b't') => Some(2),
            _ => None,
        }
    }

    fn is_queued(&self, key: &[u8]) -> bool {
        key.get(1) == Some(&b't')
    }
}

/// The merge rules of the test keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestRules;

impl Rules for TestRules {
    fn rule(&self, key: &[u8]) -> Option<Rule> {
        match key.get(1) {
            Some(b'l') => Some(Rule { fold: Fold::Append, clock: Some(ClockId(0)) }),
            Some(b'c') => Some(Rule { fold: Fold::AddI64, clock: Some(ClockId(1)) }),
            _ => None,
        }
    }
}

/// Key groups first, point keys behind.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupedKeys;

impl KeyShape for GroupedKeys {
    fn name(&self) -> &str {
        "grouped"
    }

    fn version(&self) -> u32 {
        1
    }

    fn partition_bytes(&self, key: &[u8]) -> usize {
        key.len().min(2)
    }

    fn scan_prefix_bytes(&self, _: &[u8]) -> Option<usize> {
        None
    }
}
