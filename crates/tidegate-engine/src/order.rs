//! The order of a table: its key's columns, in whichever of their orders the produced rows already have.
//!
//! A publisher's file is nearly always sorted somehow. Keeping the table in that order makes the diff a merge of two
//! sorted streams without sorting anything; if the rows come otherwise, they are sorted, on disk if need be.

use crate::{
    error::{EngineError, Result},
    staged::{Batches, Staged},
};
use arrow::{
    array::{Array as _, DynComparator, RecordBatch, make_comparator},
    buffer::BooleanBuffer,
    compute::{
        SortOptions,
        kernels::cmp::{distinct, lt},
    },
    datatypes::{Schema, SchemaRef},
};
use datafusion::{
    execution::SendableRecordBatchStream,
    prelude::{SessionContext, ident},
};
use futures::StreamExt as _;
use std::{cmp::Ordering, sync::Arc};
use tokio::runtime::Handle;

/// Nulls first, smallest first: the order of every table.
pub(crate) const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: true };

/// Columns to order by, by their place in the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) columns: Vec<usize>,
}

impl Order {
    /// By the columns of these names. The schema has them: it was checked against the key.
    pub(crate) fn by_names<S: AsRef<str>>(schema: &Schema, names: &[S]) -> Result<Self> {
        let columns = names.iter().map(|name| schema.index_of(name.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { columns })
    }

    /// The columns' names.
    pub(crate) fn names(&self, schema: &Schema) -> Vec<String> {
        self.columns.iter().map(|i| schema.field(*i).name().clone()).collect()
    }

    /// Compares rows of `a` with rows of `b`, column by column.
    pub(crate) fn comparator(&self, a: &RecordBatch, b: &RecordBatch) -> Result<RowComparator> {
        let columns = self.columns.iter().map(|i| make_comparator(a.column(*i), b.column(*i), ASCENDING));
        Ok(RowComparator { columns: columns.collect::<Result<_, _>>()? })
    }
}

/// Compares a row of one batch with a row of another.
pub(crate) struct RowComparator {
    columns: Vec<DynComparator>,
}

impl RowComparator {
    pub(crate) fn compare(&self, a: usize, b: usize) -> Ordering {
        self.columns.iter().map(|column| column(a, b)).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    }
}

/// Watches rows go by and tells which orders they have.
pub(crate) struct OrderProbe {
    alive: Vec<Candidate>,
    last: Option<RecordBatch>,
}

/// An order that all rows so far have.
struct Candidate {
    order: Order,
    /// No row so far has the key of the one before it, and no key has a null.
    distinct: bool,
}

/// The order that rows turned out to have.
pub(crate) struct FoundOrder {
    pub(crate) order: Order,
    /// Every row has a key, and no two rows have the same.
    pub(crate) distinct: bool,
}

impl OrderProbe {
    /// Asks only whether the rows have this order.
    pub(crate) fn one(order: Order) -> Self {
        Self { alive: vec![Candidate { order, distinct: true }], last: None }
    }

    /// Asks for any order of the key's columns, the declared one preferred. Beyond four columns only that one is tried.
    pub(crate) fn any(key: &Order) -> Self {
        let mut alive = vec![Vec::new()];
        if key.columns.len() > 4 {
            return Self::one(key.clone());
        }
        for _ in &key.columns {
            alive = alive
                .into_iter()
                .flat_map(|begun: Vec<usize>| {
                    let left: Vec<usize> = key.columns.iter().copied().filter(|column| !begun.contains(column)).collect();
                    left.into_iter().map(move |column| begun.iter().copied().chain([column]).collect::<Vec<_>>())
                })
                .collect();
        }
        Self { alive: alive.into_iter().map(|columns| Candidate { order: Order { columns }, distinct: true }).collect(), last: None }
    }

    /// Takes note of the next rows.
    pub(crate) fn observe(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.alive.is_empty() || batch.num_rows() == 0 {
            return Ok(());
        }
        let mut kept = Vec::new();
        for mut candidate in self.alive.drain(..) {
            let seam = match &self.last {
                Some(last) => candidate.order.comparator(last, batch)?.compare(0, 0),
                None => Ordering::Less,
            };
            let Some(within) = ascending(batch, &candidate.order)?.filter(|_| seam.is_le()) else { continue };
            let keyed = candidate.order.columns.iter().all(|column| batch.column(*column).null_count() == 0);
            candidate.distinct &= within.is_lt() && seam.is_lt() && keyed;
            kept.push(candidate);
        }
        self.alive = kept;
        self.last = Some(batch.slice(batch.num_rows() - 1, 1));
        Ok(())
    }

    /// Whether all rows so far have the order asked for, and each a key of its own.
    pub(crate) fn is_distinct(&self) -> bool {
        self.alive.iter().any(|candidate| candidate.distinct)
    }

