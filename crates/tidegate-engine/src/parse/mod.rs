//! Bytes to typed rows: parallel, streaming, bad rows aside.
//!
//! [`SourceRows`] hands out batches in file order while the file is being read, and afterwards says what it found. What
//! it accepts and rejects does not depend on the number of threads (INV-3).

mod blocks;
mod bytes;
mod cells;
mod columns;
mod csv;
mod guess;
mod jsonl;
mod marks;
mod parquet;
mod reject;
mod sniff;
mod spans;
mod text;

pub use guess::{Guess, guess, guess_parquet};

use crate::{
    Seal, Veil,
    error::{EngineError, Result},
};
use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::{DataType, Date32Type, SchemaRef, TimeUnit, TimestampMicrosecondType},
};
use jiff::Timestamp;
use reject::Rejects;
use std::{collections::BTreeSet, sync::Arc};
use tidegate_core::{
    SourceReceipt,
    pipeline::{Format, Pipeline},
    quarantine::Rejected,
    seam::{Parsed, RawFile, SourceInput},
};

/// Finds the place of a column of the source in the pipeline file.
pub(crate) type Locate = dyn Fn(&[&str]) -> Option<tidegate_core::Location> + Send + Sync;

/// Everything a parser needs to know about its source.
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) source: tidegate_core::pipeline::Source,
    pub(crate) schema: SchemaRef,
    pub(crate) checks: Vec<crate::check::RowCheck>,
    /// Declared columns that identify a row.
    pub(crate) identity: Vec<usize>,
    /// Identities that are open in quarantine.
    pub(crate) open: BTreeSet<String>,
    /// Over the source's sensitive columns.
    pub(crate) veil: Veil,
    pub(crate) most_rejected: u64,
    pub(crate) threads: usize,
    /// Bytes that are parsed at once; smaller in tests.
    pub(crate) block: usize,
    /// Where a column is declared.
    pub(crate) location: Box<Locate>,
}

/// The rows of a source.
pub struct SourceRows {
    spec: Arc<Spec>,
    parts: std::vec::IntoIter<RawFile>,
    several: bool,
    current: Option<Box<dyn PartRows>>,
    rejects: Rejects,
    report: Parsed,
}

/// The rows of one file.
trait PartRows: Send {
    /// The next batch of good rows; the bad ones go to `rejects`.
    fn next(&mut self, rejects: &mut Rejects, report: &mut Parsed) -> Result<Option<RecordBatch>>;
}

impl SourceRows {
    /// Opens a source of `pipeline`. Nothing is read yet.
    pub fn open(pipeline: &Pipeline, input: &SourceInput, threads: usize, seal: Option<&Arc<Seal>>) -> Result<Self> {
        let source = pipeline.file.sources.get(&input.name).ok_or_else(|| EngineError::Bug(format!("no source `{}`", input.name)))?;
        let schema = crate::schema::source_schema(source);
        let identity = source.identity(&pipeline.file.table.key).into_iter().filter_map(|key| source.columns.get_index_of(key)).collect();
        let checks = crate::check::row_checks(pipeline, &input.name, &schema)?;
        let sensitive = source.columns.iter().filter(|(_, column)| column.sensitive).map(|(name, _)| name.clone()).collect();
        let (locations, path, name) = (pipeline.locations.clone(), pipeline.path.clone(), input.name.clone());
        let spec = Spec {
            name: input.name.clone(),
            source: source.clone(),
            schema,
            checks,
            identity,
            open: input.open.clone(),
            veil: Veil::new(sensitive, seal.cloned()),
            most_rejected: pipeline.file.limits.max_quarantine,
            threads,
            block: blocks::BLOCK,
            location: Box::new(move |column| {
                let mut at = vec!["sources", name.as_str(), "columns"];
                at.extend(column);
                locations.nearest(&at).map(|(line, column)| tidegate_core::Location { file: path.clone(), line, column })
            }),
        };
        let rejects = Rejects::new(&input.name, spec.most_rejected);
        let several = input.parts.len() > 1;
        let parts = input.parts.clone().into_iter();
        Ok(Self { spec: Arc::new(spec), parts, several, current: None, rejects, report: Parsed::default() })
    }

    /// Cuts the stream into smaller blocks, to see that the cut does not matter.
    #[cfg(test)]
    fn with_block(mut self, block: usize) -> Self {
        if let Some(spec) = Arc::get_mut(&mut self.spec) {
            spec.block = block;
        }
        self
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.spec.schema)
    }

    /// Whether a row was rejected so far.
    pub(crate) fn has_rejected(&self) -> bool {
        !self.rejects.rows.is_empty()
    }

    /// What was found, once all batches are out.
    pub fn finish(self) -> (Parsed, Vec<Rejected>) {
        (self.report, self.rejects.rows)
    }

    /// For telling whether the publisher has fallen silent.
    fn note_newest(&mut self, batch: &RecordBatch) {
        let Some(column) = self.spec.source.silence.as_ref().and_then(|silence| silence.column.as_ref()) else { return };
        let newest = batch.column_by_name(column).and_then(|array| match array.data_type() {
            // The day itself is still news.
            DataType::Date32 => arrow::compute::max(array.as_primitive::<Date32Type>())
                .and_then(|day| Timestamp::from_second((i64::from(day) + 1) * 86_400).ok()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => arrow::compute::max(array.as_primitive::<TimestampMicrosecondType>())
                .and_then(|micros| Timestamp::from_microsecond(micros).ok()),
            _ => None,
        });
        self.report.newest = self.report.newest.max(newest);
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(part) = &mut self.current {
                match part.next(&mut self.rejects, &mut self.report)? {
                    Some(batch) => {
                        if batch.num_rows() > 0 {
                            self.note_newest(&batch);
                            return Ok(Some(batch));
                        }
                        continue;
                    }
                    None => self.current = None,
                }
            }
            let Some(file) = self.parts.next() else { return Ok(None) };
            self.rejects.part = self.several.then(|| file.name.clone());
            self.current = Some(match self.spec.source.format {
                Format::Csv => text::open_csv(&self.spec, &file, &mut self.report)?,
                Format::Jsonl => text::open_jsonl(&self.spec, &file, &mut self.report)?,
                // Never packed: Parquet is read by its footer, where it lies. What is packed is none, and is told as such.
                Format::Parquet => parquet::open(&self.spec, &file.path, &mut self.report)?,
            });
        }
    }
}

impl Iterator for SourceRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

/// Adds to what was read and accepted.
fn count(receipt: &mut SourceReceipt, read: u64, accepted: u64) {
    receipt.read += read;
    receipt.accepted += accepted;
    receipt.rejected += read - accepted;
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
