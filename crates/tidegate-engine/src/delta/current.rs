//! Reading a table as it is now, in its order.

use super::log;
use crate::{
    error::{EngineError, Result},
    order::{Order, OrderProbe},
    prepare::conform,
    schema::type_name,
    staged::Batches,
};
use arrow::{
    array::{RecordBatch, new_null_array},
    compute::concat_batches,
    datatypes::{Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::DataFusionError,
    datasource::{
        TableType,
        listing::PartitionedFile,
        physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource},
        source::DataSourceExec,
    },
    execution::object_store::ObjectStoreUrl,
    logical_expr::Expr,
    object_store::{ObjectMeta, path::Path as ObjectPath},
    physical_plan::{ExecutionPlan, empty::EmptyExec},
};
use deltalake_core::DeltaTable;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};
use tidegate_core::RunId;

/// A data file of a table.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
    /// As the log names it.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
}

/// A table as its log says it is now. Empty if there is no table yet.
pub(crate) struct CurrentTable {
    pub(super) delta: Option<DeltaTable>,
    schema: SchemaRef,
    order: Option<Vec<String>>,
    files: Vec<DataFile>,
}

impl CurrentTable {
    pub(crate) async fn open(folder: &Path) -> Result<Self> {
        let Some(delta) = log::open(folder).await? else {
            return Ok(Self { delta: None, schema: Arc::new(Schema::empty()), order: None, files: Vec::new() });
        };
        let state = delta.snapshot()?;
        let schema = state.snapshot().arrow_schema();
        let order: Option<Vec<String>> =
            state.metadata().configuration().get(log::ORDER).map(|text| text.split(',').map(str::to_owned).collect());
        let mut files = Vec::new();
        for file in state.log_data().iter() {
            let name = file.path().into_owned();
            let rows = file
                .num_records()
                .ok_or_else(|| EngineError::Foreign { path: folder.to_owned(), why: format!("`{name}` has no row count in the log") })?;
            let bytes = u64::try_from(file.size()).unwrap_or_default();
            files.push(DataFile { path: folder.join(&name), name, bytes, rows: rows as u64 });
        }
        let mut table = Self { delta: Some(delta), schema, order, files };
        table.sort_files()?;
        Ok(table)
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Whether a run, or a later one, was applied to it.
    pub(super) async fn has(&self, run: RunId) -> Result<bool> {
        match &self.delta {
            Some(delta) => Ok(log::position_in(delta).await?.is_some_and(|at| at >= run)),
            None => Ok(false),
        }
    }

    /// Column names of the order the table is kept in.
    pub(crate) fn order(&self) -> Option<&[String]> {
        self.order.as_deref()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// The data files, in the table's order.
    pub(crate) fn files(&self) -> &[DataFile] {
        &self.files
    }

    /// Whether there is a table at all.
    pub(crate) fn exists(&self) -> bool {
        self.delta.is_some()
    }

    fn sort_files(&mut self) -> Result<()> {
        let Some(order) = self.order.clone() else {
            self.files.sort_by(|a, b| a.name.cmp(&b.name));
            return Ok(());
        };
        if self.files.len() < 2 {
            return Ok(());
        }
        let firsts = self.first_keys(&order)?;
        let whole = Order { columns: (0..firsts.num_columns()).collect() };
        let comparator = whole.comparator(&firsts, &firsts)?;
        let mut places: Vec<usize> = (0..self.files.len()).collect();
        places.sort_by(|a, b| comparator.compare(*a, *b));
        self.files = places.into_iter().map(|i| self.files[i].clone()).collect();
        Ok(())
    }

    /// The key of the first row of each file, in the order of the files; columns in the table's order.
    pub(super) fn first_keys(&self, order: &[String]) -> Result<RecordBatch> {
        let fields: Vec<_> = order.iter().map(|name| self.schema.field_with_name(name).cloned()).collect::<Result<_, _>>()?;
        let schema = Arc::new(Schema::new(fields));
        let mut firsts = Vec::with_capacity(self.files.len());
        for file in &self.files {
            let builder = open(file)?;
            let roots: Vec<usize> = order.iter().filter_map(|name| builder.schema().index_of(name).ok()).collect();
            let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
            let first = builder.with_projection(mask).with_limit(1).build()?.next().transpose()?;
            let first = first.ok_or_else(|| EngineError::Altered { path: file.path.clone(), why: "it has no rows".to_owned() })?;
            firsts.push(adapt(&first, &schema)?);
        }
        Ok(concat_batches(&schema, &firsts)?)
    }

    /// The key of the very last row; columns in the table's order.
    pub(super) fn last_key(&self, order: &[String]) -> Result<Option<RecordBatch>> {
        let Some(file) = self.files.last() else { return Ok(None) };
        let fields: Vec<_> = order.iter().map(|name| self.schema.field_with_name(name).cloned()).collect::<Result<_, _>>()?;
        let schema = Arc::new(Schema::new(fields));
        let builder = open(file)?;
        let roots: Vec<usize> = order.iter().filter_map(|name| builder.schema().index_of(name).ok()).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let empty = || EngineError::Altered { path: file.path.clone(), why: "it has no rows".to_owned() };
        let group = builder.metadata().num_row_groups().checked_sub(1).ok_or_else(empty)?;
        let rows = usize::try_from(builder.metadata().row_group(group).num_rows()).unwrap_or_default();
        let builder = builder.with_projection(mask).with_row_groups(vec![group]).with_offset(rows.saturating_sub(1));
        let last = builder.build()?.next().transpose()?.ok_or_else(empty)?;
        Ok(Some(adapt(&last, &schema)?))
    }

    /// All rows in the table's order, with the columns of `schema`: columns the table does not have yet are null.
    pub(crate) fn read(&self, schema: &SchemaRef) -> Result<Batches> {
        if self.exists() {
            same_types(&self.schema, schema)?;
        }
        let (files, schema) = (self.files.clone(), Arc::clone(schema));
        let batches = files.into_iter().flat_map(move |file| -> Batches {
            match read_file(&file, &schema) {
                Ok(batches) => batches,
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        });
        Ok(Box::new(batches))
    }

    /// Reads everything: the rows must be as many as the log says, and in the table's order.
    pub(crate) fn verify(&self) -> Result<()> {
        let order = self.order.as_ref().map(|names| Order::by_names(&self.schema, names)).transpose()?;
        let mut probe = order.map(OrderProbe::one);
        for file in &self.files {
            let altered = |why: String| EngineError::Altered { path: file.path.clone(), why };
            let mut rows = 0;
            for batch in read_file(file, &self.schema)? {
                let batch = batch.map_err(|error| altered(error.to_string()))?;
                rows += batch.num_rows() as u64;
                if let Some(probe) = &mut probe {
                    probe.observe(&batch)?;
                    if probe.is_disproved() {
                        return Err(altered("its rows are not in the order of the table".to_owned()));
                    }
                }
            }
            if rows != file.rows {
                return Err(altered(format!("it has {rows} rows, and the log says {}", file.rows)));
            }
        }
        Ok(())
    }

    /// As a table for SQL.
    pub(crate) fn provider(&self, schema: &SchemaRef) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(SnapshotTable { schema: Arc::clone(schema), files: self.files.clone() }))
    }
}

fn same_types(before: &Schema, after: &Schema) -> Result<()> {
    for field in after.fields() {
        if let Ok(old) = before.field_with_name(field.name())
            && old.data_type() != field.data_type()
        {
            return Err(EngineError::TypeChanged {
                column: field.name().clone(),
                before: type_name(old.data_type()),
                after: type_name(field.data_type()),
            });
        }
    }
    Ok(())
}

fn open(file: &DataFile) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let altered = |why: String| EngineError::Altered { path: file.path.clone(), why };
    let handle = File::open(&file.path).map_err(|error| altered(error.to_string()))?;
    ParquetRecordBatchReaderBuilder::try_new(handle).map_err(|error| altered(error.to_string()))
}