    /// Whether none of the orders asked for can be there any more.
    pub(crate) fn is_disproved(&self) -> bool {
        self.alive.is_empty()
    }

    /// The first order that all rows had.
    pub(crate) fn found(self) -> Option<FoundOrder> {
        self.alive.into_iter().next().map(|Candidate { order, distinct }| FoundOrder { order, distinct })
    }
}

/// Whether the rows of a batch are in `order`: `Less` if each is before the next, `Equal` if some are the same in the
/// order's columns, none if they are not in order. Goes column by column, as long as a column leaves something open.
fn ascending(batch: &RecordBatch, order: &Order) -> Result<Option<Ordering>> {
    let pairs = batch.num_rows() - 1;
    let mut open = BooleanBuffer::new_set(pairs);
    for column in &order.columns {
        let column = batch.column(*column);
        if column.null_count() > 0 {
            return ascending_with_nulls(batch, order);
        }
        let (before, after) = (column.slice(0, pairs), column.slice(1, pairs));
        let same = !distinct(&before, &after)?.values();
        let falls = &open & &!&(lt(&before, &after)?.values() | &same);
        if falls.count_set_bits() > 0 {
            return Ok(None);
        }
        open = &open & &same;
        if open.count_set_bits() == 0 {
            return Ok(Some(Ordering::Less));
        }
    }
    Ok(Some(if pairs == 0 { Ordering::Less } else { Ordering::Equal }))
}

fn ascending_with_nulls(batch: &RecordBatch, order: &Order) -> Result<Option<Ordering>> {
    let within = order.comparator(batch, batch)?;
    let mut worst = Ordering::Less;
    for row in 1..batch.num_rows() {
        worst = worst.max(within.compare(row - 1, row));
        if worst.is_gt() {
            return Ok(None);
        }
    }
    Ok(Some(worst))
}

/// The staged rows in `order`, sorted with spilling.
pub(crate) fn sort(context: &SessionContext, staged: &Staged, order: &Order, handle: &Handle) -> Result<Batches> {
    let schema = staged.schema();
    let by =
        order.columns.iter().map(|i| ident(schema.field(*i).name().clone()).sort(!ASCENDING.descending, ASCENDING.nulls_first)).collect();
    let frame = context.read_table(staged.table()?)?.sort(by)?;
    let stream = handle.block_on(frame.execute_stream())?;
    Ok(blocking(stream, schema, handle.clone(), EngineError::from))
}

/// Pulls a stream from a blocking thread. Batches get `schema`, whose types they have already.
pub(crate) fn blocking(
    mut stream: SendableRecordBatchStream,
    schema: SchemaRef,
    handle: Handle,
    fail: impl Fn(datafusion::error::DataFusionError) -> EngineError + Send + 'static,
) -> Batches {
    Box::new(std::iter::from_fn(move || {
        let batch = handle.block_on(stream.next())?;
        Some(batch.map_err(&fail).and_then(|batch| Ok(with_schema(&batch, &schema)?)))
    }))
}

fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    RecordBatch::try_new_with_options(
        Arc::clone(schema),
        batch.columns().to_vec(),
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{ArrayRef, Int64Array, StringArray},
        datatypes::{DataType, Field},
    };
    use proptest::prelude::*;

    fn batch(rows: &[(i64, Option<u8>)]) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)]);
        let a: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>());
        let b: ArrayRef = Arc::new(rows.iter().map(|row| row.1.map(|n| format!("{n:02}"))).collect::<StringArray>());
        RecordBatch::try_new(Arc::new(schema), vec![a, b]).unwrap()
    }

    proptest! {
        /// However the rows are cut into batches, the probe says what sorting them would say.
        #[test]
        fn the_probe_finds_the_order_that_is_there(
            mut rows in proptest::collection::vec((0..4i64, proptest::option::weighted(0.9, 0..30u8)), 1..40),
            sorted in any::<bool>(), flipped in any::<bool>(), size in 1usize..12,
        ) {
            let key = |row: &(i64, Option<u8>)| (row.0, row.1);
            let turned = |row: &(i64, Option<u8>)| (row.1, row.0);
            if sorted && flipped { rows.sort_by_key(turned) } else if sorted { rows.sort_by_key(key) }
            let mut probe = OrderProbe::any(&Order { columns: vec![0, 1] });
            for rows in rows.chunks(size) {
                probe.observe(&batch(rows)).unwrap();
            }
            let expected = if rows.is_sorted_by_key(key) { Some(vec![0, 1]) } else if rows.is_sorted_by_key(turned) { Some(vec![1, 0]) } else { None };
            let found = probe.found();
            prop_assert_eq!(found.as_ref().map(|found| found.order.columns.clone()), expected);
            if let Some(found) = found {
                let distinct = rows.windows(2).all(|pair| pair[0] != pair[1]) && rows.iter().all(|row| row.1.is_some());
                prop_assert_eq!(found.distinct, distinct);
            }
        }
    }
}
