//! The SQL of a pipeline, checked without data.

use crate::{check, error::Result, schema, sql};
use arrow::datatypes::SchemaRef;
use datafusion::{common::TableReference, datasource::MemTable};
use std::{path::Path, sync::Arc};
use tidegate_core::{
    Failure,
    pipeline::{Pipeline, SqlFile},
};

pub(crate) async fn validate(pipeline: &Pipeline, scratch: &Path) -> std::result::Result<Vec<(String, String)>, Vec<Failure>> {
    let mut failures: Vec<Failure> = Vec::new();
    for (name, source) in &pipeline.file.sources {
        if let Err(error) = check::row_checks(pipeline, name, &schema::source_schema(source)) {
            failures.push(error.into());
        }
    }
    let columns = match table_columns(pipeline, scratch).await {
        Ok(columns) => columns,
        Err(error) => {
            failures.push(error.into());
            return Err(failures);
        }
    };
    if let Err(error) = table_checks(pipeline, &columns, scratch).await {
        failures.push(error.into());
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    Ok(columns.fields().iter().map(|field| (field.name().clone(), schema::type_name(field.data_type()))).collect())
}

async fn table_columns(pipeline: &Pipeline, scratch: &Path) -> Result<SchemaRef> {
    let key = &pipeline.file.table.key;
    let Some(text) = &pipeline.transform else {
        let source = pipeline.file.sources.values().next();
        return schema::table_schema(&source.map_or_else(|| Arc::new(arrow::datatypes::Schema::empty()), schema::source_schema), key);
    };
    let context = sql::context(64 << 20, scratch, 1)?;
    for (name, source) in &pipeline.file.sources {
        let empty = MemTable::try_new(schema::source_schema(source), vec![vec![]])?;
        context.register_table(TableReference::bare(name.clone()), Arc::new(empty))?;
    }
    let frame = sql::query(&context, text).await?;
    schema::table_schema(frame.schema().as_arrow(), key)
}

async fn table_checks(pipeline: &Pipeline, columns: &SchemaRef, scratch: &Path) -> Result<()> {
    let table = &pipeline.file.table;
    let context = sql::context(64 << 20, scratch, 1)?;
    let key = match table.key.as_slice() {
        [] => crate::order::Order { columns: (0..columns.fields().len()).collect() },
        names => crate::order::Order::by_names(columns, names)?,
    };
    let tables = [
        (table.name.as_str(), Arc::clone(columns)),
        ("previous", Arc::clone(columns)),
        ("changes", crate::changeset::changeset_schema(columns, &key)),
    ];
    let sources = pipeline.file.sources.iter().map(|(name, source)| (name.as_str(), schema::source_schema(source)));
    for (name, schema) in sources.chain(tables) {
        context.deregister_table(TableReference::bare(name))?;
        context.register_table(TableReference::bare(name), Arc::new(MemTable::try_new(schema, vec![vec![]])?))?;
    }
    for (i, check) in table.checks.iter().enumerate() {
        let at = i.to_string();
        let location = pipeline.location(&["table", "checks", &at, "sql"]);
        let text = SqlFile { path: pipeline.path.clone(), text: check.sql.clone() };
        sql::query(&context, &text).await.map_err(|error| match error {
            crate::EngineError::Sql { message, hints, running, .. } => {
                crate::EngineError::Sql { message: format!("check `{}`: {message}", check.name), location, hints, running }
            }
            other => other,
        })?;
    }
    Ok(())
}
