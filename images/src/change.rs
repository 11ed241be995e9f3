//! Changes to an image's config in the words of a Dockerfile, as `docker import --change` takes them.
//!
//! Dockerfile reference; the allowed instructions are those of `docker import`.

use serde_json::{Map, Value, json};

use crate::error::{Result, refused};

/// Apply `instruction` (`CMD ["sh"]`, `ENV A=b`, `EXPOSE 80/tcp`) to the `config` object of an image.
pub(crate) fn apply(config: &mut Map<String, Value>, instruction: &str) -> Result<()> {
    let broken = |why: &str| refused(format!("apply change {instruction:?}"), why);
    let (word, rest) = instruction.trim().split_once(char::is_whitespace).ok_or_else(|| broken("it has no value"))?;
    let rest = rest.trim();
    match word.to_ascii_uppercase().as_str() {
        "CMD" => set(config, "Cmd", command(rest)),
        "ENTRYPOINT" => set(config, "Entrypoint", command(rest)),
        "USER" => set(config, "User", json!(rest)),
        "WORKDIR" => set(config, "WorkingDir", json!(workdir(config, rest))),
        "STOPSIGNAL" => set(config, "StopSignal", json!(rest)),
        "ONBUILD" => list(config, "OnBuild").push(json!(rest)),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                if number.split('-').any(|n| n.parse::<u16>().is_err()) || !["tcp", "udp", "sctp"].contains(&protocol) {
                    return Err(broken("the form is EXPOSE port[/protocol]"));
                }
                object(config, "ExposedPorts").insert(format!("{number}/{protocol}"), json!({}));
            }
        }
        "VOLUME" => {
            let paths = match serde_json::from_str::<Vec<String>>(rest) {
                Ok(paths) => paths,
                Err(_) => rest.split_whitespace().map(str::to_owned).collect(),
            };
            for path in paths {
                object(config, "Volumes").insert(path, json!({}));
            }
        }
        "ENV" => {
            for (key, value) in pairs(rest).ok_or_else(|| broken("the form is ENV key=value"))? {
                let env = list(config, "Env");
                env.retain(|old| old.as_str().is_none_or(|old| old.split('=').next() != Some(&key)));
                env.push(json!(format!("{key}={value}")));
            }
        }
        "LABEL" => {
            for (key, value) in pairs(rest).ok_or_else(|| broken("the form is LABEL key=value"))? {
                object(config, "Labels").insert(key, json!(value));
            }
        }
        other => return Err(broken(&format!("{other} is not supported"))),
    }
    Ok(())
}

fn set(config: &mut Map<String, Value>, key: &str, value: Value) {
    config.insert(key.to_owned(), value);
}

fn list<'c>(config: &'c mut Map<String, Value>, key: &str) -> &'c mut Vec<Value> {
    let value = config.entry(key).or_insert_with(|| json!([]));
    value.as_array_mut().expect("this module alone fills the config, and with a list here")
}

fn object<'c>(config: &'c mut Map<String, Value>, key: &str) -> &'c mut Map<String, Value> {
    let value = config.entry(key).or_insert_with(|| json!({}));
    value.as_object_mut().expect("this module alone fills the config, and with an object here")
}

/// `["nginx","-g"]` is a command line; anything else is for a shell.
fn command(text: &str) -> Value {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) => json!(words),
        Err(_) => json!(["/bin/sh", "-c", text]),
    }
}

fn workdir(config: &Map<String, Value>, path: &str) -> String {
    match config.get("WorkingDir").and_then(Value::as_str) {
        Some(before) if !path.starts_with('/') => format!("{}/{path}", before.trim_end_matches('/')),
        None if !path.starts_with('/') => format!("/{path}"),
        _ => path.to_owned(),
    }
}

/// `a=b c="d e"`, or the old form `a b c`, where all after the first word is the value.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let words = words(text)?;
    let Some((first, rest)) = words.split_first() else { return Some(Vec::new()) };
    if !first.contains('=') {
        return (!rest.is_empty()).then(|| vec![(first.clone(), rest.join(" "))]);
    }
    let pair = |word: &String| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let pairs: Option<Vec<_>> = words.iter().map(pair).collect();
    pairs.filter(|pairs| pairs.iter().all(|(key, _)| !key.is_empty()))
}

/// Words as a shell would split them, with quotes and backslashes; nothing when a quote is open at the end.
fn words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(letter),
            (_, '\\') => word.get_or_insert_default().push(letters.next()?),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(instructions: &[&str]) -> Value {
        let mut config = Map::new();
        for instruction in instructions {
            apply(&mut config, instruction).unwrap();
        }
        Value::Object(config)
    }

    #[test]
    fn instructions_fill_the_config_as_docker_import_does() {
        assert_eq!(applied(&["CMD [\"nginx\", \"-g\"]"]), json!({"Cmd": ["nginx", "-g"]}));
        assert_eq!(applied(&["cmd echo hi"]), json!({"Cmd": ["/bin/sh", "-c", "echo hi"]}));
        assert_eq!(applied(&["ENV A=1 B=\"x y\"", "ENV A 2 3"]), json!({"Env": ["B=x y", "A=2 3"]}));
        assert_eq!(applied(&["EXPOSE 80 53/udp"]), json!({"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}));
        assert_eq!(applied(&["VOLUME [\"/a\", \"/b\"]"]), json!({"Volumes": {"/a": {}, "/b": {}}}));
        assert_eq!(applied(&["WORKDIR /a", "WORKDIR b"]), json!({"WorkingDir": "/a/b"}));
        assert_eq!(applied(&["LABEL a.b='c d'"]), json!({"Labels": {"a.b": "c d"}}));
    }

    #[test]
    fn what_docker_import_does_not_take_is_refused() {
        for bad in ["RUN ls", "COPY a b", "ENV", "ENV A", "ENV A=\"open", "EXPOSE http", "EXPOSE 80/icmp", ""] {
            assert!(apply(&mut Map::new(), bad).is_err(), "{bad}");
        }
    }
}
