//! Annotations `org.systemd.property.NAME`: further properties of a container's unit, as runc reads them
//! (runc docs/systemd.md). The value is GVariant's text: `'inactive-or-failed'`, `uint64 5`, `['a', 'b']`, `@as []`.

use std::collections::HashMap;

use super::properties::Property;
use super::wire::Value;
use crate::cgroup::Error;

/// What such an annotation begins with.
pub(crate) const PREFIX: &str = "org.systemd.property.";

/// The properties that annotations ask for.
///
/// # Errors
/// `InvalidSpec` with the annotation's name.
pub(super) fn properties(annotations: &HashMap<String, String>) -> Result<Vec<Property>, Error> {
    let mut wanted: Vec<_> =
        annotations.iter().filter_map(|(key, text)| Some((key, key.strip_prefix(PREFIX)?, text))).collect();
    wanted.sort();
    let property = |(key, name, text): (&String, &str, &String)| {
        let refused = |why: String| Error::InvalidSpec { path: format!("annotations.{key}"), why };
        if name.len() < 3 || !name.bytes().all(|letter| letter.is_ascii_alphabetic()) {
            return Err(refused("is not named after a property of a unit".to_owned()));
        }
        let value = parse(text).ok_or_else(|| refused(format!("{text:?} is not a value as GVariant writes it")))?;
        in_microseconds(name, value).ok_or_else(|| refused(format!("{text:?} is not a number of seconds")))
    };
    wanted.into_iter().map(property).collect()
}

/// Times are documented with `Sec`; over D-Bus they are `USec`, in microseconds.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that does not fit becomes the nearest that does"
)]
fn in_microseconds(name: &str, value: Value) -> Option<Property> {
    let stem = name.strip_suffix("Sec").filter(|stem| stem.ends_with(|last: char| last.is_ascii_lowercase()));
    let Some(stem) = stem else { return Some(Property::new(name.to_owned(), value)) };
    let seconds = match value {
        Value::Double(seconds) => {
            return Some(Property::new(format!("{stem}USec"), Value::UInt64((seconds * 1e6) as u64)));
        }
        Value::Byte(seconds) => seconds.into(),
        Value::UInt16(seconds) => seconds.into(),
        Value::UInt32(seconds) => seconds.into(),
        Value::UInt64(seconds) => seconds,
        Value::Int16(seconds) => u64::try_from(seconds).ok()?,
        Value::Int32(seconds) => u64::try_from(seconds).ok()?,
        Value::Int64(seconds) => u64::try_from(seconds).ok()?,
        _ => return None,
    };
    Some(Property::new(format!("{stem}USec"), Value::UInt64(seconds.checked_mul(1_000_000)?)))
}

/// One value and nothing behind it.
fn parse(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text, depth: 0 };
    let value = reader.value(None)?;
    reader.skip_space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

/// The types that stand as a word before a value.
const WORDS: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];
/// No property is nested deeper; a text of ten thousand brackets is none.
const DEEPEST: usize = 8;

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, letter: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Up to the end of a word or number.
    fn word(&mut self) -> String {
        let inside = |letter: char| letter.is_ascii_alphanumeric() || "+-._".contains(letter);
        let end = self.rest.find(|letter| !inside(letter)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    /// A value of the type `wanted`, or of the one that it says itself.
    fn value(&mut self, wanted: Option<&str>) -> Option<Value> {
        self.skip_space();
        match self.rest.chars().next()? {
            '@' => {
                let end = self.rest.find(char::is_whitespace)?;
                let (typ, rest) = self.rest[1..].split_at(end - 1);
                self.rest = rest;
                (wanted.is_none_or(|wanted| wanted == typ) && is_type(typ)).then_some(())?;
                self.value(Some(typ))
            }
            '\'' | '"' => text_of(self.string()?, wanted.unwrap_or("s")),
            '[' => self.nested(|reader| reader.array(wanted)),
            '(' => self.nested(|reader| reader.structure(wanted)),
            _ => {
                let word = self.word();
                match WORDS.iter().find(|(name, _)| *name == word) {
                    Some((_, typ)) if wanted.is_none_or(|wanted| wanted == *typ) => self.value(Some(typ)),
                    Some(_) => None,
                    None => plain(&word, wanted),
                }
            }
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Option<Value>) -> Option<Value> {
        self.depth += 1;
        let value = if self.depth > DEEPEST { None } else { read(self) };
        self.depth -= 1;
        value
    }

    fn array(&mut self, wanted: Option<&str>) -> Option<Value> {
        self.eat('[');
        let mut element = match wanted {
            Some(wanted) => Some(wanted.strip_prefix('a')?.to_owned()),
            None => None,
        };
        let mut values = Vec::new();
        while !self.eat(']') {
            if !values.is_empty() && !self.eat(',') {
                return None;
            }
            let value = self.value(element.as_deref())?;
            element.get_or_insert_with(|| value.signature());
            values.push(value);
        }
        Some(Value::Array(element?, values))
    }

    fn structure(&mut self, wanted: Option<&str>) -> Option<Value> {
        self.eat('(');
        let mut types = match wanted {
            Some(wanted) => Some(wanted.strip_prefix('(')?.strip_suffix(')')?),
            None => None,
        };
        let mut fields = Vec::new();
        while !self.eat(')') {
            if !fields.is_empty() && !self.eat(',') {
                return None;
            }
            let typ = match &mut types {
                Some(types) => {
                    let (first, rest) = types.split_at_checked(first_type(types)?)?;
                    *types = rest;
                    Some(first)
                }
                None => None,
            };
            fields.push(self.value(typ)?);
        }
        (types.is_none_or(str::is_empty) && !fields.is_empty()).then_some(Value::Struct(fields))
    }

    /// In single or double quotes.
    fn string(&mut self) -> Option<String> {
        let mut letters = self.rest.char_indices();
        let (_, quote) = letters.next()?;
        let mut text = String::new();
        while let Some((at, letter)) = letters.next() {
            match letter {
                letter if letter == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\\' => text.push(match letters.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    letter @ ('\\' | '\'' | '"') => letter,
                    _ => return None,
                }),
                '\0' => return None,
                letter => text.push(letter),
            }
        }
        None
    }
}

