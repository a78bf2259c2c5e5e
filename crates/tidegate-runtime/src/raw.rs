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
    path::{Path, PathBuf},
    sync::Arc,
};
use tidegate_core::{
    Code, Failure, Stage, fault,
    pipeline::ByteSize,
    seam::{Landing, Progress},
};
use tokio::{
    fs::File,
    io::{AsyncWriteExt as _, BufWriter},
};

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
    bytes: u64,
    total: Option<u64>,
}

struct Incoming {
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl RawLanding {
    /// For one fetch of a source of `pipeline`, of at most `limit` bytes.
    pub fn new(home: &Home, pipeline: &str, source: &str, limit: ByteSize, progress: Arc<dyn Progress>) -> Self {
        let folder = home.raw().join("incoming").join(pipeline).join(source);
        Self { home: home.clone(), source: source.to_owned(), folder, limit, progress, open: None, done: Vec::new(), bytes: 0, total: None }
    }

    fn failed(path: &Path, source: std::io::Error) -> Failure {
        StateError::Write { path: path.to_owned(), source }.into()
    }

    async fn close(&mut self) -> Result<()> {
        let Some(mut incoming) = self.open.take() else { return Ok(()) };
        let failed = |error| Self::failed(&incoming.path, error);
        incoming.file.flush().await.map_err(failed)?;
        incoming.file.get_ref().sync_all().await.map_err(failed)?;
        let part = Part { name: incoming.name, sha256: hex(&incoming.hash.finalize()), bytes: incoming.bytes };
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
        let path = self.folder.join(format!("{}", self.done.len()));
        let file = File::create(&path).await.map_err(|error| Self::failed(&path, error))?;
        self.total = size.map(|size| size + self.bytes);
        self.open =
            Some(Incoming { name: name.to_owned(), path, file: BufWriter::with_capacity(1 << 18, file), hash: Sha256::new(), bytes: 0 });
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
        incoming.file.write_all(bytes).await.map_err(|error| Self::failed(&incoming.path, error))?;
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
