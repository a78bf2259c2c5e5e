//! Writing Parquet files that are either whole and on disk, or not there.

use crate::error::{EngineError, Result};
use arrow::{array::RecordBatch, datatypes::SchemaRef};
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::Compression,
    file::{
        metadata::{KeyValue, ParquetMetaData},
        properties::WriterProperties,
    },
};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A Parquet file being written. Dropped before [`ParquetFile::finish`], it leaves a temporary file that nobody reads.
pub(crate) struct ParquetFile {
    path: PathBuf,
    temporary: PathBuf,
    writer: ArrowWriter<Hashing>,
    rows: u64,
}

/// A finished file.
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Of files that begin with notes: these are proof, the others can be made again.
    pub(crate) sha256: String,
    pub(crate) metadata: ParquetMetaData,
}

/// Counts and hashes what goes through it.
struct Hashing {
    file: File,
    hash: Option<Sha256>,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&bytes[..written]);
        }
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl ParquetFile {
    /// Begins a file; `notes` go into its key-value metadata.
    pub(crate) fn create(path: &Path, schema: SchemaRef, notes: &[(&str, String)]) -> Result<Self> {
        let failed = |source| EngineError::Write { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
        // Delta's vacuum leaves names that begin with `_` alone, and readers never look at them.
        let temporary = path.with_file_name(format!("_{name}.part"));
        let file = File::create(&temporary).map_err(failed)?;
        let hash = (!notes.is_empty()).then(Sha256::new);
        let notes = notes.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone())).collect();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(1 << 17))
            .set_key_value_metadata(Some(notes))
            .set_created_by("tidegate".to_owned())
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let hashing = Hashing { file, hash, bytes: 0 };
        let writer = ArrowWriter::try_new_with_options(hashing, schema, options)?;
        Ok(Self { path: path.to_owned(), temporary, writer, rows: 0 })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: parquet::errors::ParquetError) -> EngineError {
        match error {
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(source) => EngineError::Write { path: self.path.clone(), source: *source },
                Err(inner) => EngineError::Parquet(parquet::errors::ParquetError::External(inner)),
            },
            other => other.into(),
        }
    }

    /// Closes the file, brings it to disk, and only then gives it its name.
    pub(crate) fn finish(mut self) -> Result<Written> {
        let failed = |source| EngineError::Write { path: self.path.clone(), source };
        let metadata = match self.writer.finish() {
            Ok(metadata) => metadata,
            Err(error) => return Err(self.failed(error)),
        };
        let hashing = self.writer.inner_mut();
        hashing.file.sync_all().map_err(failed)?;
        let (bytes, digest) = (hashing.bytes, hashing.hash.take().map(Sha256::finalize));
        std::fs::rename(&self.temporary, &self.path).map_err(failed)?;
        sync_folder(self.path.parent()).map_err(failed)?;
        let sha256 = digest.iter().flatten().fold(String::with_capacity(64), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        });
        Ok(Written { rows: self.rows, bytes, sha256, metadata })
    }
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    folder.map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
