//! Data for the benches: keys and values as a stream operator has them.

use bedload_lsm::KeyShape;

/// Bytes of a value.
pub const VALUE_BYTES: usize = 100;

/// Keys of 18 bytes: group u16, a state's id, a number spread over the key space; a second state's keys are scanned.
#[derive(Clone, Copy, Debug)]
pub struct OperatorKeys;

impl KeyShape for OperatorKeys {
    fn name(&self) -> &str {
        "operator"
    }

    fn version(&self) -> u32 {
        1
    }

    fn partition_bytes(&self, key: &[u8]) -> usize {
        key.len().min(2)
    }

    fn scan_prefix_bytes(&self, key: &[u8]) -> Option<usize> {
        match key.get(2) {
            Some(1) if key.len() >= 11 => Some(11),
            _ => None,
        }
    }
}

/// Mixes a number so that neighbours are far apart (the finalizer of MurmurHash3).
pub fn spread(number: u64) -> u64 {
    let mut mixed = number ^ (number >> 33);
    mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// The key of a point state.
pub fn point_key(number: u64) -> [u8; 18] {
    let mut key = [0; 18];
    let mixed = spread(number);
    key[..2].copy_from_slice(&((mixed % 128) as u16).to_be_bytes());
    key[3..11].copy_from_slice(&mixed.to_be_bytes());
    key[11..18].copy_from_slice(&number.to_be_bytes()[1..]);
    key
}

/// The key of an entry in a map state: `map` is the prefix that scans share.
pub fn map_key(map: u64, entry: u64) -> [u8; 19] {
    let mut key = [0; 19];
    let mixed = spread(map);
    key[..2].copy_from_slice(&((mixed % 128) as u16).to_be_bytes());
    key[2] = 1;
    key[3..11].copy_from_slice(&mixed.to_be_bytes());
    key[11..19].copy_from_slice(&entry.to_be_bytes());
    key
}
