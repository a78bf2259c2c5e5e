//! The exact diff: produced rows against the current table, both in the table's order, as a merge in bounded memory.
//!
//! Where both sides have the same keys in a row, whole slices are compared column by column; only where they differ does
//! the merge go row by row. So a restated file costs what reading it costs.

mod dedupe;
mod merge;

pub(crate) use dedupe::{Deduped, dedupe};
pub(crate) use merge::{Diffed, Rules, diff};

use crate::error::Result;
use arrow::array::RecordBatch;
use tidegate_core::changes::Op;

/// Where changed rows go, in the table's order.
pub(crate) trait Changes {
    /// New rows, all of `rows`.
    fn insert(&mut self, rows: &RecordBatch) -> Result<()>;
    /// One row of the table before, one row after (for an update both).
    fn row(&mut self, op: Op, before: Option<(&RecordBatch, usize)>, after: Option<(&RecordBatch, usize)>) -> Result<()>;
}

#[cfg(test)]
mod tests;
