//! What the columns of a file are, guessed for `init`: a person sees and can correct it.

use super::{
    bytes, cells,
    csv::{self, Dialect},
    sniff::{newline, not_csv},
};
use crate::{
    error::{EngineError, Result},
    rows, schema,
};
use arrow::{array::Array as _, datatypes::DataType};
use indexmap::IndexMap;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};
use std::{
    io::{Cursor, Read as _},
    path::Path,
};
use tidegate_core::pipeline::{ColumnType, Format};

/// Rows that are looked at.
const ROWS: usize = 5000;

/// What a file looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    /// Its format.
    pub format: Format,
    /// For CSV, the delimiter that gives the most even rows.
    pub delimiter: char,
    /// Column names and the narrowest type that all looked-at cells have, and whether no cell was empty.
    pub columns: Vec<(String, ColumnType, bool)>,
    /// Columns that could be the key: the shortest list of leading columns without repetition among the rows looked at.
    pub key: Vec<String>,
    /// Rows looked at.
    pub rows: usize,
}

/// Bytes that are looked at once they are unpacked.
const UNPACKED: u64 = 4 << 20;

/// Guesses from the first bytes of a CSV or JSON lines file, packed or not; none if it is neither.
pub fn guess(head: &[u8], whole: bool) -> Option<Guess> {
    let decoded = bytes::decode("init", Box::new(Cursor::new(head.to_vec())), None).ok()?;
    let mut unpacked = Vec::new();
    // Of packed bytes that were cut, what comes before the cut is enough.
    let all = decoded.read.take(UNPACKED).read_to_end(&mut unpacked).is_ok();
    let (head, whole) = (unpacked.as_slice(), whole && all && (unpacked.len() as u64) < UNPACKED);
    if head.trim_ascii().is_empty() || (not_csv(head).is_some() && !head.trim_ascii_start().starts_with(b"{")) {
        return None;
    }
    let newline = newline(head);
    let head = if whole { head } else { &head[..=memchr::memrchr(newline, head)?] };
    if head.trim_ascii_start().starts_with(b"{") { json_lines(head) } else { csv_file(head, newline) }
}

fn csv_file(head: &[u8], newline: u8) -> Option<Guess> {
    let best = [b',', b';', b'\t', b'|']
        .into_iter()
        .map(|delimiter| {
            let rows = records(&Dialect { delimiter, quote: b'"', newline }, head);
            let width = rows.first().map_or(0, Vec::len);
            let even = rows.iter().filter(|row| row.len() == width).count();
            (if width > 1 { even * 1000 / rows.len().max(1) + width } else { 0 }, delimiter, rows)
        })
        .max_by_key(|(score, delimiter, _)| (*score, u8::MAX - delimiter))?;
    let (_, delimiter, mut rows) = best;
    let names = if rows.is_empty() { return None } else { rows.remove(0) };
    rows.retain(|row| row.len() == names.len());
    let columns = names.iter().enumerate().map(|(i, name)| {
        let cells: Vec<&str> = rows.iter().map(|row| row[i].as_str()).filter(|cell| !cell.is_empty()).collect();
        (name.clone(), narrowest(&cells), cells.len() == rows.len() && !rows.is_empty())
    });
    let columns: Vec<_> = columns.collect();
    let key = key(&columns, &rows);
    Some(Guess { format: Format::Csv, delimiter: char::from(delimiter), columns, key, rows: rows.len() })
}

fn json_lines(head: &[u8]) -> Option<Guess> {
    let lines = head.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).take(ROWS);
    let objects: Vec<Map<String, Value>> = lines.map(|line| serde_json::from_slice(line).ok()).collect::<Option<_>>()?;
    let mut values: IndexMap<&str, Vec<&Value>> = IndexMap::new();
    for (name, value) in objects.iter().flatten() {
        values.entry(name).or_default().extend(Some(value).filter(|value| !value.is_null()));
    }
    let columns: Vec<(String, ColumnType, bool)> =
        values.iter().map(|(name, values)| ((*name).to_owned(), json_type(values), values.len() == objects.len())).collect();
    let row = |object: &Map<String, Value>| {
        columns.iter().map(|(name, ..)| object.get(name).map_or_else(String::new, Value::to_string)).collect()
    };
    let key = key(&columns, &objects.iter().map(row).collect::<Vec<_>>());
    Some(Guess { format: Format::Jsonl, delimiter: ',', columns, key, rows: objects.len() })
}

