//! Dropped files: each is a publication of its own, taken once, in the order of their names, and then moved to an archive.
//!
//! The validators of a publication are the fingerprint of its file. Whoever finds a file with the fingerprint of the last
//! publication on record knows that it was taken and only its move is missing: so a crash at any point neither loses a file
//! nor takes it twice (INV-3, INV-4).

use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs::{self, File, Metadata},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tidegate_core::{
    Code, Failure, pipeline,
    seam::{Fetched, Glance, Landing, Source, Validators},
};

/// Endings of names under which programs write what is not complete yet.
const INCOMPLETE: [&str; 7] = [".part", ".partial", ".filepart", ".crdownload", ".tmp", ".temp", "~"];

/// Whether a file of this name is still being written, by the habits of those who write files.
pub(super) fn is_incomplete(name: &str) -> bool {
    name.starts_with('.') || INCOMPLETE.iter().any(|ending| name.ends_with(ending))
}

/// A folder into which files are dropped.
pub struct DroppedFiles {
    name: String,
    pattern: PathBuf,
    archive: PathBuf,
    settle: Duration,
}

/// A file, or a folder of files, that somebody dropped.
struct Entry {
    path: PathBuf,
    /// Its files in the order of their names; one, unless it is a folder.
    files: Vec<(PathBuf, Metadata)>,
    /// Whether somebody is still writing in it, by the name of a file.
    growing: bool,
}

impl DroppedFiles {
    /// As the pipeline file says, relative to `folder`; none if files are left where they are.
    pub fn new(name: &str, folder: &Path, spec: &pipeline::FileSource) -> Option<Self> {
        let archive = folder.join(spec.archive.as_ref()?);
        Some(Self { name: name.to_owned(), pattern: folder.join(&spec.path), archive, settle: spec.settle.0 })
    }

    fn failed(&self, path: &Path, what: &str, error: &io::Error) -> Failure {
        Failure::new(Code::TG206, format!("source `{}`: {} {what}", self.name, path.display())).because(error)
    }

    fn unreadable(&self, path: &Path, error: &io::Error) -> Failure {
        self.failed(path, "cannot be read", error)
    }

