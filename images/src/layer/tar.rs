//! The entries of a tar stream, one by one, with everything PAX and GNU say about them.
//!
//! The crate `tar` decodes the header blocks. The walk from block to block is ours, because a layer comes from a
//! stranger: extension headers are limited in size (a gigabyte "file name" would be read into memory), extended
//! attributes may contain any byte, and sparse files of all dialects are understood.
//! tar(5), POSIX pax, GNU tar "Sparse Formats".

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use crate::error::refused;

const BLOCK_BYTES: usize = 512;
const BLOCK: u64 = BLOCK_BYTES as u64;
/// Room for one extension header. Linux allows 64 KiB of extended attributes for a file; Go's reader stops at 1 MiB.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Pieces of one sparse file.
const SPARSE_PIECES_MAX: usize = 1 << 16;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    HardLink,
    Symlink,
    Char,
    Block,
    Fifo,
}

/// One entry: the header with all extensions applied.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: (i64, i64),
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
    /// Size of the file once written.
    pub(crate) size: u64,
    /// Where the data belongs, as (offset, length), when the file has holes.
    pub(crate) pieces: Option<Vec<(u64, u64)>>,
}

/// The parts of a sparse file that hold data, as (offset, length), and the file's whole size.
type Sparse = (u64, Vec<(u64, u64)>);

/// A tar stream. Its data is read through [`Read`] between two calls of [`TarStream::next_entry`].
pub(crate) struct TarStream<R> {
    inner: R,
    /// Data bytes of the current entry not yet read.
    remaining: u64,
    /// Bytes that fill the last block of the current entry.
    padding: u64,
}

