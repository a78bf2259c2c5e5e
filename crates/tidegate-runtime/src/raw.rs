//! The raw store: publications as they came, by the hash of their content.
//!
//! A file under `raw/ab/abcdef…` is complete and never changes. Bytes on their way in are in `raw/incoming/` and have no
//! name yet; what a dead process left there is removed by the next one.

use crate::{
    error::{Result, StateError},
    home::Home,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use tidegate_core::{
    Code, Failure, Stage, fault,
    pipeline::ByteSize,
    seam::{Landing, Progress},
};
use tokio::{fs::File, sync::mpsc, task::JoinHandle};

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

/// Where the bytes of `sha256` are.
pub fn path(home: &Home, sha256: &str) -> PathBuf {
    home.raw().join(sha256.get(..2).unwrap_or("00")).join(sha256)
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

/// A publication on its way into the store.
pub struct RawLanding {
    home: Home,
    source: String,
    folder: PathBuf,
    limit: ByteSize,
    progress: Arc<dyn Progress>,
    open: Option<Incoming>,
    done: Vec<(PathBuf, Part)>,
    begun: usize,
    bytes: u64,
    total: Option<u64>,
}

struct Incoming {
    name: String,
    path: PathBuf,
    file: Appender,
    hash: Sha256,
    bytes: u64,
}

/// Bytes that are handed to the disk at once.
const CHUNK: usize = 1 << 20;
/// Chunks on their way to the disk while the next ones arrive and are hashed (INV-8).
const CHUNKS: usize = 4;

/// Bytes after which the disk begins with what was written: less is left to wait for at the end.
const AHEAD: usize = 8 << 20;

/// An error of the disk is told once for a file, to whoever asks first: so each answer is looked at.
fn synced(ahead: Option<JoinHandle<std::io::Result<()>>>) -> std::io::Result<()> {
    ahead.map_or(Ok(()), |ahead| tokio::runtime::Handle::current().block_on(ahead).map_err(std::io::Error::other)?)
}

/// Writes a file on a thread of its own.
struct Appender {
    gathered: Vec<u8>,
    send: mpsc::Sender<Vec<u8>>,
    written: JoinHandle<std::io::Result<std::fs::File>>,
}

impl Appender {
    fn create(path: &Path) -> std::io::Result<Self> {
        let mut file = std::fs::File::create(path)?;
        let (send, mut receive) = mpsc::channel::<Vec<u8>>(CHUNKS);
        let written = tokio::task::spawn_blocking(move || {
            let (mut ahead, mut since) = (None, 0);
            while let Some(chunk) = receive.blocking_recv() {
                file.write_all(&chunk)?;
                since += chunk.len();
                if since >= AHEAD && ahead.as_ref().is_none_or(JoinHandle::is_finished) {
                    synced(ahead.take())?;
                    let twin = file.try_clone()?;
                    ahead = Some(tokio::task::spawn_blocking(move || twin.sync_data()));
                    since = 0;
                }
            }
            synced(ahead)?;
            Ok(file)
        });
        Ok(Self { gathered: Vec::new(), send, written })
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() < CHUNK { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        let chunk = std::mem::replace(&mut self.gathered, Vec::with_capacity(CHUNK));
        if self.send.send(chunk).await.is_ok() {
            return Ok(());
        }
        // The thread is gone: it says why.
        match (&mut self.written).await {
            Ok(Err(error)) => Err(error),
            _ => Err(std::io::Error::other("the writer ended early")),
        }
    }

    /// Brings everything to disk; with `known`, the same bytes are there already, and these need not be.
    async fn finish(mut self, known: bool) -> std::io::Result<()> {
        self.flush().await?;
        drop(self.send);
        let file = self.written.await.map_err(std::io::Error::other)??;
        if known {
            return Ok(());
        }
        tokio::task::spawn_blocking(move || file.sync_all()).await.map_err(std::io::Error::other)?
    }
}

impl RawLanding {
    /// For one fetch of a source of `pipeline`, of at most `limit` bytes.
    pub fn new(home: &Home, pipeline: &str, source: &str, limit: ByteSize, progress: Arc<dyn Progress>) -> Self {
        let folder = home.raw().join("incoming").join(pipeline).join(source);
        Self {
            home: home.clone(),
            source: source.to_owned(),
            folder,
            limit,
            progress,
            open: None,
            done: Vec::new(),
            begun: 0,
            bytes: 0,
            total: None,
        }
    }

    fn failed(path: &Path, source: std::io::Error) -> Failure {
        StateError::Write { path: path.to_owned(), source }.into()
    }

    async fn close(&mut self) -> Result<()> {
        let Some(incoming) = self.open.take() else { return Ok(()) };
        let part = Part { name: incoming.name, sha256: hex(&incoming.hash.finalize()), bytes: incoming.bytes };
        let known = path(&self.home, &part.sha256).is_file();
        incoming.file.finish(known).await.map_err(|error| Self::failed(&incoming.path, error))?;
        self.done.push((incoming.path, part));
        Ok(())
    }

    /// Gives the files their names in the store. From here on they are kept.
    pub async fn keep(mut self) -> Result<Vec<Part>> {
        self.close().await?;
        fault::point("raw.before_keep");
        let mut parts = Vec::new();
        for (from, part) in std::mem::take(&mut self.done) {
            let to = path(&self.home, &part.sha256);
            if to.is_file() {
                parts.push(part);
                continue;
            }
            let failed = |error| Self::failed(&to, error);
            if let Some(parent) = to.parent() {
                tokio::fs::create_dir_all(parent).await.map_err(failed)?;
            }
            tokio::fs::rename(&from, &to).await.map_err(failed)?;
            if let Some(parent) = to.parent() {
                File::open(parent).await.map_err(failed)?.sync_all().await.map_err(failed)?;
            }
            parts.push(part);
        }
        fault::point("raw.kept");
        Ok(parts)
    }
}

#[async_trait]
impl Landing for RawLanding {
    async fn begin(&mut self, name: &str, size: Option<u64>) -> Result<()> {
        self.close().await?;
        tokio::fs::create_dir_all(&self.folder).await.map_err(|error| Self::failed(&self.folder, error))?;
        // A name of its own: the thread of a file that was given up may still be at work on it.
        let path = self.folder.join(self.begun.to_string());
        self.begun += 1;
        let file = Appender::create(&path).map_err(|error| Self::failed(&path, error))?;
        self.total = size.map(|size| size + self.bytes);
        self.open = Some(Incoming { name: name.to_owned(), path, file, hash: Sha256::new(), bytes: 0 });
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(incoming) = &mut self.open else { return Err(Failure::new(Code::TG901, "bytes came before their file")) };
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limit.0 {
            let what = format!("source `{}` is larger than {}", self.source, self.limit);
            return Err(Failure::new(Code::TG205, what).hint("raise `limits: { max_bytes: … }` if that is right"));
        }
        incoming.hash.update(bytes);
        incoming.bytes += bytes.len() as u64;
        incoming.file.write(bytes).await.map_err(|error| Self::failed(&incoming.path, error))?;
        self.progress.advance(Stage::Extract, &self.source, self.bytes, self.total);
        Ok(())
    }

    async fn restart(&mut self) -> Result<()> {
        self.open = None;
        self.done.clear();
        self.bytes = 0;
        Ok(())
    }
}

impl Drop for RawLanding {
    fn drop(&mut self) {
        // What was not kept is worth nothing. The folder is there only if something was begun.
        if self.folder.is_dir() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
