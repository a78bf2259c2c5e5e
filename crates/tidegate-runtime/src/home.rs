//! The home folder: where everything a Tidegate knows lies.

use crate::error::{Result, StateError};
use fs4::TryLockError;
use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
};
use tidegate_core::{RunId, changes::ChangesetInfo};

/// The home folder.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// A pipeline is run by one process at a time. The operating system frees the lock when the process ends, however it ends.
#[derive(Debug)]
pub struct PipelineLock {
    _file: File,
}

impl Home {
    /// At `root`; nothing is created yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.db")
    }

    /// The folder of raw publications.
    pub fn raw(&self) -> PathBuf {
        self.root.join("raw")
    }

    /// The Delta table called `name`.
    pub fn table(&self, name: &str) -> PathBuf {
        self.root.join("tables").join(name)
    }

    /// The history of the table called `name`.
    pub fn history(&self, name: &str) -> PathBuf {
        self.root.join("tables").join(format!("{name}__history"))
    }

    /// Where the changeset of a run is written. Another try is another file: a changeset is never altered.
    pub fn changeset(&self, pipeline: &str, run: RunId, attempt: u32) -> PathBuf {
        self.root.join("changesets").join(pipeline).join(format!("{:08}-{attempt}.parquet", run.0))
    }

    /// A changeset the ledger knows.
    pub fn changeset_file(&self, info: &ChangesetInfo) -> PathBuf {
        self.root.join(&info.file)
    }

    /// Where rows pushed to a source wait for a run.
    pub fn intake(&self, pipeline: &str, source: &str) -> PathBuf {
        self.root.join("intake").join(pipeline).join(source)
    }

    /// Locked by whoever takes over what dead processes left of a source's pushed rows. Not locked yet.
    pub(crate) fn intake_lock(&self, pipeline: &str, source: &str) -> Result<(File, PathBuf)> {
        self.lock_file(&format!("{pipeline}.{source}.intake"))
    }

    fn lock_file(&self, name: &str) -> Result<(File, PathBuf)> {
        let path = self.root.join("locks").join(format!("{name}.lock"));
        let failed = |source| StateError::Write { path: path.clone(), source };
        if let Some(parent) = path.parent()
            && !parent.is_dir()
        {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        Ok((file, path))
    }

    /// A folder for one run's intermediate data.
    pub fn scratch(&self, pipeline: &str) -> PathBuf {
        self.root.join("scratch").join(pipeline)
    }

    /// Takes the lock of a pipeline, or says that somebody has it.
    pub fn lock(&self, pipeline: &str) -> Result<PipelineLock> {
        let (file, path) = self.lock_file(pipeline)?;
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => Ok(PipelineLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked(pipeline.to_owned()).into()),
            Err(TryLockError::Error(source)) => Err(StateError::Write { path, source }.into()),
        }
    }
}
