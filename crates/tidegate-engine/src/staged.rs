//! Rows on their way between stages: in memory up to a budget, in an Arrow IPC file beyond it (INV-8).

use crate::error::{EngineError, Result};
use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    ipc::{reader::FileReader, writer::FileWriter},
};
use datafusion::{
    catalog::{TableProvider, streaming::StreamingTable},
    common::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

/// A stream of batches that is pulled from a blocking thread.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Batches that are read ahead of whoever takes them. Bounded (INV-8); ends with the stream, or when the result is dropped.
const AHEAD: usize = 8;

/// Reads `batches` on a thread of their own, a few ahead.
pub(crate) fn ahead(batches: Batches) -> Result<Batches> {
    let (send, receive) = mpsc::sync_channel(AHEAD);
    let read = move || {
        for batch in batches {
            if send.send(batch).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("read-ahead".to_owned())
        .spawn(read)
        .map_err(|error| EngineError::Bug(format!("no thread to read ahead: {error}")))?;
    Ok(Box::new(receive.into_iter()))
}

/// Takes batches in.
pub(crate) struct Stager {
    schema: SchemaRef,
    file: PathBuf,
    budget: usize,
    bytes: usize,
    batches: Vec<RecordBatch>,
    rows: u64,
    spill: Option<FileWriter<BufWriter<File>>>,
}

/// Batches that can be read any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    schema: SchemaRef,
    batches: Arc<Vec<RecordBatch>>,
    file: Option<Arc<PathBuf>>,
    rows: u64,
}

impl Stager {
    /// `file` is written only if more than `budget` bytes come in.
    pub(crate) fn new(schema: SchemaRef, file: PathBuf, budget: usize) -> Self {
        Self { schema, file, budget, bytes: 0, batches: Vec::new(), rows: 0, spill: None }
    }

    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        if let Some(spill) = &mut self.spill {
            return spill.write(&batch).map_err(|error| ipc(&self.file, error));
        }
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch);
        if self.bytes > self.budget {
            let failed = |source| EngineError::Write { path: self.file.clone(), source };
            if let Some(parent) = self.file.parent() {
                std::fs::create_dir_all(parent).map_err(failed)?;
            }
            let file = BufWriter::with_capacity(1 << 20, File::create(&self.file).map_err(failed)?);
            let mut spill = FileWriter::try_new(file, &self.schema).map_err(|error| ipc(&self.file, error))?;
            for batch in self.batches.drain(..) {
                spill.write(&batch).map_err(|error| ipc(&self.file, error))?;
            }
            self.spill = Some(spill);
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Staged> {
        let file = match &mut self.spill {
            Some(spill) => {
                spill.finish().map_err(|error| ipc(&self.file, error))?;
                Some(Arc::new(self.file))
            }
            None => None,
        };
        Ok(Staged { schema: self.schema, batches: Arc::new(self.batches), file, rows: self.rows })
    }
}

/// A full disk comes out of the IPC writer as an Arrow error.
fn ipc(path: &Path, error: arrow::error::ArrowError) -> EngineError {
    match error {
        arrow::error::ArrowError::IoError(_, source) => EngineError::Write { path: path.to_owned(), source },
        other => other.into(),
    }
}

impl Staged {
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The batches, in the order in which they came.
    pub(crate) fn read(&self) -> Result<Batches> {
        match &self.file {
            None => {
                let batches = Arc::clone(&self.batches);
                Ok(Box::new((0..batches.len()).map(move |i| Ok(batches[i].clone()))))
            }
            Some(path) => {
                let file = File::open(path.as_path()).map_err(|source| EngineError::Read {
                    name: "scratch".to_owned(),
                    path: path.to_path_buf(),
                    source,
                })?;
                let reader = FileReader::try_new(BufReader::with_capacity(1 << 20, file), None)?;
                Ok(Box::new(reader.map(|batch| batch.map_err(EngineError::from))))
            }
        }
    }

    /// As a table for SQL; it may be read several times.
    pub(crate) fn table(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(StreamingTable::try_new(self.schema(), vec![Arc::new(self.clone())])?))
    }
}

impl PartitionStream for Staged {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches: Batches = match self.read() {
            Ok(batches) => batches,
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        let batches = batches.map(|batch| batch.map_err(|error| DataFusionError::External(Box::new(error))));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), futures::stream::iter(batches)))
    }
}
