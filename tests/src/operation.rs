//! One operation, as six bytes.

use crate::random::Random;

/// An operation: a kind and numbers whose meaning depends on it; every combination is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Chooses what is done.
    pub kind: u8,
    /// Usually the key.
    pub a: u16,
    /// Usually a second key or a number.
    pub b: u16,
    /// Usually a length or a life.
    pub c: u8,
}

impl Operation {
    /// Reads a list from any bytes.
    pub fn list(bytes: &[u8]) -> Vec<Operation> {
        let read = |chunk: &[u8]| Operation {
            kind: chunk[0],
            a: u16::from_le_bytes([chunk[1], chunk[2]]),
            b: u16::from_le_bytes([chunk[3], chunk[4]]),
            c: chunk[5],
        };
        bytes.chunks_exact(6).map(read).collect()
    }

    /// A list from a seed.
    pub fn random_list(random: &mut Random, count: usize) -> Vec<Operation> {
        let mut bytes = Vec::with_capacity(count * 8);
        while bytes.len() < count * 6 {
            bytes.extend_from_slice(&random.draw().to_le_bytes());
        }
        bytes.truncate(count * 6);
        Operation::list(&bytes)
    }

    /// Whether it is one write (or none) to one store: what a crash or an error leaves is the state before it or after it.
    /// Walks write many times; checkpoints and moves use other stores and directories.
    pub fn is_one_step(self) -> bool {
        !matches!(self.kind % 64, 44 | 53 | 54 | 63)
    }
}
