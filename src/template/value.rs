//! What a template is filled with: the values of JSON, an object's fields in the order in which they came.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value of a template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(String),
    /// Values in a row.
    List(Vec<Value>),
    /// Values by name: a struct of Go's, which has these fields and no others.
    Map(Vec<(String, Value)>),
    /// Values by name: a map of Go's, which answers a key that it has not with nothing.
    AnyKey(Vec<(String, Value)>),
    /// A list, a map or a pointer of Go's that is nil: null as JSON.
    NilOf(Kind),
    /// A field whose value is empty, so that JSON leaves it out.
    Unwritten(Box<Value>),
    /// What answers when it is given a key, and is itself no part of the object: a method of Go's.
    ByKey(BTreeMap<String, String>),
}

/// What can be nil in Go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    List,
    Map,
    Pointer,
}

impl Value {
    /// Anything that can be written as JSON.
    pub(crate) fn of(data: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&serde_json::to_string(data)?)
    }

    /// An object whose fields are text.
    pub(crate) fn of_fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        Self::Map(fields.into_iter().map(|(name, text)| (name.to_owned(), Self::Text(text))).collect())
    }

    pub(super) fn from_index(at: usize) -> Self {
        Self::Int(i128::try_from(at).unwrap_or(i128::MAX))
    }

    /// Go's truth: what is empty or zero is false.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(on) => *on,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(fields) | Self::AnyKey(fields) => !fields.is_empty(),
            Self::NilOf(_) | Self::ByKey(_) => false,
            Self::Unwritten(value) => value.is_true(),
        }
    }

    /// Whether it is a field for those alone who ask for it by name.
    pub(super) fn is_hidden(&self) -> bool {
        matches!(self, Self::ByKey(_) | Self::Unwritten(_))
    }

    /// As JSON on one line, or with `indent` as Docker's inspect prints it.
    pub(crate) fn json(&self, indent: Option<&str>) -> String {
        let mut out = Vec::new();
        let written = match indent {
            None => serde_json::to_writer(&mut out, self),
            Some(indent) => {
                let form = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
                self.serialize(&mut serde_json::Serializer::with_formatter(&mut out, form))
            }
        };
        written.expect("a value is made of JSON");
        String::from_utf8(out).expect("JSON is UTF-8")
    }
}

/// Go's `%v`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil | Self::NilOf(Kind::Pointer) => f.write_str("<nil>"),
            Self::NilOf(Kind::List) => f.write_str("[]"),
            Self::NilOf(Kind::Map) => f.write_str("map[]"),
            Self::Bool(on) => write!(f, "{on}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { " " })?;
                }
                f.write_str("]")
            }
            Self::Map(fields) | Self::AnyKey(fields) => {
                let mut sorted: Vec<_> = fields.iter().filter(|(_, value)| !value.is_hidden()).collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                f.write_str("map[")?;
                for (at, (key, value)) in sorted.into_iter().enumerate() {
                    write!(f, "{}{key}:{value}", if at == 0 { "" } else { " " })?;
                }
                f.write_str("]")
            }
            Self::Unwritten(value) => value.fmt(f),
            Self::ByKey(_) => Ok(()),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil | Self::NilOf(_) => serializer.serialize_unit(),
            Self::Bool(on) => serializer.serialize_bool(*on),
            Self::Int(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => serializer.serialize_i64(number),
                (_, Ok(number)) => serializer.serialize_u64(number),
                _ => serializer.serialize_i128(*number),
            },
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => items.serialize(serializer),
            Self::Map(fields) | Self::AnyKey(fields) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in fields.iter().filter(|(_, value)| !value.is_hidden()) {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Unwritten(value) => value.serialize(serializer),
            Self::ByKey(_) => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Bool(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Int(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = map.next_entry()? {
            fields.push(entry);
        }
        Ok(Value::Map(fields))
    }
}
