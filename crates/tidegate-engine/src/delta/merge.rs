//! Rows of a table's file and changes to them, both in order, as the rows afterwards.

use crate::{
    changeset::ops,
    error::{EngineError, Result},
    order::Order,
    staged::Batches,
};
use arrow::{
    array::RecordBatch,
    compute::{cast, interleave_record_batch},
    datatypes::SchemaRef,
};
use std::{cmp::Ordering, sync::Arc};
use tidegate_core::changes::Op;

/// Rows gathered before they are handed on.
const GATHER: usize = 8192;

/// Changed rows, with the columns of the table only, and their ops.
#[derive(Clone)]
pub(super) struct Slice {
    pub(super) rows: RecordBatch,
    pub(super) ops: Vec<Op>,
}

impl Slice {
    /// Takes a batch of a changeset apart.
    pub(super) fn new(batch: &RecordBatch, table: &SchemaRef) -> Result<Self> {
        let columns: Vec<usize> = table.fields().iter().map(|field| batch.schema().index_of(field.name())).collect::<Result<_, _>>()?;
        Ok(Self { rows: batch.project(&columns)?, ops: ops(batch)? })
    }

    /// With its columns as `schema` has them.
    pub(super) fn cast(&self, schema: &SchemaRef) -> Result<Self> {
        let columns = self.rows.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
        Ok(Self { rows: RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)?, ops: self.ops.clone() })
    }

    pub(super) fn slice(&self, start: usize, length: usize) -> Self {
        Self { rows: self.rows.slice(start, length), ops: self.ops[start..start + length].to_vec() }
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }
}

/// Merges `base` with `changes` and hands the rows to `out`.
pub(super) fn merge(base: Batches, changes: &[Slice], order: &Order, out: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
    let mut change = Cursor { changes, slice: 0, row: 0 };
    for batch in base {
        let batch = batch?;
        let mut gathered = Gather { batch: &batch, changes, picks: Vec::new() };
        let mut row = 0;
        while row < batch.num_rows() {
            let Some((slice, at)) = change.current() else {
                gathered.base(row, batch.num_rows());
                break;
            };
            let comparator = order.comparator(&batch, &changes[slice].rows)?;
            // Changes are few and rows are many: look ahead in growing steps, then halve.
            let reach = gallop(row, batch.num_rows(), |row| comparator.compare(row, at) == Ordering::Less);
            gathered.base(row, reach);
            row = reach;
            if row == batch.num_rows() {
                break;
            }
            let hit = comparator.compare(row, at) == Ordering::Equal;
            match (changes[slice].ops[at], hit) {
                (Op::Insert, false) => gathered.picks.push((slice + 1, at)),
                (Op::Update, true) => {
                    gathered.picks.push((slice + 1, at));
                    row += 1;
                }
                (Op::Delete, true) => row += 1,
                (op, _) => return Err(disagreement(op, hit)),
            }
            change.advance();
            gathered.flush_if_full(out)?;
        }
        gathered.flush(out)?;
    }
    // What comes after the last row can only be new.
    while let Some((slice, at)) = change.current() {
        let rest = changes[slice].slice(at, changes[slice].len() - at);
        if let Some(op) = rest.ops.iter().find(|op| **op != Op::Insert) {
            return Err(disagreement(*op, false));
        }
        out(rest.rows)?;
        change = Cursor { changes, slice: slice + 1, row: 0 };
    }
    Ok(())
}

fn disagreement(op: Op, hit: bool) -> EngineError {
    let is = if hit { "a row" } else { "no row" };
    EngineError::Foreign {
        path: "the table".into(),
        why: format!("the changeset says `{}`, and the table has {is} with that key", op.as_str()),
    }
}

/// The first place in `from..to` where `less` does not hold any more.
fn gallop(from: usize, to: usize, less: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut step) = (from, 1);
    let mut high = from;
    while high < to && less(high) {
        low = high + 1;
        high += step;
        step *= 2;
    }
    let mut high = high.min(to);
    while low < high {
        let middle = low + (high - low) / 2;
        if less(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

struct Cursor<'a> {
    changes: &'a [Slice],
    slice: usize,
    row: usize,
}

impl Cursor<'_> {
    fn current(&mut self) -> Option<(usize, usize)> {
        while self.slice < self.changes.len() && self.row >= self.changes[self.slice].len() {
            self.slice += 1;
            self.row = 0;
        }
        (self.slice < self.changes.len()).then_some((self.slice, self.row))
    }

    fn advance(&mut self) {
        self.row += 1;
    }
}

/// Picks of rows from a base batch (0) and from change slices (1 …), in order.
struct Gather<'a> {
    batch: &'a RecordBatch,
    changes: &'a [Slice],
    picks: Vec<(usize, usize)>,
}

impl Gather<'_> {
    fn base(&mut self, from: usize, to: usize) {
        self.picks.extend((from..to).map(|row| (0, row)));
    }

    fn flush_if_full(&mut self, out: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        if self.picks.len() >= GATHER { self.flush(out) } else { Ok(()) }
    }

    fn flush(&mut self, out: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        if self.picks.is_empty() {
            return Ok(());
        }
        let picks = std::mem::take(&mut self.picks);
        // An untouched batch, or an untouched stretch of it, needs no copying.
        if picks.iter().all(|(source, _)| *source == 0) && picks.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1) {
            return out(self.batch.slice(picks[0].1, picks.len()));
        }
        let mut used: Vec<usize> = picks.iter().map(|(source, _)| *source).filter(|source| *source > 0).collect();
        used.dedup();
        let mut sources = vec![self.batch];
        sources.extend(used.iter().map(|source| &self.changes[source - 1].rows));
        let place = |source: usize| if source == 0 { 0 } else { used.partition_point(|other| *other < source) + 1 };
        let picks: Vec<(usize, usize)> = picks.into_iter().map(|(source, row)| (place(source), row)).collect();
        out(interleave_record_batch(&sources, &picks)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn galloping_finds_what_a_scan_finds() {
        for end in 0..40 {
            for first in 0..=end {
                for from in 0..=first {
                    assert_eq!(gallop(from, end, |row| row < first), first);
                }
            }
        }
    }
}
