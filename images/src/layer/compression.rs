//! How a layer is packed. Its first bytes say so; media types lie often enough (Docker ignores them too).

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

const BUFFER_BYTES: usize = 128 * 1024;

/// A reader of the unpacked bytes.
pub(crate) enum Inflated<R: Read> {
    Plain(Packed<R>),
    Gzip(Box<MultiGzDecoder<Packed<R>>>),
    Zstd(ZstdDecoder<'static, Packed<R>>),
}

type Packed<R> = BufReader<Peeked<R>>;

/// A reader whose first bytes were looked at already.
pub(crate) struct Peeked<R> {
    start: Vec<u8>,
    given: usize,
    inner: R,
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.start.len() {
            return self.inner.read(buffer);
        }
        let count = (&self.start[self.given..]).read(buffer)?;
        self.given += count;
        Ok(count)
    }
}

impl<R: Read> Inflated<R> {
    /// Look at the first bytes of `packed` and choose.
    pub(crate) fn new(mut packed: R) -> io::Result<Self> {
        let mut start = Vec::new();
        packed.by_ref().take(4).read_to_end(&mut start)?;
        let peeked = Peeked { start: start.clone(), given: 0, inner: packed };
        let packed = BufReader::with_capacity(BUFFER_BYTES, peeked);
        Ok(if start.starts_with(&[0x1f, 0x8b]) {
            Inflated::Gzip(Box::new(MultiGzDecoder::new(packed)))
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || is_zstd_skippable(&start) {
            Inflated::Zstd(ZstdDecoder::with_buffer(packed)?)
        } else {
            Inflated::Plain(packed)
        })
    }

    /// The packed reader, to see whether all of it was used.
    pub(crate) fn into_packed(self) -> R {
        match self {
            Inflated::Plain(packed) => packed.into_inner().inner,
            Inflated::Gzip(decoder) => decoder.into_inner().into_inner().inner,
            Inflated::Zstd(decoder) => decoder.finish().into_inner().inner,
        }
    }
}

/// RFC 8878 section 3.1.2: eStargz-like zstd:chunked layers may begin with a skippable frame.
fn is_zstd_skippable(start: &[u8]) -> bool {
    matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Inflated::Plain(reader) => reader.read(buffer),
            Inflated::Gzip(reader) => reader.read(buffer),
            Inflated::Zstd(reader) => reader.read(buffer),
        }
    }
}
