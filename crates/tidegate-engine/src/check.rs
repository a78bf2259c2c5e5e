//! Checks of single rows: SQL expressions compiled once and evaluated on batches.

use crate::{
    error::{EngineError, Result},
    sql,
};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, SchemaRef},
};
use datafusion::{common::DFSchema, physical_expr::PhysicalExpr, prelude::SessionContext};
use std::sync::Arc;
use tidegate_core::pipeline::Pipeline;

/// A check of one column.
pub(crate) struct RowCheck {
    /// The column it is declared at.
    pub(crate) column: usize,
    /// The expression as the user wrote it.
    pub(crate) sql: String,
    compiled: Arc<dyn PhysicalExpr>,
}

/// Compiles the checks of a source.
pub(crate) fn row_checks(pipeline: &Pipeline, source: &str, schema: &SchemaRef) -> Result<Vec<RowCheck>> {
    let Some(declared) = pipeline.file.sources.get(source) else { return Ok(Vec::new()) };
    let mut checks = Vec::new();
    let mut context = None;
    for (column, (name, options)) in declared.columns.iter().enumerate() {
        let Some(sql) = &options.check else { continue };
        let at = ["sources", source, "columns", name.as_str(), "check"];
        let fail = |message: String| EngineError::Sql {
            message: format!("the check of column `{name}` {message}"),
            location: pipeline.location(&at),
            hints: Vec::new(),
            running: false,
        };
        let state = context.get_or_insert_with(SessionContext::new).state();
        let df_schema = DFSchema::try_from(Arc::clone(schema))?;
        let compiled = state
            .create_logical_expr(sql, &df_schema)
            .and_then(|expr| state.create_physical_expr(expr, &df_schema))
            .map_err(|error| fail(format!("is not valid: {}", sql::say(&error))))?;
        if compiled.data_type(schema)? != DataType::Boolean {
            return Err(fail("is not true or false".to_owned()));
        }
        checks.push(RowCheck { column, sql: sql.clone(), compiled });
    }
    Ok(checks)
}

impl RowCheck {
    /// The rows for which the expression is false, in order. Null passes, as in a SQL CHECK.
    pub(crate) fn failing(&self, batch: &RecordBatch) -> Result<Vec<usize>> {
        let result = self.compiled.evaluate(batch)?.into_array(batch.num_rows())?;
        let result = result.as_boolean();
        if result.false_count() == 0 {
            return Ok(Vec::new());
        }
        Ok((0..result.len()).filter(|row| result.is_valid(*row) && !result.value(*row)).collect())
    }
}
