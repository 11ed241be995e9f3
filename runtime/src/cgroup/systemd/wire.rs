//! D-Bus messages as bytes: as much of the wire format as calls to systemd and its answers are made of.
//!
//! ```text
//!  l 1 0 1 │ body length │ serial │ fields: a(yv) │ to 8 │ body            every value stands at a multiple of its size
//! ```
//!
//! D-Bus Specification, "Marshaling (Wire Format)" and "Message Format".

use std::io::{self, ErrorKind};

/// A value with its type.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cgroup) enum Value {
    Byte(u8),
    Bool(bool),
    Int16(i16),
    UInt16(u16),
    Int32(i32),
    UInt32(u32),
    Int64(i64),
    UInt64(u64),
    Double(f64),
    Text(String),
    /// An object's path.
    Path(String),
    Signature(String),
    /// Elements of one type, which an empty one has too.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Variant(Box<Value>),
}

impl Value {
    pub(in crate::cgroup) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// An array of bytes.
    pub(in crate::cgroup) fn bytes(bytes: &[u8]) -> Value {
        Value::Array("y".to_owned(), bytes.iter().copied().map(Value::Byte).collect())
    }

    /// Its type in the letters of the specification.
    pub(in crate::cgroup) fn signature(&self) -> String {
        let letter = match self {
            Value::Byte(_) => "y",
            Value::Bool(_) => "b",
            Value::Int16(_) => "n",
            Value::UInt16(_) => "q",
            Value::Int32(_) => "i",
            Value::UInt32(_) => "u",
            Value::Int64(_) => "x",
            Value::UInt64(_) => "t",
            Value::Double(_) => "d",
            Value::Text(_) => "s",
            Value::Path(_) => "o",
            Value::Signature(_) => "g",
            Value::Variant(_) => "v",
            Value::Array(element, _) => return format!("a{element}"),
            Value::Struct(fields) => return format!("({})", signatures(fields)),
        };
        letter.to_owned()
    }

    /// Append it to `out`, which begins at a multiple of 8.
    fn write(&self, out: &mut Vec<u8>) {
        pad(out, alignment(&self.signature()));
        match self {
            Value::Byte(value) => out.push(*value),
            Value::Bool(value) => out.extend(u32::from(*value).to_le_bytes()),
            Value::Int16(value) => out.extend(value.to_le_bytes()),
            Value::UInt16(value) => out.extend(value.to_le_bytes()),
            Value::Int32(value) => out.extend(value.to_le_bytes()),
            Value::UInt32(value) => out.extend(value.to_le_bytes()),
            Value::Int64(value) => out.extend(value.to_le_bytes()),
            Value::UInt64(value) => out.extend(value.to_le_bytes()),
            Value::Double(value) => out.extend(value.to_le_bytes()),
            Value::Text(text) | Value::Path(text) => {
                out.extend(length(text.len()).to_le_bytes());
                out.extend(text.as_bytes());
                out.push(0);
            }
            Value::Signature(text) => write_signature(text, out),
            Value::Array(element, values) => {
                let at = out.len();
                out.extend([0; 4]);
                // What is skipped before the first element is no part of the length.
                pad(out, alignment(element));
                let begin = out.len();
                values.iter().for_each(|value| value.write(out));
                let bytes = length(out.len() - begin);
                out[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
            }
            Value::Struct(fields) => fields.iter().for_each(|field| field.write(out)),
            Value::Variant(value) => {
                write_signature(&value.signature(), out);
                value.write(out);
            }
        }
    }
}

fn write_signature(text: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(text.len()).expect("types are written by us, or checked to be short"));
    out.extend(text.as_bytes());
    out.push(0);
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("no limit of a container fills four gigabytes")
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

fn signatures(values: &[Value]) -> String {
    values.iter().map(Value::signature).collect()
}

/// Whose method is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) service: &'static str,
    pub(super) object: &'static str,
    pub(super) interface: &'static str,
}