/// The rows of one file with the columns of `schema`.
pub(super) fn read_file(file: &DataFile, schema: &SchemaRef) -> Result<Batches> {
    let reader = open(file)?.with_batch_size(8192).build()?;
    let schema = Arc::clone(schema);
    Ok(Box::new(reader.map(move |batch| adapt(&batch?, &schema))))
}

/// Gives a batch the columns of `schema`, by name.
fn adapt(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) => Arc::clone(column),
        None => new_null_array(field.data_type(), batch.num_rows()),
    });
    let named = RecordBatch::try_from_iter(schema.fields().iter().map(|field| field.name().clone()).zip(columns))?;
    conform(&named, schema)
}

/// The data files of one version of a table, for SQL. A file that is missing is an error, not an empty table.
#[derive(Debug)]
pub(crate) struct SnapshotTable {
    schema: SchemaRef,
    files: Vec<DataFile>,
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        if self.files.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema.project(columns)?),
                None => Arc::clone(&self.schema),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let file = |file: &DataFile| {
            let location = ObjectPath::from_absolute_path(std::path::absolute(&file.path)?)
                .map_err(|error| DataFusionError::External(Box::new(error)))?;
            let meta = ObjectMeta { location, last_modified: chrono::DateTime::UNIX_EPOCH, size: file.bytes, e_tag: None, version: None };
            Ok(PartitionedFile::new_from_meta(meta))
        };
        let files = self.files.iter().map(file).collect::<datafusion::error::Result<Vec<_>>>()?;
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(ParquetSource::new(Arc::clone(&self.schema))))
            .with_file_groups(FileGroup::new(files).split_files(state.config().target_partitions()))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}
