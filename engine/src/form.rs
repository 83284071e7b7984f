//! What was written by an [`Ordered`] type, read and written by the name of its form: for tools that do not have the type.

use serde_json::Value;

use crate::error::{Result, fix};
use crate::hex::{from_hex, to_hex};
use crate::key_groups::KeyHash;
use crate::ordered::Ordered;

/// How deep forms may lie in each other: a name comes from a manifest.
const DEPTH_MAX: usize = 16;

/// The form of keys, namespaces or keys of maps, by the name that stands in a checkpoint.
///
/// ```
/// use bedload::{Form, Ordered};
///
/// let form = Form::parse("(str, i64)").unwrap();
/// let mut bytes = Vec::new();
/// ("Ely", -7i64).encode(&mut bytes);
/// assert_eq!(form.show(&bytes).unwrap().to_string(), r#"["Ely",-7]"#);
/// assert_eq!(form.read(r#"["Ely", -7]"#)?, bytes);
/// # Ok::<(), bedload::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    name: String,
    part: Part,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    U8,
    U16,
    U32,
    U64,
    U128,
    I8,
    I16,
    I32,
    I64,
    I128,
    Bool,
    Unit,
    Bytes,
    Text,
    Array(usize),
    Option(Box<Part>),
    Tuple(Vec<Part>),
}

const SIMPLE: [(&str, Part); 14] = [
    ("u8", Part::U8),
    ("u16", Part::U16),
    ("u32", Part::U32),
    ("u64", Part::U64),
    ("u128", Part::U128),
    ("i8", Part::I8),
    ("i16", Part::I16),
    ("i32", Part::I32),
    ("i64", Part::I64),
    ("i128", Part::I128),
    ("bool", Part::Bool),
    ("()", Part::Unit),
    ("bytes", Part::Bytes),
    ("str", Part::Text),
];

