//! Produced rows with the same key: exact repetitions collapse, contradictions are all rejected.

use crate::{
    error::{EngineError, Result},
    order::Order,
    rows,
    staged::Batches,
    veil::Veil,
};
use arrow::{
    array::{Array, BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    compute::{concat_batches, filter_record_batch, kernels::cmp::distinct},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};
use tidegate_core::quarantine::{Reason, Rejected};

/// What was found, once all rows are through.
#[derive(Debug, Default)]
pub(crate) struct Deduped {
    pub(crate) duplicate: u64,
    pub(crate) rejected: Vec<Rejected>,
    /// Keys that several rows have with different values: the table's row stays. Known before any later row is handed on.
    pub(crate) contradicted: BTreeSet<String>,
    /// Of the open identities, those whose row is good.
    pub(crate) healed: BTreeSet<String>,
}

/// Wraps rows in the table's order; what is found goes to `found`.
pub(crate) fn dedupe(
    input: Batches,
    table: &str,
    key: Order,
    most: u64,
    open: BTreeSet<String>,
    veil: Veil,
    found: Arc<Mutex<Deduped>>,
) -> Batches {
    let mut state = Dedupe { input, table: table.to_owned(), key, most, open, veil, held: None, found };
    Box::new(std::iter::from_fn(move || state.next().transpose()))
}

struct Dedupe {
    input: Batches,
    table: String,
    key: Order,
    most: u64,
    open: BTreeSet<String>,
    veil: Veil,
    /// A batch whose last row may have its like in the next one.
    held: Option<RecordBatch>,
    found: Arc<Mutex<Deduped>>,
}

impl Dedupe {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(next) = self.input.next().transpose()? else {
                return self.held.take().map(|batch| self.resolve(batch)).transpose();
            };
            if next.num_rows() == 0 {
                continue;
            }
            let Some(held) = self.held.take() else {
                self.held = Some(next);
                continue;
            };
            if self.key.comparator(&held, &next)?.compare(held.num_rows() - 1, 0).is_eq() {
                self.held = Some(concat_batches(&held.schema(), [&held, &next])?);
                continue;
            }
            self.held = Some(next);
            return self.resolve(held).map(Some);
        }
    }

    /// The good rows of a batch that shares no key with its neighbours.
    fn resolve(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let has_nulls = !self.keyless(&batch) && self.key.columns.iter().any(|column| batch.column(*column).null_count() > 0);
        let starts = run_starts(&batch, &self.key, true)?;
        let runs = starts.count_set_bits();
        if runs == rows && !has_nulls {
            self.note_healed(&batch);
            return Ok(batch);
        }
        let mut keep = vec![true; rows];
        if has_nulls {
            for row in (0..rows).filter(|row| self.key.columns.iter().any(|column| batch.column(*column).is_null(*row))) {
                keep[row] = false;
                self.reject(&batch, row, Reason::KeyNull, "the row has no value in its key")?;
            }
        }
        let begins: Vec<usize> = starts.set_indices().chain([rows]).collect();
        let differs = run_starts(&batch, &Order { columns: (0..batch.num_columns()).collect() }, false)?;
        for run in begins.windows(2).filter(|run| run[1] - run[0] > 1) {
            if !keep[run[0]] {
                continue;
            }
            if (run[0] + 1..run[1]).all(|row| !differs.value(row)) {
                keep[run[0] + 1..run[1]].fill(false);
                self.found().duplicate += (run[1] - run[0] - 1) as u64;
            } else {
                keep[run[0]..run[1]].fill(false);
                self.found().contradicted.insert(self.key_text(&batch, run[0]));
                for row in run[0]..run[1] {
                    self.reject(&batch, row, Reason::KeyConflict, "several rows have this key and different values")?;
                }
            }
        }
        let good = filter_record_batch(&batch, &BooleanArray::from(keep))?;
        self.note_healed(&good);
        Ok(good)
    }

    /// A table without a key is identified by all of its columns, and a null among them is a value like others.
    fn keyless(&self, batch: &RecordBatch) -> bool {
        self.key.columns.len() == batch.num_columns()
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Deduped> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key_text(&self, batch: &RecordBatch, row: usize) -> String {
        self.key.columns.iter().map(|column| rows::text(batch.column(*column), row)).collect::<Vec<_>>().join("\u{1f}")
    }

    fn identity(&self, batch: &RecordBatch, row: usize) -> String {
        self.veil.over_identity(self.key_text(batch, row))
    }

    fn note_healed(&self, batch: &RecordBatch) {
        if self.open.is_empty() {
            return;
        }
        for row in 0..batch.num_rows() {
            let identity = self.identity(batch, row);
            if self.open.contains(&identity) {
                self.found().healed.insert(identity);
            }
        }
    }

    fn reject(&self, batch: &RecordBatch, row: usize, reason: Reason, message: &str) -> Result<()> {
        let mut found = self.found();
        if found.rejected.len() as u64 >= self.most {
            return Err(EngineError::TooManyRejected {
                name: self.table.clone(),
                most: self.most,
                first: found.rejected[0].message.clone(),
            });
        }
        let raw = serde_json::Value::Object(rows::object(batch, row)).to_string();
        found.rejected.push(Rejected {
            source: self.table.clone(),
            part: None,
            line: None,
            identity: if reason == Reason::KeyNull { self.veil.over_identity(raw.clone()) } else { self.identity(batch, row) },
            key: None,
            raw: self.veil.over_text(raw, "table"),
            column: None,
            reason,
            message: message.to_owned(),
        });
        Ok(())
    }
}

/// A bit per row: whether it differs from the row before in one of the order's columns. The first row's bit is `first`.
fn run_starts(batch: &RecordBatch, order: &Order, first: bool) -> Result<BooleanBuffer> {
    let rows = batch.num_rows();
    let mut starts: Option<BooleanBuffer> = None;
    for column in &order.columns {
        let array = batch.column(*column);
        let differs = distinct(&array.slice(1, rows - 1), &array.slice(0, rows - 1))?;
        let bits = differs.values().clone();
        starts = Some(starts.map_or_else(|| bits.clone(), |before| &before | &bits));
    }
    let rest = starts.unwrap_or_else(|| BooleanBuffer::new_unset(rows - 1));
    let mut all = arrow::array::BooleanBufferBuilder::new(rows);
    all.append(first);
    all.append_buffer(&rest);
    Ok(all.finish())
}
