//! Times taken out of a text: when something was, and how long ago.

/// Whiles that are words only (docker/go-units `HumanDuration`).
const WHILES: [&str; 3] = ["Less than a second", "About a minute", "About an hour"];
const UNITS: [&str; 4] = ["seconds", "second", "minutes", "hours"];

/// `<time>` for each point in time but the zero of Go, `<while>` for each while.
pub(super) fn masked(line: &str) -> String {
    let line = WHILES.iter().fold(points(line), |line, words| line.replace(words, "<while>"));
    UNITS.iter().fold(line, |line, unit| numbers_before(&line, &format!(" {unit}")))
}

/// What the letters of a point in time are: `d` a digit, the others themselves.
const SHAPES: [&str; 2] = ["dddd-dd-ddTdd:dd:dd", "dddd-dd-dd dd:dd:dd +dddd "];

fn points(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some(letter) = rest.chars().next() {
        let shape = SHAPES.iter().find(|shape| begins(rest, shape)).filter(|_| !rest.starts_with("0001-"));
        if let Some(shape) = shape {
            let after = &rest[shape.len()..];
            // The fraction and the zone.
            let more = after.find(|c: char| !c.is_ascii_alphanumeric() && !".+:-".contains(c)).unwrap_or(after.len());
            out += "<time>";
            rest = &after[more..];
        } else {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    out
}

fn begins(text: &str, shape: &str) -> bool {
    let fits = |(letter, wanted): (char, char)| match wanted {
        'd' => letter.is_ascii_digit(),
        wanted => letter == wanted,
    };
    text.chars().count() >= shape.len() && text.chars().zip(shape.chars()).all(fits)
}

fn numbers_before(line: &str, words: &str) -> String {
    let mut parts = line.split(words);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let number = out.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        if number < out.len() {
            out.truncate(number);
            out += "<while>";
        } else {
            out += words;
        }
        out += part;
    }
    out
}

#[test]
fn times_are_masked_and_nothing_else() {
    for (line, wanted) in [
        ("2026-11-21T15:47:25.123456789Z line 5", "<time> line 5"),
        ("from 0001-01-01T00:00:00Z to 2026-11-21T15:47:25Z", "from 0001-01-01T00:00:00Z to <time>"),
        ("x 2026-11-21 15:53:36 +0000 UTC y", "x <time> y"),
        ("Up 3 seconds (Paused)", "Up <while> (Paused)"),
        ("Exited (0) Less than a second ago", "Exited (0) <while> ago"),
        ("5 words, a second, 7:80", "5 words, a second, 7:80"),
    ] {
        assert_eq!(masked(line), wanted);
    }
}