/// JSON says itself what is a number and what is a text; texts may still be dates.
fn json_type(values: &[&Value]) -> ColumnType {
    let texts: Option<Vec<&str>> = values.iter().map(|value| value.as_str()).collect();
    let written: Vec<String> = values.iter().map(|value| value.to_string()).collect();
    let kind = match &texts {
        Some(texts) => narrowest(texts),
        None => narrowest(&written.iter().map(String::as_str).collect::<Vec<_>>()),
    };
    let fits = match kind {
        ColumnType::Date | ColumnType::Timestamp => texts.is_some(),
        ColumnType::Bool => values.iter().all(|value| value.is_boolean()),
        ColumnType::Int64 | ColumnType::Float64 => values.iter().all(|value| value.is_number()),
        _ => true,
    };
    if fits { kind } else { ColumnType::String }
}

/// What a Parquet file says of itself; columns that no table can hold are left out.
pub fn guess_parquet(path: &Path) -> Result<Guess> {
    let read = |source| EngineError::Read { name: "init".to_owned(), path: path.to_owned(), source };
    let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).map_err(read)?)?;
    let types: Vec<Option<ColumnType>> = builder.schema().fields().iter().map(|field| column_type(field.data_type())).collect();
    let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    let batch = builder.with_batch_size(ROWS).with_limit(ROWS).build()?.next().transpose()?;
    let held: Vec<usize> = (0..names.len()).filter(|i| types[*i].is_some()).collect();
    let rows_seen = batch.as_ref().map_or(0, |batch| batch.num_rows());
    let columns: Vec<(String, ColumnType, bool)> = held
        .iter()
        .filter_map(|i| {
            let full = batch.as_ref().is_some_and(|batch| batch.column(*i).null_count() == 0 && batch.num_rows() > 0);
            Some((names[*i].clone(), types[*i]?, full))
        })
        .collect();
    let cells: Vec<Vec<String>> = batch
        .map(|batch| (0..rows_seen).map(|row| held.iter().map(|i| rows::text(batch.column(*i).as_ref(), row)).collect()).collect())
        .unwrap_or_default();
    let key = key(&columns, &cells);
    Ok(Guess { format: Format::Parquet, delimiter: ',', columns, key, rows: rows_seen })
}

fn column_type(kind: &DataType) -> Option<ColumnType> {
    Some(match schema::canonical("", kind).ok()? {
        DataType::Int64 => ColumnType::Int64,
        DataType::Float64 => ColumnType::Float64,
        DataType::Decimal128(precision, scale) => ColumnType::Decimal(precision, scale),
        DataType::Boolean => ColumnType::Bool,
        DataType::Date32 => ColumnType::Date,
        DataType::Timestamp(..) => ColumnType::Timestamp,
        _ => ColumnType::String,
    })
}

fn records(dialect: &Dialect, mut head: &[u8]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    while !head.trim_ascii().is_empty() && rows.len() < ROWS {
        let (row, used) = csv::first_record(dialect, head);
        rows.push(row);
        head = &head[used.max(1).min(head.len())..];
    }
    rows
}

fn narrowest(cells: &[&str]) -> ColumnType {
    let all = |fits: &dyn Fn(&[u8]) -> bool| !cells.is_empty() && cells.iter().all(|cell| fits(cell.as_bytes()));
    // Digits with leading zeros are codes, not numbers: `01001` is a county.
    let coded = cells.iter().any(|cell| cell.len() > 1 && cell.starts_with('0') && cell.bytes().all(|b| b.is_ascii_digit()));
    // Whole numbers that float64 would round are numbers of accounts, not measures.
    let long = |cell: &&str| cell.len() > 15 && cell.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'+');
    let coded = coded || (cells.iter().any(long) && !all(&|cell| cells::int64(cell).is_some()));
    if all(&|cell| cells::date(cell, &[]).is_some()) {
        ColumnType::Date
    } else if !coded && all(&|cell| cells::int64(cell).is_some()) {
        ColumnType::Int64
    } else if !coded && all(&|cell| cells::float64(cell).is_some()) {
        ColumnType::Float64
    } else if all(&|cell| matches!(cell.to_ascii_lowercase().as_slice(), b"true" | b"false")) {
        ColumnType::Bool
    } else if all(&|cell| cells::timestamp(cell, &[]).is_some()) {
        ColumnType::Timestamp
    } else {
        ColumnType::String
    }
}

/// Full columns that are no measures, taken from the left until no two rows agree in them.
fn key(columns: &[(String, ColumnType, bool)], rows: &[Vec<String>]) -> Vec<String> {
    let mut chosen: Vec<usize> = Vec::new();
    for (i, (_, kind, full)) in columns.iter().enumerate() {
        if !full || *kind == ColumnType::Float64 {
            continue;
        }
        chosen.push(i);
        let mut seen = std::collections::BTreeSet::new();
        if rows.iter().all(|row| seen.insert(chosen.iter().map(|i| row[*i].as_str()).collect::<Vec<_>>())) {
            return chosen.into_iter().map(|i| columns[i].0.clone()).collect();
        }
        if chosen.len() == 4 {
            break;
        }
    }
    Vec::new()
}
