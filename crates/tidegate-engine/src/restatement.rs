//! How far back a publication restates, and by how much.

use crate::{Veil, error::Result, order::Order, rows};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, make_comparator},
    compute::{SortOptions, cast, kernels::cmp::distinct},
    datatypes::{DataType, Date32Type, Float64Type, Schema},
};
use std::cmp::Ordering;
use tidegate_core::changes::{ColumnShift, Restatement};

/// The newest day among the produced rows, by the first date column of the key.
pub(crate) struct NewestDay {
    by: Option<usize>,
    day: Option<i32>,
}

impl NewestDay {
    pub(crate) fn new(table: &Schema, key: &Order) -> Self {
        Self { by: date_column(table, key), day: None }
    }

    pub(crate) fn observe(&mut self, batch: &RecordBatch) {
        if let Some(by) = self.by
            && let Some(day) = arrow::compute::max(batch.column(by).as_primitive::<Date32Type>())
        {
            self.day = self.day.max(Some(day));
        }
    }

    pub(crate) fn day(&self) -> Option<i32> {
        self.day
    }
}

fn date_column(table: &Schema, key: &Order) -> Option<usize> {
    key.columns.iter().copied().find(|i| *table.field(*i).data_type() == DataType::Date32)
}

/// The one of two values that lies further on one side.
fn further(known: Option<ArrayRef>, other: Option<ArrayRef>, side: Ordering) -> Result<Option<ArrayRef>> {
    Ok(match (known, other) {
        (Some(known), Some(other)) => {
            let is_further = make_comparator(&other, &known, SortOptions::default())?(0, 0) == side;
            Some(if is_further { other } else { known })
        }
        (known, other) => known.or(other),
    })
}

/// Collects while a changeset is written.
pub(crate) struct Restated {
    /// The first date column of the key, or its first column.
    by: Option<usize>,
    is_date: bool,
    key: Vec<usize>,
    rows: u64,
    /// The least and greatest value of that column among the rows touched, as an array of one.
    oldest: Option<ArrayRef>,
    newest: Option<ArrayRef>,
    /// The newest day seen anywhere in the table, for `days_back`.
    pub(crate) newest_day: Option<i32>,
    columns: Vec<ColumnShift>,
    /// For each column of the table, whether nothing may be said of its values.
    hidden: Vec<bool>,
}

impl Restated {
    pub(crate) fn new(table: &Schema, key: &Order, veil: &Veil) -> Self {
        let is_shown = |column: &usize| !veil.hides(table.field(*column).name());
        let date = date_column(table, key).filter(is_shown);
        let columns = table.fields().iter().enumerate().filter(|(i, _)| !key.columns.contains(i));
        let shift = |(_, field): (usize, &std::sync::Arc<arrow::datatypes::Field>)| ColumnShift {
            column: field.name().clone(),
            rows: 0,
            net: None,
            largest: None,
        };
        Self {
            by: date.or(key.columns.first().copied().filter(is_shown)),
            is_date: date.is_some(),
            key: key.columns.clone(),
            rows: 0,
            oldest: None,
            newest: None,
            newest_day: None,
            columns: columns.map(shift).collect(),
            hidden: table.fields().iter().map(|field| veil.hides(field.name())).collect(),
        }
    }

    /// Looks at a batch of the changeset.
    pub(crate) fn observe(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(ops) = batch.column_by_name("_op") else { return Ok(()) };
        let ops = ops.as_string::<i32>();
        let past: Vec<usize> = (0..batch.num_rows()).filter(|row| ops.value(*row) != "insert").collect();
        if past.is_empty() {
            return Ok(());
        }
        self.rows += past.len() as u64;
        if let Some(by) = self.by {
            self.touch(batch.column(by), &past)?;
        }
        self.shifts(batch)
    }

    /// Compares values as what they are: 9 comes before 10.
    fn touch(&mut self, array: &ArrayRef, past: &[usize]) -> Result<()> {
        let within = make_comparator(array, array, SortOptions::default())?;
        let least = past.iter().copied().min_by(|a, b| within(*a, *b)).map(|row| array.slice(row, 1));
        let most = past.iter().copied().max_by(|a, b| within(*a, *b)).map(|row| array.slice(row, 1));
        self.oldest = further(self.oldest.take(), least, Ordering::Less)?;
        self.newest = further(self.newest.take(), most, Ordering::Greater)?;
        Ok(())
    }

    fn shifts(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(before) = batch.column_by_name("_before") else { return Ok(()) };
        let before = before.as_struct();
        for (shift, (i, old)) in self.columns.iter_mut().zip((0..).filter(|i| !self.key.contains(i)).zip(before.columns())) {
            let new = batch.column(i);
            let differs = distinct(old, new)?;
            let rows: Vec<usize> = differs.values().set_indices().filter(|row| before.is_valid(*row)).collect();
            if rows.is_empty() {
                continue;
            }
            shift.rows += rows.len() as u64;
            if self.hidden[i] || !new.data_type().is_numeric() {
                continue;
            }
            let (old, new) = (cast(old, &DataType::Float64)?, cast(new, &DataType::Float64)?);
            let (old, new) = (old.as_primitive::<Float64Type>(), new.as_primitive::<Float64Type>());
            for row in rows.into_iter().filter(|row| old.is_valid(*row) && new.is_valid(*row)) {
                let by = new.value(row) - old.value(row);
                shift.net = Some(shift.net.unwrap_or(0.0) + by);
                shift.largest = Some(shift.largest.unwrap_or(0.0).max(by.abs()));
            }
        }
        Ok(())
    }

    pub(crate) fn report(&self) -> Restatement {
        let oldest_day = self.oldest.as_ref().filter(|_| self.is_date).map(|oldest| oldest.as_primitive::<Date32Type>().value(0));
        let text = |value: &ArrayRef| rows::text(value, 0);
        Restatement {
            rows: self.rows,
            oldest: self.oldest.as_ref().map(text),
            newest: self.newest.as_ref().map(text),
            days_back: self.newest_day.zip(oldest_day).map(|(newest, oldest)| (i64::from(newest) - i64::from(oldest)).max(0)),
            columns: self.columns.iter().filter(|shift| shift.rows > 0).map(rounded).collect(),
        }
    }
}

/// Without the noise of adding fractions: twelve digits, as sums of prices have.
fn rounded(shift: &ColumnShift) -> ColumnShift {
    let round = |number: f64| format!("{number:.11e}").parse().unwrap_or(number);
    ColumnShift { net: shift.net.map(round), largest: shift.largest.map(round), ..shift.clone() }
}

#[cfg(test)]
mod tests {
    use super::{ColumnShift, rounded};

    #[test]
    fn sums_have_no_noise() {
        let shift = |net| ColumnShift { column: "price".to_owned(), rows: 3, net: Some(net), largest: None };
        assert_eq!(rounded(&shift(0.1 + 0.2)).net, Some(0.3));
        assert_eq!(rounded(&shift(-123_456_789_012.0)).net, Some(-123_456_789_012.0));
        assert_eq!(rounded(&shift(0.0)).net, Some(0.0));
    }
}
