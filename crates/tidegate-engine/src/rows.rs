//! Rows of a batch as JSON, for people, messages and the API.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType},
    util::display::{ArrayFormatter, FormatOptions},
};
use serde_json::{Map, Value, json};

/// A value as JSON. Dates and timestamps are text in ISO 8601, decimals are text so that no digit is lost.
pub(crate) fn value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Struct(fields) => {
            let columns = array.as_struct();
            Value::Object(fields.iter().enumerate().map(|(i, field)| (field.name().clone(), value(columns.column(i), row))).collect())
        }
        kind if kind.is_integer() => text(array, row).parse::<i64>().map_or(Value::Null, |n| json!(n)),
        _ => json!(text(array, row)),
    }
}

/// A value as text; nothing for null.
pub(crate) fn text(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return String::new();
    }
    match array.data_type() {
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(days)).map_or_else(|_| days.to_string(), |day| day.to_string())
        }
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |moment| moment.to_string())
        }
        DataType::Decimal128(_, _) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        _ => ArrayFormatter::try_new(array, &FormatOptions::default()).map(|format| format.value(row).to_string()).unwrap_or_default(),
    }
}

/// A row as a JSON object, in the order of the columns.
pub(crate) fn object(batch: &RecordBatch, row: usize) -> Map<String, Value> {
    let schema = batch.schema();
    schema.fields().iter().enumerate().map(|(i, field)| (field.name().clone(), value(batch.column(i), row))).collect()
}
