//! Content-addressed files: `blobs/sha256/<hex>`, as in an OCI layout.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hasher};
use crate::error::{Doing, Result, refused};

/// Where the blob `digest` is under `root`.
pub(crate) fn path(root: &Path, digest: &Digest) -> PathBuf {
    root.join(digest.algorithm()).join(digest.hex())
}

/// Read a small blob and check it.
pub(crate) fn read(root: &Path, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>> {
    let doing = || format!("read {digest} of the image store");
    let mut content = Vec::new();
    let file = File::open(path(root, digest)).doing(doing)?;
    file.take(bytes_max + 1).read_to_end(&mut content).doing(doing)?;
    if content.len() as u64 > bytes_max {
        return Err(refused(doing(), format!("it is larger than {bytes_max} bytes")));
    }
    check(digest, &content).map(|()| content)
}

/// Refuse `content` that is not what `digest` says.
pub(crate) fn check(digest: &Digest, content: &[u8]) -> Result<()> {
    let mut hasher = digest.hasher();
    hasher.update(content);
    match hasher.finish() {
        actual if actual == *digest => Ok(()),
        actual => Err(refused(format!("use {digest}"), format!("its content is {actual}"))),
    }
}

/// A blob being written into a private directory: it gets its name when its content is known to be right.
pub(crate) struct BlobWriter {
    file: File,
    hasher: Hasher,
    written: u64,
    expected: Option<(Digest, u64)>,
    temporary: PathBuf,
    root: PathBuf,
}

impl BlobWriter {
    /// Write below `root`, at first as `name`. `expected` is the digest and size that the content must have.
    pub(crate) fn create(root: &Path, name: &str, expected: Option<(Digest, u64)>) -> Result<Self> {
        let temporary = root.join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary);
        let file = file.doing(|| format!("create {}", temporary.display()))?;
        let hasher = expected.as_ref().map_or_else(Hasher::sha256, |(digest, _)| digest.hasher());
        Ok(BlobWriter { file, hasher, written: 0, expected, temporary, root: root.to_owned() })
    }

    /// Bytes written so far: where a broken transfer goes on.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Name the blob by its digest. Content that is not the expected one is removed and refused.
    pub(crate) fn finish(self) -> Result<(Digest, u64)> {
        let digest = self.hasher.finish();
        if let Some((expected, size)) = &self.expected
            && (*expected != digest || *size != self.written)
        {
            std::fs::remove_file(&self.temporary).doing(|| format!("remove {}", self.temporary.display()))?;
            let why = format!("its content is {digest} ({} bytes, {size} declared)", self.written);
            return Err(refused(format!("use blob {expected}"), why));
        }
        let place = path(&self.root, &digest);
        let doing = || format!("create {}", place.display());
        std::fs::create_dir_all(place.parent().expect("a blob's path has the algorithm as parent")).doing(doing)?;
        std::fs::rename(&self.temporary, &place).doing(doing)?;
        Ok((digest, self.written))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some((digest, size)) = &self.expected
            && self.written + bytes.len() as u64 > *size
        {
            return Err(
                refused(format!("use blob {digest}"), format!("it is longer than the {size} bytes declared")).into()
            );
        }
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
