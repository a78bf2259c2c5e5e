//! The data plane: parse, SQL transform, checks, diff, Delta tables. It knows no URLs and no ledger.

mod changeset;
mod check;
mod delta;
mod diff;
mod error;
mod order;
mod parquet_file;
mod parse;
mod prepare;
mod query;
mod restatement;
mod rows;
mod schema;
mod sql;
mod staged;
mod table_checks;
mod validate_sql;
mod veil;

pub use delta::DeltaDestination;
pub use error::EngineError;
pub use parse::{Guess, SourceRows, guess, guess_parquet};
pub use query::{Answer, AsOf, Statement, Tables};
pub use veil::{Seal, Veil};

use async_trait::async_trait;
use std::{path::Path, sync::Arc};
use tidegate_core::{
    Failure,
    changes::Change,
    pipeline::Pipeline,
    seam::{DataPlane, Prepared, Work},
};
use tokio::runtime::Handle;

/// The data plane on this machine.
#[derive(Debug, Clone)]
pub struct Engine {
    threads: usize,
    seal: Option<Arc<Seal>>,
}

impl Engine {
    /// With this many threads for parsing and writing; sensitive values are sealed, or masked without a seal.
    pub fn new(threads: usize, seal: Option<Arc<Seal>>) -> Self {
        Self { threads: threads.max(1), seal }
    }

    /// How many threads it uses.
    pub fn threads(&self) -> usize {
        self.threads
    }
}

#[async_trait]
impl DataPlane for Engine {
    async fn prepare(&self, work: Work) -> Result<Prepared, Failure> {
        let veil = Veil::new(work.pipeline.sensitive_columns(), self.seal.clone());
        let (handle, engine) = (Handle::current(), self.clone());
        let prepared = tokio::task::spawn_blocking(move || prepare::prepare(&work, handle, &engine)).await;
        let prepared = prepared.map_err(|error| EngineError::Bug(format!("the preparation panicked: {error}")))?;
        Ok(prepared.map_err(|error| error.veiled(&veil))?)
    }

    async fn changes(&self, pipeline: &Arc<Pipeline>, changeset: &Path, first: u64, most: usize) -> Result<Vec<Change>, Failure> {
        let veil = Veil::new(pipeline.sensitive_columns(), self.seal.clone());
        let file = changeset.to_owned();
        let read = tokio::task::spawn_blocking(move || changeset::changes(&file, first, most, &veil)).await;
        Ok(read.map_err(|error| EngineError::Bug(format!("reading a changeset panicked: {error}")))??)
    }
}

/// Checks the SQL of a pipeline without any data: the transform against empty sources, and every row check.
///
/// Gives all errors found, and the columns the table would have.
pub async fn validate(
    pipeline: &tidegate_core::pipeline::Pipeline,
    scratch: &std::path::Path,
) -> Result<Vec<(String, String)>, Vec<Failure>> {
    validate_sql::validate(pipeline, scratch).await
}
