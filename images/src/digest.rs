//! Content digests, and readers that check them while the bytes pass.
//!
//! image-spec descriptor.md#digests. sha256 and sha512 are the registered algorithms; nothing else is accepted.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{Error, refused};

/// The name of some content: `sha256:<64 hex digits>` or `sha512:<128 hex digits>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The sha256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        hasher.finish()
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        &self.0[..6]
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }

    /// The first twelve hexadecimal digits, as in `docker images`.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }

    /// The whole text, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A hasher of this digest's algorithm.
    pub(crate) fn hasher(&self) -> Hasher {
        if self.algorithm() == "sha512" { Hasher::Sha512(Sha512::new()) } else { Hasher::sha256() }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let length = match text.split_at_checked(7) {
            Some(("sha256:", _)) => 64,
            Some(("sha512:", _)) => 128,
            _ => return Err(refused(format!("use digest {text:?}"), "it begins with neither sha256: nor sha512:")),
        };
        let hex = &text[7..];
        if hex.len() != length || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refused(format!("use digest {text:?}"), format!("{length} lower case hex digits are needed")));
        }
        Ok(Digest(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

/// A digest in the making.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn sha256() -> Self {
        Hasher::Sha256(Sha256::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(hasher) => Digest(format!("sha256:{}", hex(&hasher.finalize()))),
            Hasher::Sha512(hasher) => Digest(format!("sha512:{}", hex(&hasher.finalize()))),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char]).collect()
}

/// A reader that hashes and counts what passes, and refuses to pass more than `limit` bytes.
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: Hasher,
    read: u64,
    limit: u64,
    too_much: &'static str,
}

impl<R: Read> Hashing<R> {
    /// `too_much` words the refusal of the byte after the last one allowed.
    pub(crate) fn new(inner: R, hasher: Hasher, limit: u64, too_much: &'static str) -> Self {
        Hashing { inner, hasher, read: 0, limit, too_much }
    }

    /// The digest and the number of the bytes that passed.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.read)
    }

    /// As [`Hashing::finish`], with the reader underneath.
    pub(crate) fn into_parts(self) -> (R, Digest, u64) {
        (self.inner, self.hasher.finish(), self.read)
    }

    /// Read whatever is left, so that the digest covers the whole content.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        let mut rest = vec![0; 64 * 1024];
        while self.read(&mut rest)? > 0 {}
        Ok(())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.read += count as u64;
        if self.read > self.limit {
            return Err(refused("read the content", format!("{} ({} bytes)", self.too_much, self.limit)).into());
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
    }

    #[test]
    fn digests_that_could_name_a_path_are_refused() {
        for bad in ["", "sha256:", "md5:00", "sha256:../../etc/passwd", "sha256:E3B0", "sha512:00"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        let long = format!("sha256:{}é", "0".repeat(62));
        assert!(long.parse::<Digest>().is_err());
    }

    #[test]
    fn one_byte_too_much_is_refused() {
        let mut exact = Hashing::new(&b"abc"[..], Hasher::sha256(), 3, "more than declared");
        assert!(exact.drain().is_ok());
        let mut more = Hashing::new(&b"abcd"[..], Hasher::sha256(), 3, "more than declared");
        assert!(more.drain().unwrap_err().to_string().contains("more than declared"));
    }
}
