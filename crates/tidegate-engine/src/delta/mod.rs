//! The built-in destination: a Delta Lake table that any tool reads, and its history beside it.
//!
//! * The table is kept sorted: no two of its files overlap in the order of the key (`tidegate.order` in its metadata).
//! * A changeset is applied by writing anew the files that hold changed rows, and new files for the rest, in one commit
//!   that also records the run as an application transaction: applying it again finds the run there and does nothing
//!   (INV-2, INV-3). Delta's own MERGE is not used: it needs memory without bounds.
//! * The history's data files are the changesets themselves, hard-linked where the file system can.

mod apply;
mod current;
mod log;
mod merge;
mod rewrite;
mod stats;

pub(crate) use current::CurrentTable;

use crate::error::EngineError;
use async_trait::async_trait;
use std::path::{Path, PathBuf};
use tidegate_core::{
    Failure, RunId,
    seam::{Committed, Destination},
};

/// The Delta table of a pipeline and its history.
pub struct DeltaDestination {
    table: PathBuf,
    history: PathBuf,
    threads: usize,
}

impl DeltaDestination {
    /// For the folders of the table and of its history; they need not exist.
    pub fn new(table: &Path, history: &Path, threads: usize) -> Self {
        Self { table: table.to_owned(), history: history.to_owned(), threads }
    }

    async fn positions(&self) -> Result<(Option<RunId>, Option<RunId>), EngineError> {
        Ok((log::position(&self.table).await?, log::position(&self.history).await?))
    }
}

#[async_trait]
impl Destination for DeltaDestination {
    fn name(&self) -> &str {
        "delta"
    }

    async fn position(&self) -> Result<Option<RunId>, Failure> {
        let (table, history) = self.positions().await?;
        // Both or it is not applied: the one that is behind decides.
        Ok(table.zip(history).map(|(table, history)| table.min(history)))
    }

    async fn apply(&self, committed: &Committed) -> Result<(), Failure> {
        // Each looks into its own log first, and does nothing if the run is there.
        apply::append_history(&self.history, committed).await?;
        apply::apply(&self.table, committed, self.threads).await?;
        Ok(())
    }
}
