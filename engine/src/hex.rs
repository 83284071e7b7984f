//! Bytes that are hexadecimal digits in JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that are hexadecimal digits in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HexBytes(pub Vec<u8>);

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.serialize_str(&self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<HexBytes, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.as_bytes();
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        let pairs = digits.chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        pairs
            .collect::<Option<Vec<u8>>>()
            .map(HexBytes)
            .ok_or_else(|| serde::de::Error::custom("bytes that are not hexadecimal"))
    }
}
