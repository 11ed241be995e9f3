//! What can go wrong with an image, cut by what the caller does about it.

use std::io;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such image: not in the store, and not in the registry where one was asked.
    #[error("image {name}: not found here{}", registry.as_ref().map(|host| format!(" or on {host}")).unwrap_or_default())]
    NotFound {
        /// The name as the user typed it.
        name: String,
        /// The registry that was asked too, if any.
        registry: Option<String>,
        /// Local names that look alike, best first: for a hint.
        similar: Vec<String>,
    },
    /// The text is no image reference.
    #[error("image {name}: {why}")]
    InvalidReference {
        /// The text as the user typed it.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An id prefix that fits several images.
    #[error("image {prefix}: the id is ambiguous, {count} images begin with it")]
    Ambiguous {
        /// The prefix as typed.
        prefix: String,
        /// How many images it fits.
        count: usize,
    },
    /// Removal is refused because somebody needs the image.
    #[error("cannot remove image {name}: {why}")]
    InUse {
        /// The image as the user named it.
        name: String,
        /// Who needs it (`in use by container web`), or which other names it has.
        why: String,
    },
    /// The image, archive or layer breaks its specification, does not match its digest, or attacks.
    #[error("cannot {doing}: {why}")]
    Refused {
        /// What was being done, beginning with a verb.
        doing: String,
        /// What is wrong with the content.
        why: String,
    },
    /// The image exists, but not for the platform that was asked for.
    #[error("image {name}: no variant for {platform} (it has {})", available.join(", "))]
    NoSuchPlatform {
        /// The image as the user named it.
        name: String,
        /// The platform that was asked for.
        platform: String,
        /// The platforms that there are.
        available: Vec<String>,
    },
    /// The registry cannot be reached, or does not answer as it must.
    #[error("cannot pull {name}: {host}: {why}")]
    Registry {
        /// The image as the user named it.
        name: String,
        /// The host that was asked.
        host: String,
        /// What it answered, or why it did not.
        why: String,
    },
    /// A request to the operating system failed.
    #[error("cannot {doing}: {}", words(source))]
    Os {
        /// What was being done, beginning with a verb.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// The result of most calls in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An operating system error in lower case and without "(os error 2)".
pub(crate) fn words(error: &io::Error) -> String {
    let text = match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    };
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !letters.as_str().starts_with(char::is_uppercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text,
    }
}

/// Says what was being done when an operating system request failed.
pub(crate) trait Doing<T> {
    /// Words of the message after "cannot", made only if they are needed.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let source: io::Error = error.into();
            // An error of this crate that passed through a `Read` keeps its own words.
            match source.downcast::<Error>() {
                Ok(own) => own,
                Err(source) => Error::Os { doing: doing(), source },
            }
        })
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

/// Make a [`Error::Refused`].
pub(crate) fn refused(doing: impl Into<String>, why: impl Into<String>) -> Error {
    Error::Refused { doing: doing.into(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_lower_case_and_without_numbers() {
        let denied: Result<()> = Err(io::Error::from_raw_os_error(13)).doing(|| "open /x".into());
        assert_eq!(denied.unwrap_err().to_string(), "cannot open /x: permission denied");
        let missing = Error::NotFound { name: "alpne".into(), registry: Some("docker.io".into()), similar: vec![] };
        assert_eq!(missing.to_string(), "image alpne: not found here or on docker.io");
    }

    #[test]
    fn an_own_error_survives_a_trip_through_read() {
        let inner = io::Error::from(refused("load image", "wrong digest"));
        let outer: Result<()> = Err(inner).doing(|| "write a blob".into());
        assert_eq!(outer.unwrap_err().to_string(), "cannot load image: wrong digest");
    }
}
