//! What two engines cannot share (ids, paths, numbers of interfaces) taken out of an answer, so that the rest compares.

use super::times;
use crate::support::Output;

/// How an answer is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// Line by line.
    Text,
    /// The exit code and the standard output: what is said besides is each engine's own.
    Out,
    /// Line by line; one that is said again and again stands once.
    Once,
    /// Columns, whose widths are those of times.
    Table,
    /// Lines without an order.
    Sorted,
    /// `ip addr`: numbers of interfaces go.
    Addresses,
    /// `/proc/self/mountinfo`: ids go, sources of bind mounts lose their directory. What is laid over a path to hide it is
    /// left out: which paths there are is the kernel's, and that they are hidden is looked at from inside.
    Mounts,
    /// `iptables-save`: comments and counters go; names are Docker's.
    Rules,
    /// The exit code: what is said is each engine's own.
    Code,
    /// The values of cgroup files: paths below the engine's own cgroup, device rules in one order.
    Cgroup,
}

/// The whole answer as comparable lines: exit code, standard output, standard error. What an engine says for itself
/// when it refuses (125 to 127) is its own wording.
pub(super) fn of_answer(sight: Sight, output: &Output, private: &str) -> Vec<String> {
    let mut lines = vec![format!("exit code {}", output.code)];
    if sight == Sight::Code {
        return lines;
    }
    lines.extend(of_text(sight, &output.stdout, private));
    if sight != Sight::Out && !(125..=127).contains(&output.code) {
        lines.extend(of_text(Sight::Text, &output.stderr, private).into_iter().map(|line| format!("stderr: {line}")));
    }
    lines
}

/// The comparable lines of a text. `private` is the directory that one engine has to itself.
pub(super) fn of_text(sight: Sight, text: &str, private: &str) -> Vec<String> {
    let text = text.replace(private, "@");
    let lines = text.lines().map(|line| times::masked(&without_ids(line.trim_end())));
    match sight {
        Sight::Text | Sight::Code | Sight::Out => lines.collect(),
        Sight::Once => once(lines.collect()),
        Sight::Table => lines.map(|line| without_widths(&line)).collect(),
        Sight::Cgroup => lines.map(|line| cgroup(&line)).collect(),
        Sight::Sorted => sorted(lines.collect()),
        Sight::Addresses => lines.map(|line| without_numbers(&line)).collect(),
        Sight::Mounts => sorted(lines.filter_map(|line| mount(&line)).collect()),
        Sight::Rules => lines.filter_map(|line| rule(&line)).collect(),
    }
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn once(mut lines: Vec<String>) -> Vec<String> {
    lines.dedup();
    lines
}

/// Columns two spaces apart, however wide they are.
fn without_widths(line: &str) -> String {
    let columns: Vec<&str> = line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
    columns.join("  ")
}

/// Container ids, long and short, and the random part of a cable's name.
fn without_ids(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let length = rest[start..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len() - start);
        let word = &rest[start..start + length];
        out.push_str(&rest[..start]);
        let cable = out.ends_with("veth") && length == 7;
        match length {
            64 => out.push_str("<id>"),
            // One in 280 has no letter in it.
            12 => out.push_str("<short-id>"),
            _ if cable => out.push_str("<random>"),
            _ => out.push_str(word),
        }
        rest = &rest[start + length..];
    }
    out + rest
}

/// `7: eth0@if8: …` becomes `eth0@if: …`; the random address of a bridge or cable goes too.
fn without_numbers(line: &str) -> String {
    let line = match line.split_once(": ") {
        Some((number, rest)) if number.parse::<u32>().is_ok() => rest.to_owned(),
        _ => line.to_owned(),
    };
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for word in &mut words {
        if let Some((name, number)) = word.split_once("@if")
            && number.trim_end_matches(':').parse::<u32>().is_ok()
        {
            *word = format!("{name}@if:");
        }
    }
    words.join(" ")
}

/// `36 35 98:0 /root /point options optional - type source super` without what is this mount's alone.
fn mount(line: &str) -> Option<String> {
    let (place, kind) = line.split_once(" - ")?;
    let place: Vec<&str> = place.split(' ').collect();
    let kind: Vec<&str> = kind.split(' ').collect();
    let [_, _, _, root, point, options, optional @ ..] = place.as_slice() else { return None };
    let [kind, source, settings] = kind.as_slice() else { return None };
    let propagation: Vec<&str> = optional.iter().filter_map(|word| word.split(':').next()).collect();
    let propagation = propagation.join(" ");
    let below = point.starts_with("/proc/") || (point.starts_with("/sys/") && !point.starts_with("/sys/fs/cgroup"));
    if *point == "/" {
        // overlay, or a plain directory where there is none
        return Some(format!("/ {options} {propagation}").trim_end().to_owned());
    }
    if below && (*kind == "tmpfs" || root.ends_with("/null")) {
        return None;
    }
    let last = root.rsplit('/').next().unwrap_or_default();
    Some(format!("{point} {kind} from {source} /{last} {options} {propagation} {settings}"))
}

/// `9:memory:/docker/<id>` as ours is called; the rules of `devices.list` sorted.
fn cgroup(line: &str) -> String {
    let Some(rules) = line.strip_prefix("devices/devices.list: ") else { return line.replace(":/docker/", ":/rbox/") };
    let words: Vec<&str> = rules.split(' ').collect();
    let rules: Vec<String> = words.chunks(3).map(|rule| rule.join(" ")).collect();
    format!("devices/devices.list: {}", sorted(rules).join(", "))
}

/// One line of `iptables-save`, or none where it only counts.
pub(super) fn rule(line: &str) -> Option<String> {
    if line.starts_with('#') || line == "COMMIT" {
        return None;
    }
    // What a chain has counted; of a rule `[fd00::2]:80` is an address.
    let line = if line.starts_with(':') { line.split(" [").next().unwrap_or(line) } else { line };
    let mut words = line.split(' ').peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "-m" && words.peek() == Some(&"comment") {
            words.next();
        } else if word == "--comment" {
            let first = words.next().unwrap_or_default();
            if first.starts_with('"') && !(first.len() > 1 && first.ends_with('"')) {
                words.by_ref().find(|word| word.ends_with('"'));
            }
        } else {
            kept.push(word.replace("rbox0", "docker0").replace("RBOX", "DOCKER"));
        }
    }
    Some(kept.join(" "))
}

#[test]
fn ids_are_masked_whatever_they_are_made_of() {
    let whole = "0123456789abcdef".repeat(4);
    for (line, wanted) in [
        ("0a1b2c3d4e5f web", "<short-id> web"),
        ("123456789012 web", "<short-id> web"),
        ("12345678901 web", "12345678901 web"),
        (whole.as_str(), "<id>"),
        ("veth1234567@if7, 1234567", "veth<random>@if7, 1234567"),
    ] {
        assert_eq!(without_ids(line), wanted);
    }
}