/// The bytes of a call.
pub(super) fn call(target: Target, method: &str, serial: u32, body: &[Value]) -> Vec<u8> {
    let mut content = Vec::new();
    body.iter().for_each(|value| value.write(&mut content));
    let field = |code, value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
    let mut fields = vec![
        field(PATH, Value::Path(target.object.to_owned())),
        field(INTERFACE, Value::text(target.interface)),
        field(MEMBER, Value::text(method)),
        field(DESTINATION, Value::text(target.service)),
    ];
    if !body.is_empty() {
        fields.push(field(SIGNATURE, Value::Signature(signatures(body))));
    }
    let mut message = vec![b'l', CALL, 0, 1];
    message.extend(length(content.len()).to_le_bytes());
    message.extend(serial.to_le_bytes());
    Value::Array("(yv)".to_owned(), fields).write(&mut message);
    pad(&mut message, 8);
    message.extend(content);
    message
}

/// Types of messages, and codes of header fields.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// What systemd says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// The answer to the call of this serial: the first word of its body, if that is a text or a path.
    Return { to: u32, word: String },
    /// The error's name, and what it says.
    Refused { to: u32, name: String, text: String },
    /// A job is over: its path, and how it went.
    JobRemoved { job: String, result: String },
    /// Of no interest.
    Other,
}

/// The first bytes of a message, from which its length follows.
pub(super) const HEAD: usize = 16;
/// Nothing that is asked for comes near it.
const LONGEST: usize = 1 << 24;

/// How many bytes a message has that begins so.
///
/// # Errors
/// `InvalidData`.
pub(super) fn whole_length(head: &[u8; HEAD]) -> io::Result<usize> {
    let mut reader = Reader::new(head)?;
    reader.at = 4;
    let body = reader.number()?;
    reader.at = 12;
    let fields = reader.number()?;
    let whole = (HEAD + fields).next_multiple_of(8) + body;
    if whole > LONGEST { Err(ErrorKind::InvalidData.into()) } else { Ok(whole) }
}

/// Read a whole message.
///
/// # Errors
/// `InvalidData`.
pub(super) fn read(bytes: &[u8]) -> io::Result<Message> {
    let mut reader = Reader::new(bytes)?;
    let kind = bytes[1];
    reader.at = 12;
    let fields_end = HEAD + reader.number()?;
    let (mut member, mut error_name, mut signature, mut to) = (String::new(), String::new(), String::new(), 0);
    while reader.at < fields_end {
        reader.align(8);
        let code = reader.byte()?;
        let typ = reader.signature()?;
        match (typ.as_str(), code) {
            ("s", MEMBER) => member = reader.text()?,
            ("s", ERROR_NAME) => error_name = reader.text()?,
            ("s" | "o", _) => drop(reader.text()?),
            ("g", SIGNATURE) => signature = reader.signature()?,
            ("u", REPLY_SERIAL) => to = reader.u32()?,
            ("u", _) => drop(reader.u32()?),
            _ => return Err(ErrorKind::InvalidData.into()),
        }
    }
    reader.align(8);
    let word =
        |reader: &mut Reader<'_>| if signature.starts_with(['s', 'o']) { reader.text() } else { Ok(String::new()) };
    Ok(match kind {
        RETURN => Message::Return { to, word: word(&mut reader)? },
        ERROR => Message::Refused { to, name: error_name, text: word(&mut reader)? },
        // The job's number, its path, the unit's name, the result.
        SIGNAL if member == "JobRemoved" && signature == "uoss" => {
            reader.u32()?;
            let job = reader.text()?;
            reader.text()?;
            Message::JobRemoved { job, result: reader.text()? }
        }
        _ => Message::Other,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    little: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> io::Result<Reader<'a>> {
        match bytes.first() {
            Some(b'l') => Ok(Reader { bytes, at: 0, little: true }),
            Some(b'B') => Ok(Reader { bytes, at: 0, little: false }),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(ErrorKind::InvalidData)?;
        let taken = self.bytes.get(self.at..end).ok_or(ErrorKind::InvalidData)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().expect("four were taken");
        Ok(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// A length: none that is true is longer than this.
    fn number(&mut self) -> io::Result<usize> {
        let number = self.u32()? as usize;
        if number > LONGEST { Err(ErrorKind::InvalidData.into()) } else { Ok(number) }
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.number()?;
        self.words(length)
    }

    fn signature(&mut self) -> io::Result<String> {
        let length = usize::from(self.byte()?);
        self.words(length)
    }

    fn words(&mut self, length: usize) -> io::Result<String> {
        let text = self.take(length)?;
        self.take(1)?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests;