/// PAX records, `key=value`, the later one wins.
#[derive(Default)]
struct Extensions {
    pax: Vec<(Vec<u8>, Vec<u8>)>,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl Extensions {
    fn value(&self, key: &str) -> Option<&[u8]> {
        self.pax.iter().rev().find(|(k, _)| k == key.as_bytes()).map(|(_, v)| v.as_slice())
    }

    fn number(&self, key: &str) -> io::Result<Option<u64>> {
        self.value(key).map(|text| decimal(text).ok_or_else(|| bad(format!("PAX {key} is no number")))).transpose()
    }
}

fn bad(why: impl Into<String>) -> io::Error {
    refused("read the tar archive", why).into()
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

impl<R: Read> TarStream<R> {
    pub(crate) fn new(inner: R) -> Self {
        TarStream { inner, remaining: 0, padding: 0 }
    }

    /// The next entry, or nothing at the end of the archive. Data of the entry before that was not read is skipped.
    pub(crate) fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else { return Ok(None) };
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.extension(&header)?;
                    extensions.pax.extend(pax_records(&records)?);
                }
                EntryType::GNULongName => extensions.long_path = Some(text_of(self.extension(&header)?)),
                EntryType::GNULongLink => extensions.long_link = Some(text_of(self.extension(&header)?)),
                // Comments for the whole archive (git archive writes its commit there); Docker ignores them too.
                EntryType::XGlobalHeader => drop(self.extension(&header)?),
                _ => return self.entry(&header, &extensions).map(Some),
            }
        }
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        let rest = self.remaining + self.padding;
        (self.remaining, self.padding) = (0, 0);
        if io::copy(&mut (&mut self.inner).take(rest), &mut io::sink())? < rest {
            return Err(bad("it ends in the middle of a file"));
        }
        Ok(())
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let mut filled = 0;
        while filled < header.as_bytes().len() {
            match self.inner.read(&mut header.as_mut_bytes()[filled..])? {
                // Some writers leave the two zero blocks out.
                0 if filled == 0 => return Ok(None),
                0 => return Err(bad("it ends in the middle of a header")),
                count => filled += count,
            }
        }
        if header.as_bytes().iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let field = 148..156;
        let byte = |(at, b): (usize, &u8)| if field.contains(&at) { u32::from(b' ') } else { u32::from(*b) };
        let sum: u32 = header.as_bytes().iter().enumerate().map(byte).sum();
        if header.cksum().ok() != Some(sum) {
            return Err(bad("a header has a wrong checksum"));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > EXTENSION_BYTES_MAX {
            return Err(bad(format!("an extension header of {size} bytes")));
        }
        self.expect_data(size)?;
        let mut content = Vec::new();
        self.read_to_end(&mut content)?;
        Ok(content)
    }

    fn expect_data(&mut self, size: u64) -> io::Result<()> {
        let whole = size.checked_next_multiple_of(BLOCK).ok_or_else(|| bad("a size beyond all measure"))?;
        (self.remaining, self.padding) = (size, whole - size);
        Ok(())
    }

    fn entry(&mut self, header: &Header, extensions: &Extensions) -> io::Result<Entry> {
        let path = [extensions.value("GNU.sparse.name"), extensions.value("path"), extensions.long_path.as_deref()];
        let path = path.into_iter().flatten().next().map_or_else(|| header.path_bytes().into_owned(), <[u8]>::to_vec);
        let link = [extensions.value("linkpath"), extensions.long_link.as_deref()];
        let link = link.into_iter().flatten().next().map(<[u8]>::to_vec);
        let kind = kind_of(header.entry_type(), &path)?;
        // Only files have data behind their header, whatever the size field of another kind says (POSIX ustar).
        let stored = extensions.number("size")?.map_or_else(|| header.entry_size(), Ok)?;
        self.expect_data(if kind == Kind::File { stored } else { 0 })?;
        let old = header.as_old();
        let device = matches!(kind, Kind::Char | Kind::Block);
        let mut entry = Entry {
            kind,
            link: link.or_else(|| header.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default(),
            mode: or_zero(&old.mode, header.mode())? & 0o7777,
            uid: id(extensions.number("uid")?.map_or_else(|| or_zero(&old.uid, header.uid()), Ok)?, "uid")?,
            gid: id(extensions.number("gid")?.map_or_else(|| or_zero(&old.gid, header.gid()), Ok)?, "gid")?,
            mtime: mtime(header, extensions)?,
            // Other kinds may leave these fields blank, which is no number.
            major: if device { header.device_major()?.unwrap_or(0) } else { 0 },
            minor: if device { header.device_minor()?.unwrap_or(0) } else { 0 },
            xattrs: xattrs(extensions),
            size: stored,
            pieces: None,
            path,
        };
        if entry.path.contains(&0) || entry.link.contains(&0) {
            return Err(bad("a file name contains a NUL byte"));
        }
        if let Some((size, pieces)) = self.sparse(header, extensions)? {
            check_pieces(size, &pieces, self.remaining)?;
            (entry.size, entry.pieces) = (size, Some(pieces));
        }
        Ok(entry)
    }

    /// The size and the pieces of a sparse file, in whichever dialect it is written.
    fn sparse(&mut self, header: &Header, extensions: &Extensions) -> io::Result<Option<Sparse>> {
        if header.entry_type() == EntryType::GNUSparse {
            return self.sparse_gnu(header).map(Some);
        }
        let version = (extensions.value("GNU.sparse.major"), extensions.value("GNU.sparse.minor"));
        let real = extensions.number("GNU.sparse.realsize")?.or(extensions.number("GNU.sparse.size")?);
        let numbers = match (version, extensions.value("GNU.sparse.map"), real) {
            ((Some(b"1"), Some(b"0")), _, Some(_)) => self.sparse_map_in_data()?,
            ((None, None) | (Some(b"0"), Some(b"1")), Some(map), Some(_)) => {
                map.split(|b| *b == b',').map(decimal).collect::<Option<_>>().ok_or_else(|| bad("a sparse map"))?
            }
            ((None, None), None, None) => return Ok(None),
            _ => return Err(bad("a sparse file in an unknown format")),
        };
        let pieces = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        Ok(real.map(|size| (size, pieces)))
    }

    /// Old GNU format: four pieces in the header, more in the blocks that follow it.
    fn sparse_gnu(&mut self, header: &Header) -> io::Result<Sparse> {
        let gnu = header.as_gnu().ok_or_else(|| bad("a sparse file without a GNU header"))?;
        let mut pieces = Vec::new();
        let mut add = |sparse: &[GnuSparseHeader]| -> io::Result<()> {
            for piece in sparse.iter().filter(|piece| !piece.is_empty()) {
                pieces.push((piece.offset()?, piece.length()?));
            }
            if pieces.len() > SPARSE_PIECES_MAX { Err(bad("a sparse file of too many pieces")) } else { Ok(()) }
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut extended = GnuExtSparseHeader::new();
            self.inner.read_exact(extended.as_mut_bytes())?;
            add(extended.sparse())?;
            more = extended.is_extended();
        }
        Ok((gnu.real_size()?, pieces))
    }

    /// PAX format 1.0: the map stands before the data, decimal numbers one a line, filled up to a whole block.
    fn sparse_map_in_data(&mut self) -> io::Result<Vec<u64>> {
        let (mut numbers, mut digits, mut wanted) = (Vec::new(), Vec::new(), None);
        let mut block = [0; BLOCK_BYTES];
        while wanted.is_none_or(|count| numbers.len() < count) {
            self.read_exact(&mut block)?;
            for byte in block {
                if byte != b'\n' {
                    digits.push(byte);
                    continue;
                }
                let number = decimal(&digits).ok_or_else(|| bad("a sparse map"))?;
                digits.clear();
                match wanted {
                    None if number > SPARSE_PIECES_MAX as u64 => return Err(bad("a sparse file of too many pieces")),
                    None => wanted = usize::try_from(number).ok().map(|pieces| 2 * pieces),
                    Some(_) => numbers.push(number),
                }
                if wanted.is_some_and(|count| numbers.len() >= count) {
                    break;
                }
            }
        }
        Ok(numbers)
    }
}

