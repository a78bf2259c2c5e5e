//! Writing Parquet files that are either whole and on disk, or not there.

use crate::error::{EngineError, Result};
use arrow::{array::RecordBatch, datatypes::SchemaRef};
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves},
    },
    basic::Compression,
    column::writer::ColumnCloseResult,
    file::{
        metadata::{ColumnChunkMetaData, KeyValue, ParquetMetaData, RowGroupMetaData},
        properties::{EnabledStatistics, WriterProperties},
        writer::SerializedFileWriter,
    },
};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Rows of a row group. Small enough that a file with few changed rows can take most of its row groups as they are from
/// the one before, large enough to compress well.
const GROUP: usize = if cfg!(test) { 16 } else { 1 << 14 };

/// A Parquet file being written. Dropped before [`ParquetFile::finish`], it leaves a temporary file that nobody reads.
pub(crate) struct ParquetFile {
    path: PathBuf,
    temporary: PathBuf,
    schema: SchemaRef,
    writer: SerializedFileWriter<Hashing>,
    factory: ArrowRowGroupWriterFactory,
    group: Option<Group>,
    groups: usize,
    rows: u64,
}

/// The row group being written.
struct Group {
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
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
            // Row groups are as small as pages are elsewhere: their own statistics say all there is to say.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_key_value_metadata(Some(notes))
            .set_created_by("tidegate".to_owned())
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let hashing = Hashing { file, hash, bytes: 0 };
        let (writer, factory) = ArrowWriter::try_new_with_options(hashing, Arc::clone(&schema), options)?.into_serialized_writer()?;
        Ok(Self { path: path.to_owned(), temporary, schema, writer, factory, group: None, groups: 0, rows: 0 })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut at = 0;
        while at < batch.num_rows() {
            let group = match &mut self.group {
                Some(group) => group,
                None => {
                    let columns = self.factory.create_column_writers(self.groups)?;
                    self.group.insert(Group { columns, rows: 0 })
                }
            };
            // One that began with rows of a full group may grow to two before it is cut.
            let rows = (batch.num_rows() - at).min(2 * GROUP - group.rows);
            let part = batch.slice(at, rows);
            let mut writers = group.columns.iter_mut();
            for (field, column) in self.schema.fields().iter().zip(part.columns()) {
                for (leaf, writer) in compute_leaves(field, column)?.iter().zip(&mut writers) {
                    writer.write(leaf)?;
                }
            }
            group.rows += rows;
            at += rows;
            self.rows += rows as u64;
            if self.group.as_ref().is_some_and(|group| group.rows >= 2 * GROUP) {
                self.end_group()?;
            }
        }
        Ok(())
    }

    /// Rows of one row group of their own, for those that come one after another without end.
    pub(crate) fn write_grouped(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut at = 0;
        while at < batch.num_rows() {
            let begun = self.group.as_ref().map_or(0, |group| group.rows);
            let rows = (batch.num_rows() - at).min(GROUP.saturating_sub(begun).max(1));
            self.write(&batch.slice(at, rows))?;
            at += rows;
            if begun + rows >= GROUP {
                self.end_group()?;
            }
        }
        Ok(())
    }

    /// Ends the row group being written, if there is one.
    pub(crate) fn end_group(&mut self) -> Result<()> {
        let Some(group) = self.group.take() else { return Ok(()) };
        self.groups += 1;
        let written = self.writer.next_row_group().and_then(|mut out| {
            for column in group.columns {
                column.close()?.append_to_row_group(&mut out)?;
            }
            out.close().map(drop)
        });
        written.map_err(|error| self.failed(error))
    }

    /// Rows that take the place of a row group: if they have become too many for one, they are cut into equal ones. (A full
    /// one and a rest would leave another tiny row group behind with every run.)
    pub(crate) fn write_evenly(&mut self, batches: &[RecordBatch]) -> Result<()> {
        let begun = self.group.as_ref().map_or(0, |group| group.rows);
        let all = begun + batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let each = all.div_ceil(all.div_ceil(2 * GROUP).max(1));
        for batch in batches {
            let mut at = 0;
            while at < batch.num_rows() {
                let begun = self.group.as_ref().map_or(0, |group| group.rows);
                let rows = (batch.num_rows() - at).min(each - begun);
                self.write(&batch.slice(at, rows))?;
                at += rows;
                if each < all && begun + rows >= each {
                    self.end_group()?;
                }
            }
        }
        self.end_grown_group()
    }

    /// Ends the row group being written once it has about as many rows as one should have.
    fn end_grown_group(&mut self) -> Result<()> {
        if self.group.as_ref().is_some_and(|group| group.rows >= GROUP / 2) { self.end_group() } else { Ok(()) }
    }

    /// Takes a row group of another file with the same columns as it is, without decoding it.
    pub(crate) fn copy_group(&mut self, from: &File, group: &RowGroupMetaData) -> Result<()> {
        self.end_group()?;
        self.groups += 1;
        let copied = self.writer.next_row_group().and_then(|mut out| {
            for column in group.columns() {
                out.append_column(from, as_it_is(column))?;
            }
            out.close().map(drop)
        });
        self.rows += u64::try_from(group.num_rows()).unwrap_or_default();
        copied.map_err(|error| self.failed(error))
    }

    /// Writes `rows` as a row group whose columns that do not `differ` are taken from another file's as they are.
    pub(crate) fn patch_group(&mut self, from: &File, group: &RowGroupMetaData, rows: &RecordBatch, differ: &[bool]) -> Result<()> {
        self.end_group()?;
        let mut writers = self.factory.create_column_writers(self.groups)?;
        self.groups += 1;
        let all = self.schema.fields().iter().zip(rows.columns()).zip(&mut writers).zip(differ);
        for (((field, column), writer), _) in all.filter(|(_, differs)| **differs) {
            for leaf in compute_leaves(field, column)? {
                writer.write(&leaf)?;
            }
        }
        let patched = self.writer.next_row_group().and_then(|mut out| {
            for ((writer, column), differs) in writers.into_iter().zip(group.columns()).zip(differ) {
                if *differs { writer.close()?.append_to_row_group(&mut out)? } else { out.append_column(from, as_it_is(column))? }
            }
            out.close().map(drop)
        });
        self.rows += rows.num_rows() as u64;
        patched.map_err(|error| self.failed(error))
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
        self.end_group()?;
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

/// A column chunk that is taken over.
fn as_it_is(column: &ColumnChunkMetaData) -> ColumnCloseResult {
    ColumnCloseResult {
        bytes_written: u64::try_from(column.compressed_size()).unwrap_or_default(),
        rows_written: u64::try_from(column.num_values()).unwrap_or_default(),
        metadata: column.clone(),
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    }
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    folder.map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
