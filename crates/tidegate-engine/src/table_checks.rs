//! Checks on the table as it would be after the run.
//!
//! The SQL sees the table under its name, `previous` (as it is now), `changes` (the changeset) and, where there is a
//! transform, the sources.

use crate::{
    Veil,
    changeset::changeset_schema,
    delta::CurrentTable,
    error::{EngineError, Result},
    order::Order,
    rows, sql,
};
use arrow::datatypes::SchemaRef;
use datafusion::{
    common::TableReference,
    datasource::MemTable,
    prelude::{ParquetReadOptions, SessionContext},
};
use futures::StreamExt as _;
use std::{path::Path, sync::Arc};
use tidegate_core::{
    pipeline::{Pipeline, SqlFile},
    seam::Violation,
};

/// Violating rows that are shown.
const EXAMPLES: usize = 5;

pub(crate) async fn run(
    pipeline: &Pipeline,
    context: &SessionContext,
    current: &CurrentTable,
    schema: &SchemaRef,
    key: &Order,
    changeset: Option<&Path>,
    veil: &Veil,
) -> Result<Vec<Violation>> {
    let table = &pipeline.file.table;
    if table.checks.is_empty() {
        return Ok(Vec::new());
    }
    context.register_table(TableReference::bare("previous"), current.provider(schema)?)?;
    match changeset {
        Some(path) => {
            let path = path.to_string_lossy();
            let options = ParquetReadOptions::default();
            context.register_parquet(TableReference::bare("changes"), path.as_ref(), options).await?;
        }
        None => {
            let empty = MemTable::try_new(changeset_schema(schema, key), vec![vec![]])?;
            context.register_table(TableReference::bare("changes"), Arc::new(empty))?;
        }
    }
    context.deregister_table(TableReference::bare(table.name.clone()))?;
    let after = context.sql(&after_sql(pipeline, schema)).await?;
    context.register_table(TableReference::bare(table.name.clone()), after.into_view())?;
    let mut violations = Vec::new();
    for (i, check) in table.checks.iter().enumerate() {
        let at = i.to_string();
        let location = pipeline.location(&["table", "checks", &at, "sql"]);
        let text = SqlFile { path: format!("check `{}`", check.name), text: check.sql.clone() };
        // The place in the pipeline file tells more than the place within the one line of SQL.
        let here = |error: EngineError| match error {
            EngineError::Sql { message, hints, running, .. } => {
                EngineError::Sql { message: format!("check `{}`: {message}", check.name), location: location.clone(), hints, running }
            }
            other => other,
        };
        let frame = sql::query(context, &text).await.map_err(here)?;
        let mut stream = frame.execute_stream().await.map_err(|error| here(sql::run_error(error, &text)))?;
        let mut found = Violation { check: check.name.clone(), severity: check.severity, rows: 0, examples: Vec::new() };
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| here(sql::run_error(error, &text)))?;
            for row in 0..batch.num_rows().min(EXAMPLES.saturating_sub(found.examples.len())) {
                found.examples.push(serde_json::Value::Object(veil.over(rows::object(&batch, row))).to_string());
            }
            found.rows += batch.num_rows() as u64;
        }
        if found.rows > 0 {
            violations.push(found);
        }
    }
    Ok(violations)
}

/// The table afterwards: what stays of it, and what the changeset brings.
fn after_sql(pipeline: &Pipeline, schema: &SchemaRef) -> String {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = schema.fields().iter().map(|field| quote(field.name())).collect();
    let list = columns.join(", ");
    let key: Vec<String> =
        if pipeline.file.table.key.is_empty() { columns } else { pipeline.file.table.key.iter().map(|name| quote(name)).collect() };
    // The parentheses matter: without them the parser takes what follows an AND for part of the comparison.
    let same = key.iter().map(|name| format!("(p.{name} IS NOT DISTINCT FROM c.{name})")).collect::<Vec<_>>().join(" AND ");
    format!(
        "SELECT {list} FROM previous p WHERE NOT EXISTS (SELECT 1 FROM changes c WHERE c._op <> 'insert' AND {same}) \
         UNION ALL SELECT {list} FROM changes WHERE _op <> 'delete'"
    )
}