impl<R: Read> Read for TarStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(bad("it ends in the middle of a file"));
        }
        self.remaining -= count as u64;
        Ok(count)
    }
}

fn kind_of(entry: EntryType, path: &[u8]) -> io::Result<Kind> {
    Ok(match entry {
        // A file whose name ends in a slash is how the oldest tars wrote a directory.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char => Kind::Char,
        EntryType::Block => Kind::Block,
        EntryType::Fifo => Kind::Fifo,
        other => return Err(bad(format!("an entry of unknown type {:?}", char::from(other.as_byte())))),
    })
}

/// A field that was left blank is 0, as Go reads it; tar writers are that lazy.
fn or_zero<T: Default>(field: &[u8], parsed: io::Result<T>) -> io::Result<T> {
    if field.iter().all(|b| matches!(b, 0 | b' ')) { Ok(T::default()) } else { parsed }
}

/// A user or group id. The highest number means "leave as it is" to chown(2), so it is none.
fn id(number: u64, what: &str) -> io::Result<u32> {
    match u32::try_from(number) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(bad(format!("{what} {number} is out of range"))),
    }
}

fn mtime(header: &Header, extensions: &Extensions) -> io::Result<(i64, i64)> {
    let Some(text) = extensions.value("mtime") else {
        // GNU tar writes a time before 1970 as a binary number in two's complement.
        return Ok((or_zero(&header.as_old().mtime, header.mtime())?.cast_signed(), 0));
    };
    let text = std::str::from_utf8(text).map_err(|_| bad("PAX mtime is no number"))?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| bad("PAX mtime is no number"))?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: i64 = digits.parse().map_err(|_| bad("PAX mtime is no number"))?;
    Ok(match (text.starts_with('-'), nanoseconds) {
        // -1.25 is 0.75 s after -2.
        (true, 1..) => {
            (seconds.checked_sub(1).ok_or_else(|| bad("PAX mtime is out of range"))?, 1_000_000_000 - nanoseconds)
        }
        _ => (seconds, nanoseconds),
    })
}

fn xattrs(extensions: &Extensions) -> Vec<(OsString, Vec<u8>)> {
    let names = extensions.pax.iter().filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?, value)));
    names.map(|(name, value)| (OsString::from_vec(name.to_vec()), value.clone())).collect()
}

/// A GNU long name ends with a NUL, which is not part of it.
fn text_of(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

/// Split `"30 mtime=1350244992.023960108\n"…` by the lengths it states: a value may hold any byte.
fn pax_records(mut rest: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    while !rest.is_empty() {
        let broken = || bad("a broken PAX record");
        let space = rest.iter().position(|b| *b == b' ').ok_or_else(broken)?;
        let length = decimal(&rest[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(broken)?;
        if length <= space + 1 || length > rest.len() || rest[length - 1] != b'\n' {
            return Err(broken());
        }
        let record = &rest[space + 1..length - 1];
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(broken)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        rest = &rest[length..];
    }
    Ok(records)
}

/// The pieces must ascend, lie inside the file, and be as long together as the data that follows.
fn check_pieces(size: u64, pieces: &[(u64, u64)], data: u64) -> io::Result<()> {
    let (mut end, mut total) = (0u64, 0u64);
    for (offset, length) in pieces {
        let broken = || bad("a broken sparse map");
        if *offset < end {
            return Err(broken());
        }
        end = offset.checked_add(*length).filter(|end| *end <= size).ok_or_else(broken)?;
        total += length;
    }
    if total == data && i64::try_from(size).is_ok() { Ok(()) } else { Err(bad("a broken sparse map")) }
}
