//! The raw store: publications as they came, by the hash of their content.
//!
//! A file `raw/ab/abcdef…` is complete and never changes. With `.zst` at the end of its name it is packed: frames of zstd that
//! hold the bytes of that hash. Bytes on their way in are in `raw/incoming/` and have no name yet; what a dead process left
//! there is removed by the next one.

mod landing;
mod writer;

pub use landing::RawLanding;

use crate::{error::Result, home::Home};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read},
    path::PathBuf,
};
use tidegate_core::{Code, Failure, seam::RawFile};

/// A file of a publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Under which it was published.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// How a file of the store ends that is packed.
const PACKED: &str = "zst";

fn plain(home: &Home, sha256: &str) -> PathBuf {
    home.raw().join(sha256.get(..2).unwrap_or("00")).join(sha256)
}

/// Where the bytes of `sha256` are, or would be if they were kept as they are.
pub fn path(home: &Home, sha256: &str) -> PathBuf {
    let plain = plain(home, sha256);
    let packed = plain.with_extension(PACKED);
    if packed.is_file() { packed } else { plain }
}

/// Removes the bytes of `sha256`, whatever their form.
pub fn remove(home: &Home, sha256: &str) {
    let plain = plain(home, sha256);
    let _ = std::fs::remove_file(plain.with_extension(PACKED));
    let _ = std::fs::remove_file(plain);
}

/// Fails if the kept bytes are not those that came.
pub fn verify(home: &Home, part: &Part) -> Result<()> {
    let file = file(home, part);
    let hashed = open(&file).and_then(hash);
    if hashed.as_ref().is_ok_and(|hash| *hash == part.sha256) {
        return Ok(());
    }
    let altered = Failure::new(Code::TG407, format!("the kept publication {} was altered: {}", part.name, file.path.display()))
        .hint("restore it from a backup; if it is the newest one, remove the file and `tidegate run --again` fetches it anew");
    Err(match hashed {
        Err(error) => altered.because(&error),
        Ok(_) => altered,
    })
}

/// SHA-256 of all that is read, in hexadecimal.
pub fn hash(mut bytes: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match bytes.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Where a file of a publication is, for whoever reads it.
pub fn file(home: &Home, part: &Part) -> RawFile {
    let path = path(home, &part.sha256);
    RawFile { name: part.name.clone(), bytes: part.bytes, packed: path.extension().is_some_and(|extension| extension == PACKED), path }
}

/// The bytes of a file as they came.
pub fn open(file: &RawFile) -> io::Result<Box<dyn Read>> {
    let bytes = File::open(&file.path)?;
    Ok(if file.packed { Box::new(zstd::Decoder::new(bytes)?) } else { Box::new(bytes) })
}

/// The hash of a whole publication: that of its one file, or of the list of its files.
pub fn publication_hash(parts: &[Part]) -> String {
    match parts {
        [one] => one.sha256.clone(),
        several => {
            let list = several.iter().fold(String::new(), |list, part| list + &part.sha256 + " " + &part.name + "\n");
            hex(&Sha256::digest(list.as_bytes()))
        }
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests;
