//! Statistics of a data file as Delta's log wants them, from the file's own Parquet footer.

use crate::{
    error::{EngineError, Result},
    parquet_file::Written,
};
use arrow::{
    array::{Array, ArrayRef},
    datatypes::{DataType, SchemaRef},
};
use deltalake_core::kernel::Add;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use serde_json::{Map, Value, json};

/// The log's entry for a finished file in the table's folder.
pub(super) fn add(name: String, written: &Written, schema: &SchemaRef) -> Result<Add> {
    Ok(Add {
        path: name,
        size: i64::try_from(written.bytes).unwrap_or(i64::MAX),
        modification_time: jiff::Timestamp::now().as_millisecond(),
        data_change: true,
        stats: Some(stats(written, schema)?),
        ..Add::default()
    })
}

fn stats(written: &Written, schema: &SchemaRef) -> Result<String> {
    let (mut least, mut most, mut nulls) = (Map::new(), Map::new(), Map::new());
    let parquet_schema = written.metadata.file_metadata().schema_descr();
    let groups = written.metadata.row_groups();
    for field in schema.fields().iter().filter(|field| !matches!(field.data_type(), DataType::Struct(_))) {
        let converter = StatisticsConverter::try_new(field.name(), schema, parquet_schema)?;
        let null_count: u64 = converter.row_group_null_counts(groups)?.iter().map(Option::unwrap_or_default).sum();
        nulls.insert(field.name().clone(), json!(null_count));
        // Text may be cut in Parquet's statistics, and decimals and timestamps are rounded in Delta's: leaving them out is always right.
        if !matches!(field.data_type(), DataType::Int64 | DataType::Date32 | DataType::Boolean) {
            continue;
        }
        let min = extreme(&converter.row_group_mins(groups)?, |a, b| a < b);
        let max = extreme(&converter.row_group_maxes(groups)?, |a, b| a > b);
        if let (Some(min), Some(max)) = (min, max) {
            least.insert(field.name().clone(), min);
            most.insert(field.name().clone(), max);
        }
    }
    let stats = json!({ "numRecords": written.rows, "minValues": least, "maxValues": most, "nullCount": nulls });
    serde_json::to_string(&stats).map_err(|error| EngineError::Bug(error.to_string()))
}

/// The least (or most) of the row groups' values; none if one is unknown.
fn extreme(values: &ArrayRef, better: fn(&i64, &i64) -> bool) -> Option<Value> {
    if values.null_count() > 0 || values.is_empty() || *values.data_type() == DataType::Boolean {
        return None;
    }
    let numbers = arrow::compute::cast(values, &DataType::Int32).ok().filter(|_| *values.data_type() == DataType::Date32);
    let numbers = arrow::compute::cast(numbers.as_ref().unwrap_or(values), &DataType::Int64).ok()?;
    let numbers = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&numbers);
    let best = (0..numbers.len()).reduce(|a, b| if better(&numbers.value(b), &numbers.value(a)) { b } else { a })?;
    Some(crate::rows::value(values.as_ref(), best))
}
