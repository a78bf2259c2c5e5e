//! Files on this machine: one path, or a pattern over several that together are one publication.

use super::dropped::is_incomplete;
use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs::{File, Metadata},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tidegate_core::{
    Code, Failure,
    seam::{Fetched, Glance, Landing, Source, Validators},
};
use url::Url;

/// A file younger than this may be written again without its time changing, so its fingerprint is not believed.
const BELIEVED: Duration = Duration::from_secs(2);

/// Bytes that are read at once.
const CHUNK: u64 = 2 << 20;

/// Hands a file over; the next bytes are read while the last ones are taken. Fails with the landing's refusal, or because
/// the file cannot be read.
pub(super) async fn copy(path: &Path, landing: &mut dyn Landing) -> Result<(), Result<Failure, io::Error>> {
    let read = |mut file: File, mut buffer: Vec<u8>| {
        tokio::task::spawn_blocking(move || {
            buffer.clear();
            (&mut file).take(CHUNK).read_to_end(&mut buffer).map(|_| (file, buffer))
        })
    };
    let (mut spare, path) = (Vec::new(), path.to_owned());
    let file = tokio::task::spawn_blocking(move || File::open(path)).await.map_err(|error| Err(io::Error::other(error)))?.map_err(Err)?;
    let mut next = read(file, Vec::new());
    loop {
        let (file, bytes) = next.await.map_err(|error| Err(io::Error::other(error)))?.map_err(Err)?;
        if bytes.is_empty() {
            return Ok(());
        }
        next = read(file, std::mem::take(&mut spare));
        landing.write(&bytes).await.map_err(Ok)?;
        spare = bytes;
    }
}

/// Files on this machine.
pub struct FileSource {
    name: String,
    pattern: PathBuf,
    settle: Duration,
}

impl FileSource {
    /// For `path`, relative to `folder`.
    pub fn new(name: &str, folder: &Path, path: &str) -> Self {
        Self { name: name.to_owned(), pattern: folder.join(path), settle: BELIEVED }
    }

    /// The same, complete once they have been left alone for so long.
    pub fn settling(self, settle: Duration) -> Self {
        Self { settle, ..self }
    }

    /// For the local copy of `url` below `mirror`: `mirror/HOST/PATH`.
    pub fn mirrored(name: &str, mirror: &Path, url: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::new(Code::TG102, format!("source `{name}`: {why}"));
        let url = Url::parse(url).map_err(|error| wrong("the address is not valid").because(&error))?;
        let host = url.host_str().ok_or_else(|| wrong("the address has no host"))?;
        let path = url.path().trim_start_matches('/');
        // An address must not lead out of the mirror. (The parser has resolved plain `..` already.)
        if path.split('/').any(|part| {
            part == ".." || part.contains('\\') || part.to_ascii_lowercase().contains("%2e%2e") || part.to_ascii_lowercase().contains("%2f")
        }) {
            return Err(wrong("the address has no place in a mirror"));
        }
        let pattern = PathBuf::from(glob::Pattern::escape(&mirror.join(host).join(path).to_string_lossy()));
        Ok(Self { name: name.to_owned(), pattern, settle: BELIEVED })
    }

    fn failed(&self, path: &Path, error: &io::Error) -> Failure {
        Failure::new(Code::TG206, format!("source `{}`: {} cannot be read", self.name, path.display())).because(error)
    }

    /// The files that are there, in the order of their names.
    fn files(&self) -> Result<Vec<(PathBuf, Metadata)>, Failure> {
        let pattern = self.pattern.to_string_lossy();
        let paths = glob::glob(&pattern)
            .map_err(|error| Failure::new(Code::TG102, format!("source `{}`: the pattern is not valid", self.name)).because(&error))?;
        let mut files = Vec::new();
        for path in paths {
            let path = path.map_err(|error| self.failed(error.path(), error.error()))?;
            // A file that was asked for by its name is read whatever that is.
            let named = path.file_name() == self.pattern.file_name();
            if !named && path.file_name().is_some_and(|name| is_incomplete(&name.to_string_lossy())) {
                continue;
            }
            let metadata = std::fs::metadata(&path).map_err(|error| self.failed(&path, &error))?;
            if metadata.is_file() {
                files.push((path, metadata));
            }
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(files)
    }
}

fn is_younger(files: &[(PathBuf, Metadata)], than: Duration) -> bool {
    let age = |metadata: &Metadata| SystemTime::now().duration_since(metadata.modified().ok()?).ok();
    files.iter().any(|(_, metadata)| age(metadata).is_some_and(|age| age < than))
}

/// Names, sizes and times of the files, hashed. None while one of them is too young to be believed.
fn fingerprint(files: &[(PathBuf, Metadata)]) -> Option<String> {
    if is_younger(files, BELIEVED) {
        return None;
    }
    let mut hash = Sha256::new();
    for (path, metadata) in files {
        let modified = metadata.modified().ok()?;
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        hash.update(format!("{}\0{}\0{}\0", path.display(), metadata.len(), since.as_nanos()).as_bytes());
    }
    Some(hash.finalize().iter().fold(String::from("files:"), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    }))
}

fn newest(files: &[(PathBuf, Metadata)]) -> Option<Timestamp> {
    files.iter().filter_map(|(_, metadata)| Timestamp::try_from(metadata.modified().ok()?).ok()).max()
}

#[async_trait]
impl Source for FileSource {
    async fn fetch(&self, known: &Validators, landing: &mut dyn Landing) -> Result<Fetched, Failure> {
        let files = self.files()?;
        if files.is_empty() {
            return Ok(Fetched::Missing { said: format!("there is no file {}", glob_unescape(&self.pattern)) });
        }
        let etag = fingerprint(&files);
        if etag.is_some() && etag == known.etag {
            return Ok(Fetched::NotModified);
        }
        for (path, metadata) in &files {
            let name = path.file_name().map_or_else(|| "data".to_owned(), |name| name.to_string_lossy().into_owned());
            landing.begin(&name, Some(metadata.len())).await?;
            copy(path, landing).await.map_err(|error| error.unwrap_or_else(|error| self.failed(path, &error)))?;
        }
        // Somebody who writes while we read gives us neither the old nor the new file.
        let after = self.files()?;
        let same = files.len() == after.len()
            && files.iter().zip(&after).all(|(a, b)| a.0 == b.0 && a.1.len() == b.1.len() && a.1.modified().ok() == b.1.modified().ok());
        if !same {
            return Err(Failure::new(Code::TG201, format!("source `{}`: its files changed while they were read", self.name))
                .hint("write to another name and rename; the next run reads it again"));
        }
        Ok(Fetched::Landed { validators: Validators { etag, last_modified: None }, published_at: newest(&files) })
    }

    async fn glance(&self, known: &Validators) -> Result<Glance, Failure> {
        let files = self.files()?;
        if files.is_empty() {
            return Ok(Glance::Missing { said: format!("there is no file {}", glob_unescape(&self.pattern)) });
        }
        if is_younger(&files, self.settle) {
            return Ok(Glance::Settling);
        }
        let etag = fingerprint(&files);
        Ok(if etag.is_some() && etag == known.etag { Glance::Same } else { Glance::New(Validators { etag, last_modified: None }) })
    }
}

/// The pattern as the user would write it.
fn glob_unescape(pattern: &Path) -> String {
    let text = pattern.to_string_lossy();
    ["[[]", "[]]", "[?]", "[*]"].iter().fold(text.into_owned(), |text, escaped| text.replace(escaped, &escaped[1..2]))
}