    /// What lies there, in the order of names. Links are not followed: whoever may drop a file may not read others.
    fn entries(&self) -> Result<Vec<Entry>, Failure> {
        let paths = glob::glob(&self.pattern.to_string_lossy())
            .map_err(|error| Failure::new(Code::TG102, format!("source `{}`: the pattern is not valid", self.name)).because(&error))?;
        let archive = self.archive.canonicalize().ok();
        let mut entries = Vec::new();
        for path in paths {
            let path = path.map_err(|error| self.unreadable(error.path(), error.error()))?;
            let is_archive = archive.as_ref().is_some_and(|archive| path.canonicalize().is_ok_and(|path| path == *archive));
            if is_archive || path.file_name().is_none_or(|name| is_incomplete(&name.to_string_lossy())) {
                continue;
            }
            // Whoever dropped it may take it away again at any moment.
            let Some(metadata) = there(fs::symlink_metadata(&path)).map_err(|error| self.unreadable(&path, &error))? else { continue };
            let found = if metadata.is_dir() {
                self.files_in(&path)?
            } else if metadata.is_file() {
                vec![(path.clone(), metadata)]
            } else {
                Vec::new()
            };
            let (growing, files): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|(file, _)| file.file_name().is_none_or(|name| is_incomplete(&name.to_string_lossy())));
            if !files.is_empty() {
                let is_hidden = |file: &Path| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
                entries.push(Entry { path, files, growing: growing.iter().any(|(file, _)| !is_hidden(file)) });
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    fn files_in(&self, folder: &Path) -> Result<Vec<(PathBuf, Metadata)>, Failure> {
        let Some(found) = there(fs::read_dir(folder)).map_err(|error| self.unreadable(folder, &error))? else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for file in found {
            let path = file.map_err(|error| self.unreadable(folder, &error))?.path();
            match there(fs::symlink_metadata(&path)).map_err(|error| self.unreadable(&path, &error))? {
                Some(metadata) if metadata.is_file() => files.push((path, metadata)),
                _ => {}
            }
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(files)
    }

    /// Moves what was taken to the archive, under another name if there is one of this name already.
    fn put_away(&self, entry: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| {
            self.failed(entry, &format!("cannot be moved to {}", self.archive.display()), &error)
                .hint("it was taken and is kept; the archive must be a folder on the same file system that may be written to")
        };
        fs::create_dir_all(&self.archive).map_err(failed)?;
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let names = std::iter::once(name.clone()).chain((2..).map(|nth| format!("{name}.{nth}")));
        let free = names.map(|name| self.archive.join(name)).find(|path| fs::symlink_metadata(path).is_err());
        let Some(free) = free else { return Ok(()) };
        fs::rename(entry, &free).map_err(failed)?;
        // If the move were forgotten by a power cut, the file would be taken once more.
        for folder in [Some(self.archive.as_path()), entry.parent()].into_iter().flatten() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(())
    }

    /// Puts away what is on record, and gives the rest.
    fn waiting(&self, known: &Validators) -> Result<Vec<Entry>, Failure> {
        let mut entries = self.entries()?;
        if let Some(taken) = known.etag.as_deref()
            && let Some(at) = entries.iter().position(|entry| entry.fingerprint() == taken)
        {
            self.put_away(&entries.remove(at).path)?;
        }
        Ok(entries)
    }

    fn is_settled(&self, entry: &Entry) -> bool {
        !entry.growing && entry.files.iter().all(|(_, metadata)| age(metadata).is_some_and(|age| age >= self.settle))
    }

    async fn land(&self, entry: &Entry, landing: &mut dyn Landing) -> Result<(), Failure> {
        for (path, metadata) in &entry.files {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            landing.begin(&name, Some(metadata.len())).await?;
            super::file::copy(path, landing).await.map_err(|error| error.unwrap_or_else(|error| self.unreadable(path, &error)))?;
        }
        Ok(())
    }

    /// What there is to say if nothing can be taken.
    fn nothing(&self, known: &Validators, settling: usize) -> Fetched {
        match (known.etag.is_some(), settling) {
            (true, _) => Fetched::NotModified,
            (false, 0) => Fetched::Missing { said: format!("nothing was dropped at {} yet", self.pattern.display()) },
            (false, n) => {
                Fetched::Missing { said: format!("{n} dropped at {} and not left alone long enough yet", self.pattern.display()) }
            }
        }
    }
}

impl Entry {
    /// Names, sizes, times and file numbers, hashed: another file under the same name is another entry.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.path.file_name().unwrap_or_default().as_encoded_bytes());
        for (path, metadata) in &self.files {
            hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            let modified = metadata.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
            hash.update(format!("\0{}\0{}\0{}\0", metadata.len(), modified.as_nanos(), number(metadata)).as_bytes());
        }
        hash.finalize().iter().fold(String::from("dropped:"), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
    }

    fn published_at(&self) -> Option<Timestamp> {
        self.files.iter().filter_map(|(_, metadata)| Timestamp::try_from(metadata.modified().ok()?).ok()).max()
    }
}

/// Nothing where there is nothing.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(unix)]
fn number(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number(_: &Metadata) -> u64 {
    0
}

/// How long a file has been left alone. A copy can be given an old time of writing, but not an old time of change.
fn age(metadata: &Metadata) -> Option<Duration> {
    let written = SystemTime::now().duration_since(metadata.modified().ok()?).ok()?;
    Some(changed(metadata).map_or(written, |changed| written.min(changed)))
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<Duration> {
    use std::os::unix::fs::MetadataExt as _;
    let at = Duration::new(u64::try_from(metadata.ctime()).ok()?, u32::try_from(metadata.ctime_nsec()).ok()?);
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + at).ok()
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<Duration> {
    None
}

#[async_trait]
impl Source for DroppedFiles {
    async fn fetch(&self, known: &Validators, landing: &mut dyn Landing) -> Result<Fetched, Failure> {
        let waiting = self.waiting(known)?;
        // In the order of names also while the first one is still being written.
        let Some(entry) = waiting.first().filter(|entry| self.is_settled(entry)) else { return Ok(self.nothing(known, waiting.len())) };
        let etag = entry.fingerprint();
        self.land(entry, landing).await?;
        // Somebody who writes all the same gives us neither the old nor the new file.
        if !self.entries()?.iter().any(|now| now.path == entry.path && now.fingerprint() == etag) {
            return Err(Failure::new(Code::TG201, format!("source `{}`: {} changed while it was read", self.name, entry.path.display()))
                .hint("write to a name that ends in .part and rename; the next run reads it again"));
        }
        Ok(Fetched::Landed { validators: Validators { etag: Some(etag), last_modified: None }, published_at: entry.published_at() })
    }

    async fn glance(&self, known: &Validators) -> Result<Glance, Failure> {
        let entries = self.entries()?;
        let mut waiting = entries.iter().filter(|entry| known.etag.as_ref().is_none_or(|taken| entry.fingerprint() != *taken));
        Ok(match waiting.next() {
            Some(entry) if self.is_settled(entry) => Glance::New(Validators { etag: Some(entry.fingerprint()), last_modified: None }),
            Some(_) => Glance::Settling,
            None if known.etag.is_some() => Glance::Same,
            None => Glance::Missing { said: format!("nothing was dropped at {} yet", self.pattern.display()) },
        })
    }

    async fn taken(&self, recorded: &Validators) -> Result<(), Failure> {
        self.waiting(recorded).map(|_| ())
    }
}
