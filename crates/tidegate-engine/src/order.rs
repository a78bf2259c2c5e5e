//! The order of a table: its key's columns, in whichever of their orders the produced rows already have.
//!
//! A publisher's file is nearly always sorted somehow. Keeping the table in that order makes the diff a merge of two
//! sorted streams without sorting anything; if the rows come otherwise, they are sorted, on disk if need be.

use crate::{
    error::{EngineError, Result},
    staged::{Batches, Staged},
};
use arrow::{
    array::{DynComparator, RecordBatch, make_comparator},
    compute::SortOptions,
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
    alive: Vec<Order>,
    last: Option<RecordBatch>,
}

impl OrderProbe {
    /// Asks only whether the rows have this order.
    pub(crate) fn one(order: Order) -> Self {
        Self { alive: vec![order], last: None }
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
        Self { alive: alive.into_iter().map(|columns| Order { columns }).collect(), last: None }
    }

    /// Takes note of the next rows.
    pub(crate) fn observe(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.alive.is_empty() || batch.num_rows() == 0 {
            return Ok(());
        }
        let mut kept = Vec::new();
        for order in self.alive.drain(..) {
            let seam = match &self.last {
                Some(last) => order.comparator(last, batch)?.compare(0, 0).is_le(),
                None => true,
            };
            if seam {
                let within = order.comparator(batch, batch)?;
                if (1..batch.num_rows()).all(|row| within.compare(row - 1, row).is_le()) {
                    kept.push(order);
                }
            }
        }
        self.alive = kept;
        self.last = Some(batch.slice(batch.num_rows() - 1, 1));
        Ok(())
    }

    /// The first order that all rows had.
    pub(crate) fn found(self) -> Option<Order> {
        self.alive.into_iter().next()
    }
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
