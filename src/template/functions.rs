//! The functions of templates: Go's own, and those of docker/cli `templates/templates.go`.

use super::value::{Kind, Value};
use crate::pad;

type Answer = Result<Value, String>;

const NAMES: [&str; 25] = [
    "and", "eq", "ge", "gt", "html", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not", "or", "pad",
    "print", "printf", "println", "slice", "split", "title", "truncate", "upper", "urlquery",
];

/// Functions that leave the title of a column alone (docker/cli `HeaderFunctions`).
pub(super) const CHANGES_TITLES: [&str; 7] = ["json", "split", "join", "title", "lower", "upper", "truncate"];

/// The widest that something is padded to (Go `fmt/print.go`, tooLarge).
const WIDEST: usize = 1_000_000;

/// Whether there is a function of this name.
pub(super) fn is_function(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Call a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Answer {
    let wrong = || format!("{name} cannot take what it is given");
    let text = |value: &Value| if let Value::Text(text) = value { Ok(text.clone()) } else { Err(wrong()) };
    match (name, arguments) {
        ("json", [value]) => Ok(Value::Text(value.json(None))),
        ("lower", [value]) => Ok(Value::Text(text(value)?.to_lowercase())),
        ("upper", [value]) => Ok(Value::Text(text(value)?.to_uppercase())),
        ("title", [value]) => Ok(Value::Text(title(&text(value)?))),
        ("split", [value, by]) => Ok(split(&text(value)?, &text(by)?)),
        ("join", [Value::List(items), by]) => {
            let parts: Vec<String> = items.iter().map(ToString::to_string).collect();
            Ok(Value::Text(parts.join(&text(by)?)))
        }
        ("join", [Value::NilOf(Kind::List), _]) => Ok(Value::Text(String::new())),
        ("pad", [value, Value::Int(before), Value::Int(after)]) => {
            let count = |spaces: &i128| usize::try_from(*spaces).unwrap_or(0);
            let spaces = |count| if count > WIDEST { Err(wrong()) } else { Ok(" ".repeat(count)) };
            Ok(Value::Text(format!("{}{}{}", spaces(count(before))?, text(value)?, spaces(count(after))?)))
        }
        ("truncate", [value, Value::Int(length)]) => {
            Ok(Value::Text(text(value)?.chars().take(usize::try_from(*length).unwrap_or(0)).collect()))
        }
        ("print", all) => Ok(Value::Text(print(all))),
        ("println", all) => Ok(Value::Text(println(all))),
        ("printf", [form, rest @ ..]) => printf(&text(form)?, rest).map(Value::Text),
        ("html", all) => Ok(Value::Text(html(&print(all)))),
        ("urlquery", all) => Ok(Value::Text(url_query(&print(all)))),
        ("len", [value]) => length(value).map(Value::from_index).ok_or_else(wrong),
        ("index", [value, path @ ..]) => index(value, path),
        ("slice", [value, bounds @ ..]) => slice(value, bounds).ok_or_else(wrong),
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("and" | "or", [before @ .., last]) => {
            let stop = name == "or";
            Ok(before.iter().find(|value| value.is_true() == stop).unwrap_or(last).clone())
        }
        ("eq", [first, rest @ ..]) if !rest.is_empty() => Ok(Value::Bool(rest.contains(first))),
        ("ne", [a, b]) => Ok(Value::Bool(a != b)),
        ("lt" | "le" | "gt" | "ge", [a, b]) => {
            let order = compare(a, b).ok_or_else(wrong)?;
            Ok(Value::Bool(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        _ => Err(wrong()),
    }
}

fn compare(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::Text(text) => Some(text.len()),
        Value::List(items) => Some(items.len()),
        Value::Map(fields) | Value::AnyKey(fields) => {
            Some(fields.iter().filter(|(_, value)| !value.is_hidden()).count())
        }
        // A list or map that is not there.
        Value::Nil | Value::NilOf(Kind::List | Kind::Map) => Some(0),
        _ => None,
    }
}

/// `index x 1 "a"` is `x[1]["a"]`; a map answers with nothing for a key that it has not.
fn index(value: &Value, path: &[Value]) -> Answer {
    let mut at = value.clone();
    for key in path {
        at = match (at, key) {
            (Value::List(mut items), Value::Int(number)) => {
                let number = usize::try_from(*number).ok().filter(|number| *number < items.len());
                items.swap_remove(number.ok_or_else(|| format!("index {key} is out of range"))?)
            }
            (Value::Map(fields) | Value::AnyKey(fields), Value::Text(name)) => {
                let found = fields.into_iter().find(|(key, _)| key == name);
                found.map_or(Value::Text(String::new()), |(_, value)| value)
            }
            (Value::Nil | Value::NilOf(_), _) => return Err("index of nothing".into()),
            _ => return Err(format!("{key} is no index here")),
        };
    }
    Ok(at)
}

fn slice(value: &Value, bounds: &[Value]) -> Option<Value> {
    let size = length(value)?;
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Some(default),
        Some(Value::Int(number)) => usize::try_from(*number).ok().filter(|number| *number <= size),
        Some(_) => None,
    };
    let (from, to) = (bound(0, 0)?, bound(1, size)?);
    match value {
        Value::Text(text) => text.get(from..to).map(|part| Value::Text(part.to_owned())),
        Value::List(items) => items.get(from..to).map(|part| Value::List(part.to_vec())),
        _ => None,
    }
}

fn split(text: &str, by: &str) -> Value {
    let parts: Vec<&str> =
        if by.is_empty() { text.split("").filter(|part| !part.is_empty()).collect() } else { text.split(by).collect() };
    Value::List(parts.into_iter().map(|part| Value::Text(part.to_owned())).collect())
}

/// Go's strings.Title: the first letter of every word.
fn title(text: &str) -> String {
    let mut before = ' ';
    text.chars()
        .map(|letter| {
            let begins = !(before.is_alphanumeric() || before == '_' || before == '\'');
            before = letter;
            if begins { letter.to_uppercase().next().unwrap_or(letter) } else { letter }
        })
        .collect()
}

/// fmt.Sprint: a space between two operands when neither is a string.
fn print(all: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in all.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if at > 0 && !is_text(value) && !is_text(&all[at - 1]) {
            text.push(' ');
        }
        text.push_str(&value.to_string());
    }
    text
}

fn println(all: &[Value]) -> String {
    let parts: Vec<String> = all.iter().map(ToString::to_string).collect();
    format!("{}\n", parts.join(" "))
}

/// fmt.Sprintf with `%v %s %d %t %q %x %%`, a width, and `-` for left.
fn printf(form: &str, arguments: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut rest = form;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let end = after.find(|c: char| !(c.is_ascii_digit() || c == '-')).ok_or("printf: a % stands at the end")?;
        let (flags, verb) = (&after[..end], after[end..].chars().next().unwrap_or('%'));
        rest = &after[end + verb.len_utf8()..];
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = arguments.next().ok_or("printf: there are more verbs than arguments")?;
        let shown = match (verb, value) {
            ('v' | 's', value) => value.to_string(),
            ('d', Value::Int(number)) => number.to_string(),
            ('x', Value::Int(number)) => format!("{number:x}"),
            ('t', Value::Bool(on)) => on.to_string(),
            ('q', Value::Text(_)) => value.json(None),
            _ => return Err(format!("printf: %{verb} does not go with {value}")),
        };
        let width = flags.trim_start_matches('-').parse().unwrap_or(0);
        if width > WIDEST {
            return Err(format!("printf: the width of %{flags}{verb} is too large"));
        }
        text.push_str(&if flags.starts_with('-') { pad::right(&shown, width) } else { pad::left(&shown, width) });
    }
    text.push_str(rest);
    if arguments.next().is_some() { Err("printf: there are more arguments than verbs".into()) } else { Ok(text) }
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('\'', "&#39;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}

fn url_query(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            b' ' => "+".to_owned(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
