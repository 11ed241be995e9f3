//! Where in a JSON text a reader stopped: `linux.namespaces[1].type`.

/// One step on the way from the root.
enum Step {
    /// The name of a member, as soon as it has been read.
    Member(Option<String>),
    Element(usize),
}

/// The way to the value that a reader was at, or had just read, when `consumed` bytes of `text` were behind it. `text` is
/// known to be JSON. Nothing for the root.
///
/// (A deserializer that keeps the way while it reads would do as well; but the code of all of config.json's types stands in
/// the program once for each deserializer, and that would be a third of it.)
pub(super) fn place(text: &[u8], consumed: usize) -> String {
    let mut way: Vec<Step> = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at).filter(|_| at < consumed) {
        match byte {
            b'{' => way.push(Step::Member(None)),
            b'[' => way.push(Step::Element(0)),
            b'}' | b']' => drop(way.pop()),
            b',' => match way.last_mut() {
                Some(Step::Member(name)) => *name = None,
                Some(Step::Element(number)) => *number += 1,
                None => {}
            },
            b'"' => {
                let end = end_of_string(text, at);
                if let Some(Step::Member(name @ None)) = way.last_mut() {
                    *name = text.get(at..end).and_then(|name| serde_json::from_slice(name).ok());
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    let mut words = String::new();
    for step in way {
        match step {
            Step::Member(Some(name)) if words.is_empty() => words = name,
            Step::Member(Some(name)) => words = words + "." + &name,
            Step::Member(None) => {}
            Step::Element(number) => words += &format!("[{number}]"),
        }
    }
    words
}

/// Behind the quote that ends the string which begins at `at`.
fn end_of_string(text: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(byte) = text.get(end) {
        match byte {
            b'"' => return end + 1,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::place;

    /// The place at the mark.
    fn at(text: &str) -> String {
        place(text.replace('^', "").as_bytes(), text.find('^').unwrap())
    }

    #[test]
    fn a_value_that_was_just_read_is_named() {
        assert_eq!(at(r#"{"a":{"b":[1,"x"^]}}"#), "a.b[1]");
        assert_eq!(at(r#"{"a":{"b":[1,^{"c":0}]}}"#), "a.b[1]");
        assert_eq!(at(r#"{"a":{"b":^[1]}}"#), "a.b");
        assert_eq!(at(r#"{"a":0,"b":{"c":1}^}"#), "b");
        assert_eq!(at(r#"{"a":[{"b":1},{"c":2}^]}"#), "a[1]");
        assert_eq!(at(r#"[[1],[2,3^]]"#), "[1][1]");
        assert_eq!(at(r#"{"a":1}^"#), "");
    }

    #[test]
    fn what_looks_like_structure_inside_of_a_string_is_none() {
        assert_eq!(at(r#"{"a{":"}],\"[","b\\":[0,"{\\"^]}"#), r"b\[1]");
    }
}
