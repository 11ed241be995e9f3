//! What an administrator has decided for this machine: `/etc/rbox/config.json`. Without it everything is as it comes.

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use crate::report::Problem;

/// The whole file. A key that is not here is an error, so that none is written in vain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// About the default network.
    pub(crate) bridge: Bridge,
}

/// `"bridge": {…}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bridge {
    /// Whether its containers know each other by name, as on networks of one's own.
    pub(crate) dns: bool,
}

impl Config {
    /// Read it; where there is none, nothing was decided.
    ///
    /// Errors: it cannot be read, or says what cannot be.
    pub(crate) fn read(path: &Path) -> Result<Config> {
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
            text => text.map_err(|error| Problem::new(format!("cannot read {}: {}", path.display(), error.kind())))?,
        };
        let parsed = serde_json::from_slice(&text);
        Ok(parsed.map_err(|error| Problem::new(format!("{}: {error}", path.display())))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_it_comes_and_what_is_not_known_is_an_error() {
        let read = |text: &str| serde_json::from_str::<Config>(text).map_err(|error| error.to_string());
        assert_eq!(read("{}").unwrap(), Config::default());
        assert!(read(r#"{ "bridge": { "dns": true } }"#).unwrap().bridge.dns);
        assert!(read(r#"{ "bridge": { "names": true } }"#).unwrap_err().starts_with("unknown field `names`"));
        assert!(read(r#"{ "bridge": { "dns": "yes" } }"#).unwrap_err().starts_with("invalid type"));
        assert_eq!(Config::read(Path::new("/nonexistent/config.json")).unwrap(), Config::default());
    }
}
