//! A publication on its way into the raw store.

use super::{PACKED, Part, hex, path, writer::RawWriter};
use crate::{
    error::{Result, StateError},
    home::Home,
};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tidegate_core::{
    Code, Failure, Stage, fault,
    pipeline::ByteSize,
    seam::{Landing, Progress},
};
use tokio::fs::File;

/// A publication on its way into the store.
pub struct RawLanding {
    home: Home,
    source: String,
    folder: PathBuf,
    limit: ByteSize,
    progress: Arc<dyn Progress>,
    open: Option<Incoming>,
    done: Vec<Landed>,
    begun: usize,
    bytes: u64,
    total: Option<u64>,
}

/// A file that is whole and on disk, and has no name yet.
struct Landed {
    path: PathBuf,
    packed: bool,
    part: Part,
}

struct Incoming {
    name: String,
    path: PathBuf,
    file: RawWriter,
    hash: Sha256,
    bytes: u64,
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
        let packed = incoming.file.finish(known).await.map_err(|error| Self::failed(&incoming.path, error))?;
        self.done.push(Landed { path: incoming.path, packed, part });
        Ok(())
    }

    /// Gives the files their names in the store. From here on they are kept.
    pub async fn keep(mut self) -> Result<Vec<Part>> {
        self.close().await?;
        fault::point("raw.before_keep");
        let mut parts = Vec::new();
        for Landed { path: from, packed, part } in std::mem::take(&mut self.done) {
            let mut to = path(&self.home, &part.sha256);
            if to.is_file() {
                parts.push(part);
                continue;
            }
            if packed {
                to.set_extension(PACKED);
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
        let file = RawWriter::create(&path).map_err(|error| Self::failed(&path, error))?;
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