impl Form {
    /// The form of this name; none when it is one of a program's own types.
    pub fn parse(name: &str) -> Option<Form> {
        let (part, rest) = parse(name, DEPTH_MAX)?;
        rest.is_empty().then(|| Form { name: name.to_owned(), part })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value in `bytes`: numbers, text, `null`, arrays; bytes, and numbers of more than 64 bits, as text. None when they are not of
    /// this form.
    pub fn show(&self, mut bytes: &[u8]) -> Option<Value> {
        let value = show(&self.part, &mut bytes)?;
        bytes.is_empty().then_some(value)
    }

    /// The bytes of a value as [`show`](Form::show) gives it. Text and bytes need no quotes where they stand alone.
    ///
    /// # Errors
    /// `Fix` when `text` is no value of this form.
    pub fn read(&self, text: &str) -> Result<Vec<u8>> {
        let value = match self.part {
            // Numbers of more than 64 bits would lose digits as numbers of JSON.
            Part::Text | Part::Bytes | Part::Array(_) | Part::U128 | Part::I128 => Value::String(text.to_owned()),
            _ => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        let mut bytes = Vec::new();
        let written = write(&self.part, &value, &mut bytes);
        written.map(|()| bytes).ok_or_else(|| {
            let text: String = text.chars().take(100).collect();
            fix(format!("{text:?} is no {}: tuples are written as JSON arrays, bytes in hexadecimal digits", self.name))
        })
    }

    /// The hash of a key of this form whose bytes are `encoded`.
    ///
    /// # Errors
    /// `Fix` when Java has no hash of it, `Damaged` when the bytes are not of this form.
    pub(crate) fn hash(&self, hash: KeyHash, encoded: &[u8]) -> Result<i32> {
        let mut bytes = encoded;
        match self.part {
            Part::I8 => hash.hash(&i8::decode(&mut bytes)?, encoded),
            Part::I16 => hash.hash(&i16::decode(&mut bytes)?, encoded),
            Part::I32 => hash.hash(&i32::decode(&mut bytes)?, encoded),
            Part::I64 => hash.hash(&i64::decode(&mut bytes)?, encoded),
            Part::Text => hash.hash(&*str::decode(&mut bytes)?, encoded),
            _ => hash.hash(encoded, encoded),
        }
    }
}

fn parse(name: &str, depth: usize) -> Option<(Part, &str)> {
    let depth = depth.checked_sub(1)?;
    if let Some(rest) = name.strip_prefix("option ") {
        let (part, rest) = parse(rest, depth)?;
        return Some((Part::Option(Box::new(part)), rest));
    }
    if let Some(rest) = name.strip_prefix("[u8; ") {
        let (count, rest) = rest.split_once(']')?;
        return Some((Part::Array(count.parse().ok()?), rest));
    }
    if let Some(mut rest) = name.strip_prefix('(').filter(|rest| !rest.starts_with(')')) {
        let mut parts = Vec::new();
        loop {
            let (part, behind) = parse(rest, depth)?;
            parts.push(part);
            if let Some(behind) = behind.strip_prefix(')') {
                return Some((Part::Tuple(parts), behind));
            }
            rest = behind.strip_prefix(", ")?;
        }
    }
    let end = if name.starts_with("()") { 2 } else { name.find([',', ')']).unwrap_or(name.len()) };
    let (word, rest) = name.split_at(end);
    SIMPLE.iter().find(|(known, _)| *known == word).map(|(_, part)| (part.clone(), rest))
}

fn show(part: &Part, bytes: &mut &[u8]) -> Option<Value> {
    Some(match part {
        Part::U8 => u8::decode(bytes).ok()?.into(),
        Part::U16 => u16::decode(bytes).ok()?.into(),
        Part::U32 => u32::decode(bytes).ok()?.into(),
        Part::U64 => u64::decode(bytes).ok()?.into(),
        Part::U128 => u128::decode(bytes).ok()?.to_string().into(),
        Part::I8 => i8::decode(bytes).ok()?.into(),
        Part::I16 => i16::decode(bytes).ok()?.into(),
        Part::I32 => i32::decode(bytes).ok()?.into(),
        Part::I64 => i64::decode(bytes).ok()?.into(),
        Part::I128 => i128::decode(bytes).ok()?.to_string().into(),
        Part::Bool => bool::decode(bytes).ok()?.into(),
        Part::Unit => Value::Null,
        Part::Bytes => to_hex(&<[u8]>::decode(bytes).ok()?).into(),
        Part::Text => str::decode(bytes).ok()?.into(),
        Part::Array(count) => {
            let (array, rest) = bytes.split_at_checked(*count)?;
            *bytes = rest;
            to_hex(array).into()
        }
        Part::Option(part) => match bool::decode(bytes).ok()? {
            true => show(part, bytes)?,
            false => Value::Null,
        },
        Part::Tuple(parts) => Value::Array(parts.iter().map(|part| show(part, bytes)).collect::<Option<_>>()?),
    })
}

fn write(part: &Part, value: &Value, out: &mut Vec<u8>) -> Option<()> {
    fn number<T: Ordered + std::str::FromStr>(value: &Value, out: &mut Vec<u8>) -> Option<()> {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.parse::<T>().ok()?.encode(out);
        Some(())
    }
    match part {
        Part::U8 => number::<u8>(value, out)?,
        Part::U16 => number::<u16>(value, out)?,
        Part::U32 => number::<u32>(value, out)?,
        Part::U64 => number::<u64>(value, out)?,
        Part::U128 => number::<u128>(value, out)?,
        Part::I8 => number::<i8>(value, out)?,
        Part::I16 => number::<i16>(value, out)?,
        Part::I32 => number::<i32>(value, out)?,
        Part::I64 => number::<i64>(value, out)?,
        Part::I128 => number::<i128>(value, out)?,
        Part::Bool => value.as_bool()?.encode(out),
        Part::Unit => value.is_null().then_some(())?,
        Part::Bytes => from_hex(value.as_str()?)?.encode(out),
        Part::Text => value.as_str()?.encode(out),
        Part::Array(count) => out.extend(from_hex(value.as_str()?).filter(|bytes| bytes.len() == *count)?),
        Part::Option(part) => {
            (!value.is_null()).encode(out);
            if !value.is_null() {
                write(part, value, out)?;
            }
        }
        Part::Tuple(parts) => {
            let values = value.as_array().filter(|values| values.len() == parts.len())?;
            parts.iter().zip(values).try_for_each(|(part, value)| write(part, value, out))?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the type writes is shown as `shown`, and read from it again.
    fn check<T: Ordered>(value: &T, shown: &str) {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        let form = Form::parse(&T::name()).unwrap_or_else(|| panic!("{} is not understood", T::name()));
        let found = form.show(&bytes).unwrap();
        assert_eq!(found.to_string(), shown, "{}", T::name());
        let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        assert_eq!(form.read(&text).unwrap(), bytes, "{}", T::name());
        for hash in [KeyHash::Xxh3, KeyHash::Java] {
            assert_eq!(form.hash(hash, &bytes).ok(), hash.hash(value, &bytes).ok(), "{}", T::name());
        }
        if !bytes.is_empty() {
            assert_eq!(form.show(&bytes[..bytes.len() - 1]), None, "{} cut short", T::name());
        }
    }

    #[test]
    fn every_type_of_keys_is_understood_by_its_name() {
        check(&7u8, "7");
        check(&700u16, "700");
        check(&70_000u32, "70000");
        check(&u64::MAX, "18446744073709551615");
        check(&u128::MAX, "\"340282366920938463463374607431768211455\"");
        check(&-7i8, "-7");
        check(&-700i16, "-700");
        check(&-70_000i32, "-70000");
        check(&i64::MIN, "-9223372036854775808");
        check(&i128::MIN, "\"-170141183460469231731687303715884105728\"");
        check(&true, "true");
        check(&(), "null");
        check(&vec![0u8, 255], "\"00ff\"");
        check(&"Ely\0".to_owned(), "\"Ely\\u0000\"");
        check(&[1u8, 2, 3], "\"010203\"");
        check(&Some(7u32), "7");
        check(&None::<u32>, "null");
        check(&("a".to_owned(), 7i64), "[\"a\",7]");
        check(&((1u8, "a".to_owned()), Some((2u16, ())), false), "[[1,\"a\"],[2,null],false]");
    }

    #[test]
    fn names_of_other_types_and_hostile_ones_are_none() {
        for name in ["", "u7", "(u8", "(u8,u8)", "u8)", "option", "[u8; x]", "window", "(u8, )", "(())x"] {
            assert_eq!(Form::parse(name), None, "{name}");
        }
        assert_eq!(Form::parse(&"(".repeat(100_000)), None);
        assert_eq!(Form::parse(&"option ".repeat(100_000)), None);
        let array = Form::parse("[u8; 18446744073709551615]").unwrap();
        assert_eq!(array.show(&[0; 8]), None);
    }

    #[test]
    fn what_is_no_value_of_a_form_is_told() {
        for (form, text) in [("u8", "300"), ("(str, i64)", "[1, 2]"), ("bytes", "0g"), ("[u8; 2]", "00"), ("bool", "1")]
        {
            let error = Form::parse(form).unwrap().read(text).unwrap_err().to_string();
            assert!(error.contains(form) && error.contains("JSON arrays"), "{error}");
        }
    }
}
