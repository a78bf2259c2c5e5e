//! From spans to Arrow columns, one column at a time; rows with a bad cell are filtered out afterwards.

use super::{
    cells,
    spans::{Span, Spans},
};
use crate::{
    error::Result,
    schema::{UTC, arrow_type},
};
use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::SchemaRef,
};
use std::sync::Arc;
use tidegate_core::{
    pipeline::{Column, ColumnType},
    quarantine::Reason,
};

/// A good record that turned out not to be a good row.
pub(super) struct BadRow {
    /// Its place among the good records of the block.
    pub(super) record: usize,
    /// The declared column that is wrong.
    pub(super) column: Option<usize>,
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// What else than an unquoted empty cell means "no value", and what the quote is.
pub(super) struct Nulls {
    pub(super) words: Vec<Vec<u8>>,
    pub(super) quote: u8,
    pub(super) trim: bool,
}

/// Builds the batch of all records, good or not, and the list of bad rows in the order of the records.
pub(super) fn build(
    schema: &SchemaRef,
    columns: &[Column],
    nulls: &Nulls,
    spans: &Spans,
    bytes: &[u8],
    valid_utf8: bool,
) -> Result<(RecordBatch, Vec<BadRow>)> {
    let rows = spans.records.len();
    let mut bad = BadRows { first: vec![None; rows], found: Vec::new() };
    if !valid_utf8 {
        for (record, (start, end)) in spans.records.iter().enumerate() {
            let raw = &bytes[*start as usize..*end as usize];
            if std::str::from_utf8(raw).is_err() {
                bad.add(record, None, Reason::Encoding, || "the row has bytes that are not valid UTF-8".to_owned());
            }
        }
    }
    let arrays: Vec<ArrayRef> = columns
        .iter()
        .enumerate()
        .map(|(i, column)| build_column(Cells { i, column, nulls, spans, bytes }, valid_utf8, &mut bad))
        .collect::<Result<_>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?;
    let mut found = bad.found;
    found.sort_by_key(|row| row.record);
    Ok((batch, found))
}

/// Remembers the first complaint about each row.
struct BadRows {
    first: Vec<Option<()>>,
    found: Vec<BadRow>,
}

impl BadRows {
    fn add(&mut self, record: usize, column: Option<usize>, reason: Reason, message: impl FnOnce() -> String) {
        if self.first[record].replace(()).is_none() {
            self.found.push(BadRow { record, column, reason, message: message() });
        }
    }
}

fn build_column(cells: Cells<'_>, valid_utf8: bool, bad: &mut BadRows) -> Result<ArrayRef> {
    let column = cells.column;
    Ok(match column.kind {
        ColumnType::String => strings(&cells, valid_utf8, bad)?,
        ColumnType::Int64 => {
            let (values, valid) = cells.typed(bad, 0, cells::int64);
            Arc::new(Int64Array::new(values.into(), valid))
        }
        ColumnType::Float64 => {
            let (values, valid) = cells.typed(bad, 0.0, cells::float64);
            Arc::new(Float64Array::new(values.into(), valid))
        }
        ColumnType::Decimal(precision, scale) => {
            let (values, valid) = cells.typed(bad, 0, |cell| cells::decimal(cell, precision, scale));
            let array = Decimal128Array::new(values.into(), valid);
            Arc::new(array.with_data_type(arrow_type(column.kind)))
        }
        ColumnType::Bool => {
            let (values, valid) = cells.typed(bad, false, cells::boolean);
            Arc::new(BooleanArray::new(values.into(), valid))
        }
        ColumnType::Date => {
            let (values, valid) = cells.typed(bad, 0, |cell| cells::date(cell, &column.formats));
            Arc::new(Date32Array::new(values.into(), valid))
        }
        ColumnType::Timestamp => {
            let (values, valid) = cells.typed(bad, 0, |cell| cells::timestamp(cell, &column.formats));
            let array = TimestampMicrosecondArray::new(values.into(), valid);
            Arc::new(array.with_timezone(UTC))
        }
    })
}

struct Cells<'a> {
    i: usize,
    column: &'a Column,
    nulls: &'a Nulls,
    spans: &'a Spans,
    bytes: &'a [u8],
}

impl Cells<'_> {
    /// The cell's bytes; none if it has no value. A quoted empty cell is an empty text, and no value of any other type.
    fn value(&self, span: Span) -> Option<&[u8]> {
        let mut cell = span.bytes(self.bytes);
        if self.nulls.trim && !span.is_quoted() {
            cell = cell.trim_ascii();
        }
        if cell.is_empty() {
            return (span.is_quoted() && self.column.kind == ColumnType::String).then_some(cell);
        }
        if !self.nulls.words.is_empty() && !span.is_quoted() && self.nulls.words.iter().any(|word| word == cell) {
            return None;
        }
        Some(cell)
    }

    fn missing(&self, record: usize, bad: &mut BadRows) {
        if self.column.required {
            bad.add(record, Some(self.i), Reason::Required, || "the cell is empty, and the column is required".to_owned());
        }
    }

    fn typed<T: Copy>(&self, bad: &mut BadRows, nothing: T, parse: impl Fn(&[u8]) -> Option<T>) -> (Vec<T>, Option<NullBuffer>) {
        let spans = self.spans.column(self.i);
        let mut values = Vec::with_capacity(spans.len());
        let mut null_at = Vec::new();
        for (record, span) in spans.enumerate() {
            let parsed = match self.value(span) {
                Some(cell) => {
                    let parsed = parse(cell);
                    if parsed.is_none() {
                        bad.add(record, Some(self.i), Reason::Type, || cells::complaint(self.column, cell));
                    }
                    parsed
                }
                None => {
                    self.missing(record, bad);
                    None
                }
            };
            if parsed.is_none() {
                null_at.push(record);
            }
            values.push(parsed.unwrap_or(nothing));
        }
        let valid = nulls(values.len(), null_at);
        (values, valid)
    }
}

/// Gathers the text of all cells in one buffer, whose encoding is then checked as a whole.
fn strings(cells: &Cells<'_>, valid_utf8: bool, bad: &mut BadRows) -> Result<ArrayRef> {
    let spans = cells.spans.column(cells.i);
    let rows = spans.len();
    let mut values: Vec<u8> = Vec::with_capacity(rows * 12);
    let mut lengths: Vec<usize> = Vec::with_capacity(rows);
    let mut null_at = Vec::new();
    let doubled = [cells.nulls.quote; 2];
    for (record, span) in spans.enumerate() {
        let before = values.len();
        match cells.value(span) {
            // The row is among the bad ones already: it was looked at as a whole.
            Some(text) if !valid_utf8 && std::str::from_utf8(text).is_err() => null_at.push(record),
            Some(text) if span.is_escaped() => {
                let mut rest = text;
                while let Some(at) = memchr::memmem::find(rest, &doubled) {
                    values.extend_from_slice(&rest[..=at]);
                    rest = &rest[at + 2..];
                }
                values.extend_from_slice(rest);
            }
            Some(text) => values.extend_from_slice(text),
            None => {
                cells.missing(record, bad);
                null_at.push(record);
            }
        }
        lengths.push(values.len() - before);
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(StringArray::try_new(offsets, values.into(), nulls(rows, null_at))?))
}

fn nulls(rows: usize, null_at: Vec<usize>) -> Option<NullBuffer> {
    (!null_at.is_empty()).then(|| {
        let mut valid = vec![true; rows];
        for record in null_at {
            valid[record] = false;
        }
        NullBuffer::from(valid)
    })
}
