//! From a file of the raw store to UTF-8 bytes: decompression and decoding, streaming.

use crate::error::{EngineError, Result};
use encoding_rs::Encoding;
use encoding_rs_io::DecodeReaderBytesBuilder;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
};
use tidegate_core::seam::RawFile;

/// A stream of bytes that are UTF-8 where the publisher kept to its encoding.
pub(super) struct Decoded {
    /// The stream; a byte order mark is dropped.
    pub(super) read: Box<dyn Read + Send>,
    /// Whether the bytes come out of a decoder, which puts U+FFFD where bytes were not valid.
    pub(super) transcoded: bool,
}

/// Opens a file of the raw store. gzip and zstd of the publisher are recognised by their first bytes, UTF-16 by its byte order mark.
pub(super) fn open(source: &str, file: &RawFile, encoding: Option<&str>) -> Result<Decoded> {
    let failed = |error| EngineError::Read { name: source.to_owned(), path: file.path.clone(), source: error };
    let kept = File::open(&file.path).map_err(failed)?;
    let kept: Box<dyn Read + Send> = if file.packed { Box::new(zstd::Decoder::new(kept).map_err(failed)?) } else { Box::new(kept) };
    decode(source, Box::new(Kept { read: kept, path: file.path.clone(), left: file.bytes }), encoding)
}

/// A file of the raw store: what does not give the bytes that were put there is damaged, and no publisher is to blame.
struct Kept {
    read: Box<dyn Read + Send>,
    path: PathBuf,
    /// Bytes that are still to come.
    left: u64,
}

/// Goes through whatever decodes, as an error of reading.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct Damaged {
    path: PathBuf,
    why: String,
}

impl Kept {
    fn damaged(&self, why: String) -> io::Error {
        io::Error::other(Damaged { path: self.path.clone(), why })
    }
}

impl Read for Kept {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.read.read(buffer) {
            Ok(0) if !buffer.is_empty() && self.left > 0 => Err(self.damaged(format!("the last {} bytes are missing", self.left))),
            Ok(n) => {
                self.left = self.left.checked_sub(n as u64).ok_or_else(|| self.damaged("it is longer than it was".to_owned()))?;
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.damaged(error.to_string())),
        }
    }
}

/// What an error of a decoded stream means.
pub(super) fn trouble(source: &str, error: &io::Error) -> EngineError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Damaged>()) {
        Some(Damaged { path, why }) => EngineError::Altered { path: path.clone(), why: why.clone() },
        None => EngineError::Decode { name: source.to_owned(), why: error.to_string() },
    }
}

/// The same for bytes from anywhere.
pub(super) fn decode(source: &str, bytes: Box<dyn Read + Send>, encoding: Option<&str>) -> Result<Decoded> {
    let failed = |error: io::Error| trouble(source, &error);
    let mut file = BufReader::with_capacity(1 << 16, bytes);
    let magic = file.fill_buf().map_err(failed)?;
    let plain: Box<dyn Read + Send> = if magic.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(file))
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(zstd::Decoder::with_buffer(file).map_err(failed)?)
    } else {
        Box::new(file)
    };
    let declared = encoding.map(|label| label_to_encoding(source, label)).transpose()?.filter(|encoding| *encoding != encoding_rs::UTF_8);
    let mut head = BufReader::with_capacity(1 << 16, plain);
    let bom = match head.fill_buf() {
        Ok(bytes) => Encoding::for_bom(bytes).map(|(encoding, _)| encoding),
        Err(error) => return Err(failed(error)),
    };
    let transcoded = bom.or(declared).is_some_and(|encoding| encoding != encoding_rs::UTF_8);
    if !transcoded && bom.is_none() {
        return Ok(Decoded { read: Box::new(head), transcoded });
    }
    let read = DecodeReaderBytesBuilder::new().encoding(declared).bom_override(true).strip_bom(true).utf8_passthru(true).build(head);
    Ok(Decoded { read: Box::new(read), transcoded })
}

fn label_to_encoding(source: &str, label: &str) -> Result<&'static Encoding> {
    Encoding::for_label(label.as_bytes()).ok_or_else(|| EngineError::Decode {
        name: source.to_owned(),
        why: format!("there is no encoding called `{label}` (see https://encoding.spec.whatwg.org/#names-and-labels)"),
    })
}
