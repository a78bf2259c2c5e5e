//! Parquet: typed already, so a row is rejected only where a value does not fit the declared type.

use super::{
    PartRows, Spec, count,
    reject::{self, Reject, Rejects},
};
use crate::{
    error::{EngineError, Result},
    rows,
};
use ::parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
};
use arrow::{
    array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array},
    compute::{CastOptions, cast_with_options, filter_record_batch},
};
use std::{fs::File, path::Path, sync::Arc};
use tidegate_core::{quarantine::Reason, seam::Parsed};

struct ParquetRows {
    spec: Arc<Spec>,
    reader: ParquetRecordBatchReader,
    row: u64,
}

pub(super) fn open(spec: &Arc<Spec>, path: &Path, report: &mut Parsed) -> Result<Box<dyn PartRows>> {
    let failed = |error| EngineError::Read { name: spec.name.clone(), path: path.to_owned(), source: error };
    let file = File::open(path).map_err(failed)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| EngineError::WrongFormat {
        name: spec.name.clone(),
        got: "something else",
        promised: "Parquet",
        begins: error.to_string(),
    })?;
    let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    let wanted: Vec<(&str, bool, &String)> =
        spec.source.columns.iter().map(|(name, column)| (column.from.as_deref().unwrap_or(name), column.optional, name)).collect();
    let missing: Vec<&(&str, bool, &String)> =
        wanted.iter().filter(|(name, optional, _)| !optional && !names.iter().any(|n| n == name)).collect();
    if let Some((_, _, first)) = missing.first() {
        let location = (spec.location)(&[first]);
        let missing = missing.iter().map(|(name, ..)| (*name).to_owned()).collect();
        return Err(EngineError::MissingColumns { name: spec.name.clone(), missing, got: names, location });
    }
    let used = wanted.iter().filter_map(|(name, ..)| names.iter().position(|n| n == name));
    let mask = ProjectionMask::roots(builder.parquet_schema(), used);
    let reader = builder.with_projection(mask).with_batch_size(8192).build()?;
    if report.header.is_empty() {
        report.header = names;
    }
    Ok(Box::new(ParquetRows { spec: Arc::clone(spec), reader, row: 0 }))
}

impl PartRows for ParquetRows {
    fn next(&mut self, rejects: &mut Rejects, report: &mut Parsed) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.reader.next().transpose()? else { return Ok(None) };
        let mut bad: Vec<Option<(usize, Reason, String)>> = vec![None; batch.num_rows()];
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.spec.schema.fields().len());
        for (i, (name, column)) in self.spec.source.columns.iter().enumerate() {
            let kind = self.spec.schema.field(i).data_type();
            let Some(array) = batch.column_by_name(column.from.as_deref().unwrap_or(name)) else {
                arrays.push(new_null_array(kind, batch.num_rows()));
                continue;
            };
            let cast = cast_with_options(array, kind, &CastOptions { safe: true, ..CastOptions::default() })?;
            for (row, slot) in bad.iter_mut().enumerate() {
                let lost = cast.is_null(row) && array.is_valid(row);
                if slot.is_none() && lost {
                    *slot = Some((i, Reason::Type, format!("the value is not of type {}", column.kind)));
                } else if slot.is_none() && column.required && array.is_null(row) {
                    *slot = Some((i, Reason::Required, "the value is null, and the column is required".to_owned()));
                }
            }
            arrays.push(cast);
        }
        let typed = RecordBatch::try_new(Arc::clone(&self.spec.schema), arrays)?;
        for check in &self.spec.checks {
            for row in check.failing(&typed)? {
                bad[row].get_or_insert_with(|| (check.column, Reason::Check, format!("the check `{}` does not hold", check.sql)));
            }
        }
        let keep: BooleanArray = bad.iter().map(|slot| Some(slot.is_none())).collect();
        let good = if bad.iter().any(Option::is_some) { filter_record_batch(&typed, &keep)? } else { typed.clone() };
        count(&mut report.receipt, batch.num_rows() as u64, good.num_rows() as u64);
        self.aside(&batch, &typed, bad, rejects, report)?;
        self.row += batch.num_rows() as u64;
        Ok(Some(good))
    }
}

impl ParquetRows {
    fn identity(&self, typed: &RecordBatch, row: usize) -> Option<String> {
        let cells: Vec<String> = self.spec.identity.iter().map(|column| rows::text(typed.column(*column), row)).collect();
        let cells: Vec<&[u8]> = cells.iter().map(String::as_bytes).collect();
        cells.iter().any(|cell| !cell.is_empty()).then(|| reject::identity(&self.spec, &cells))
    }

    fn aside(
        &self,
        batch: &RecordBatch,
        typed: &RecordBatch,
        bad: Vec<Option<(usize, Reason, String)>>,
        rejects: &mut Rejects,
        report: &mut Parsed,
    ) -> Result<()> {
        for (row, slot) in bad.into_iter().enumerate() {
            match slot {
                Some((column, reason, message)) => {
                    let raw = serde_json::Value::Object(rows::object(batch, row)).to_string();
                    let row = Reject {
                        line: self.row + row as u64 + 1,
                        raw: raw.as_bytes(),
                        column: self.spec.source.columns.get_index(column).map(|(name, _)| name.clone()),
                        reason,
                        message,
                        identity: self.identity(typed, row),
                        key: reject::key(&self.spec, typed, row),
                    };
                    rejects.add(&self.spec, row)?;
                }
                None if !self.spec.open.is_empty() => {
                    if let Some(identity) = self.identity(typed, row)
                        && self.spec.open.contains(&identity)
                    {
                        report.healed.insert(identity);
                    }
                }
                None => {}
            }
        }
        Ok(())
    }
}