fn text_of(text: String, typ: &str) -> Option<Value> {
    match typ {
        "s" => Some(Value::Text(text)),
        "o" => Some(Value::Path(text)),
        "g" if text.len() < 256 => Some(Value::Signature(text)),
        _ => None,
    }
}

/// A number or a truth value. As in GVariant a number without a type is an int32, or a double if it has a point.
fn plain(word: &str, wanted: Option<&str>) -> Option<Value> {
    let usual = match word {
        "true" | "false" => "b",
        word if word.contains('.') => "d",
        _ => "i",
    };
    Some(match wanted.unwrap_or(usual) {
        "b" => Value::Bool(word.parse().ok()?),
        "y" => Value::Byte(word.parse().ok()?),
        "n" => Value::Int16(word.parse().ok()?),
        "q" => Value::UInt16(word.parse().ok()?),
        "i" => Value::Int32(word.parse().ok()?),
        "u" => Value::UInt32(word.parse().ok()?),
        "x" => Value::Int64(word.parse().ok()?),
        "t" => Value::UInt64(word.parse().ok()?),
        "d" => Value::Double(word.parse().ok().filter(|number: &f64| number.is_finite())?),
        _ => return None,
    })
}

/// One whole type, of what properties have.
fn is_type(text: &str) -> bool {
    text.len() < 256 && first_type(text) == Some(text.len())
}

/// How long the first whole type in `text` is.
fn first_type(text: &str) -> Option<usize> {
    match text.chars().next()? {
        'a' => Some(1 + first_type(&text[1..])?),
        '(' => {
            let mut at = 1;
            while !text[at..].starts_with(')') {
                at += first_type(&text[at..])?;
            }
            Some(at + 1)
        }
        letter => "ybnqiuxtdsog".contains(letter).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, text: &str) -> Result<Property, String> {
        let annotations =
            HashMap::from([(format!("{PREFIX}{name}"), text.to_owned()), ("other".to_owned(), "x".to_owned())]);
        properties(&annotations).map(|mut all| all.remove(0)).map_err(|error| error.to_string())
    }

    /// The first two are the examples of runc's docs/systemd.md.
    #[test]
    fn annotations_become_properties() {
        let texts =
            |texts: &[&str]| Value::Array("s".to_owned(), texts.iter().map(|text| Value::text(*text)).collect());
        for (name, text, value) in [
            ("TimeoutStopUSec", "uint64 123456789", Value::UInt64(123_456_789)),
            ("CollectMode", "'inactive-or-failed'", Value::text("inactive-or-failed")),
            ("CPUWeight", "@t 5", Value::UInt64(5)),
            ("SendSIGHUP", " true ", Value::Bool(true)),
            ("Any", "-7", Value::Int32(-7)),
            ("Any", "byte 255", Value::Byte(255)),
            ("Any", r#""it's \"\\\n""#, Value::text("it's \"\\\n")),
            ("After", "['a.service', 'b.service']", texts(&["a.service", "b.service"])),
            ("After", "@as []", texts(&[])),
            ("Any", "[uint32 1, 2]", Value::Array("u".to_owned(), vec![Value::UInt32(1), Value::UInt32(2)])),
            (
                "DeviceAllow",
                "@a(st) [('a', 1)]",
                Value::Array("(st)".to_owned(), vec![Value::Struct(vec![Value::text("a"), Value::UInt64(1)])]),
            ),
        ] {
            assert_eq!(one(name, text), Ok(Property::new(name.to_owned(), value)), "{text}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        let micros = |name: &str, value| Ok(Property::new(name.to_owned(), Value::UInt64(value)));
        assert_eq!(one("TimeoutStopSec", "2"), micros("TimeoutStopUSec", 2_000_000));
        assert_eq!(one("RuntimeMaxSec", "1.5"), micros("RuntimeMaxUSec", 1_500_000));
        assert_eq!(one("TimeoutStopUSec", "uint64 2"), micros("TimeoutStopUSec", 2));
        for text in ["'2'", "-2", "uint64 18446744073709551615", "true"] {
            assert!(one("TimeoutStopSec", text).unwrap_err().contains("is not a number of seconds"), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_the_annotations_name() {
        for text in ["", "x", "'a", "[]", "[1, 'a']", "uint64 -1", "1 2", "@z 1", "@as 'a'", "()", "'\\x'", "byte 256"]
        {
            let refused = one("CollectMode", text).unwrap_err();
            assert!(refused.starts_with("annotations.org.systemd.property.CollectMode: "), "{text}: {refused}");
        }
        assert!(one("CollectMode", &"[".repeat(100_000)).is_err());
        assert!(one("Any", &format!("@{}s []", "a".repeat(100_000))).is_err());
        for name in ["", "ab", "Collect-Mode", "a.b.c"] {
            assert!(one(name, "1").unwrap_err().contains("named after"), "{name}");
        }
    }
}
