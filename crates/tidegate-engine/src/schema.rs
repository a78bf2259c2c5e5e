//! Column types as Arrow types, and the shapes a table may have.

use crate::error::{EngineError, Result};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;
use tidegate_core::pipeline::{Column, ColumnType, Source};

/// The time zone of every timestamp; Delta Lake accepts this spelling only.
pub(crate) const UTC: &str = "UTC";

/// The Arrow type of a column type.
pub(crate) fn arrow_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::String => DataType::Utf8,
        ColumnType::Int64 => DataType::Int64,
        ColumnType::Float64 => DataType::Float64,
        ColumnType::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Date => DataType::Date32,
        ColumnType::Timestamp => timestamp(),
    }
}

/// Microseconds in UTC.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// The schema of a source: its declared columns in their order, all nullable.
pub(crate) fn source_schema(source: &Source) -> SchemaRef {
    let field = |(name, column): (&String, &Column)| Field::new(name, arrow_type(column.kind), true);
    Arc::new(Schema::new(source.columns.iter().map(field).collect::<Fields>()))
}

/// The schema of a table made of what a transform produces: every type in the one form Delta Lake and all its readers
/// share, every column nullable.
///
/// Integers become int64, floats float64, text Utf8, timestamps microseconds in UTC (a timestamp without zone is taken
/// as UTC). Nested types are refused.
pub(crate) fn table_schema(produced: &Schema, key: &[String]) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = Vec::with_capacity(produced.fields().len());
    for field in produced.fields() {
        let name = field.name();
        if name.starts_with('_') {
            return Err(EngineError::Shape(format!("the column `{name}` begins with `_`, which Tidegate keeps for columns of its own")));
        }
        if name.contains(|c: char| " ,;{}()\n\t=".contains(c)) {
            return Err(EngineError::Shape(format!(
                "the column `{name}` has a character that tables cannot have in a name; give it a plain one with `AS`"
            )));
        }
        if fields.iter().any(|other| other.name().eq_ignore_ascii_case(name)) {
            return Err(EngineError::Shape(format!("two columns are called `{name}`")));
        }
        fields.push(Field::new(name, canonical(name, field.data_type())?, true));
    }
    if let Some(missing) = key.iter().find(|key| !fields.iter().any(|field| field.name() == *key)) {
        let known: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        return Err(EngineError::Shape(format!("the key column `{missing}` is not among the produced columns ({})", known.join(", "))));
    }
    if fields.is_empty() {
        return Err(EngineError::Shape("no columns are produced".to_owned()));
    }
    Ok(Arc::new(Schema::new(fields)))
}

pub(crate) fn canonical(name: &str, from: &DataType) -> Result<DataType> {
    use DataType as T;
    Ok(match from {
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Null => T::Utf8,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => T::Int64,
        T::Float16 | T::Float32 | T::Float64 => T::Float64,
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) if *s >= 0 && *s <= i8::try_from(*p).unwrap_or(i8::MAX) => {
            T::Decimal128(*p, *s)
        }
        T::Boolean => T::Boolean,
        T::Date32 | T::Date64 => T::Date32,
        T::Timestamp(..) => timestamp(),
        T::Dictionary(_, value) => canonical(name, value)?,
        other => return Err(EngineError::Shape(format!("the column `{name}` has the type {other}, which a table cannot hold"))),
    })
}

/// The name a type has for people, as in the pipeline file.
pub(crate) fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 => "string".to_owned(),
        DataType::Int64 => "int64".to_owned(),
        DataType::Float64 => "float64".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Decimal128(p, s) => format!("decimal({p},{s})"),
        other => other.to_string(),
    }
}
