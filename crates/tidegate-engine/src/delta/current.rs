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
    array::{Array as _, RecordBatch, UInt64Array, new_null_array},
    compute::{concat_batches, take_record_batch},
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
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, statistics::StatisticsConverter},
    },
    file::metadata::ParquetMetaData,
};
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
    /// The key of the first row of each file; columns in the table's order. Empty if there is nothing to tell apart.
    first_keys: RecordBatch,
}

impl CurrentTable {
    pub(crate) async fn open(folder: &Path) -> Result<Self> {
        let Some(delta) = log::open(folder).await? else {
            let schema = Arc::new(Schema::empty());
            let first_keys = RecordBatch::new_empty(Arc::clone(&schema));
            return Ok(Self { delta: None, schema, order: None, files: Vec::new(), first_keys });
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
        let first_keys = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let mut table = Self { delta: Some(delta), schema, order, files, first_keys };
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
        let firsts = self.read_first_keys(&order)?;
        let whole = Order { columns: (0..firsts.num_columns()).collect() };
        let comparator = whole.comparator(&firsts, &firsts)?;
        let mut places: Vec<usize> = (0..self.files.len()).collect();
        places.sort_by(|a, b| comparator.compare(*a, *b));
        self.files = places.iter().map(|i| self.files[*i].clone()).collect();
        let places = UInt64Array::from_iter_values(places.into_iter().map(|i| i as u64));
        self.first_keys = take_record_batch(&firsts, &places)?;
        Ok(())
    }

    /// The key of the first row of each file, in the order of the files; columns in the table's order.
    pub(super) fn first_keys(&self) -> &RecordBatch {
        &self.first_keys
    }

    fn read_first_keys(&self, order: &[String]) -> Result<RecordBatch> {
        let fields: Vec<_> = order.iter().map(|name| self.schema.field_with_name(name).cloned()).collect::<Result<_, _>>()?;
        let schema = Arc::new(Schema::new(fields));
        let mut firsts = Vec::with_capacity(self.files.len());
        for file in &self.files {
            let builder = open(file)?;
            let roots: Vec<usize> = order.iter().filter_map(|name| builder.schema().index_of(name).ok()).collect();
            let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
            let first = builder.with_projection(mask).with_limit(1).build()?.next().transpose();
            let first = first.map_err(|error| EngineError::Altered { path: file.path.clone(), why: error.to_string() })?;
            let first = first.ok_or_else(|| EngineError::Altered { path: file.path.clone(), why: "it has no rows".to_owned() })?;
            firsts.push(adapt(&first, &schema)?);
        }
        Ok(concat_batches(&schema, &firsts)?)
    }

    /// The first column of the order in a row that no row of the table comes after: rows beyond it are new, and belong to
    /// no file there is. None where the last file does not say.
    pub(super) fn upper_bound(&self, order: &[String]) -> Result<Option<RecordBatch>> {
        let (Some(file), Some(column)) = (self.files.last(), order.first()) else { return Ok(None) };
        let builder = open(file)?;
        let Ok(converter) = StatisticsConverter::try_new(column, builder.schema(), builder.parquet_schema()) else { return Ok(None) };
        let most = converter.row_group_maxes(builder.metadata().row_groups())?;
        if most.null_count() > 0 || most.is_empty() {
            return Ok(None);
        }
        let field = self.schema.field_with_name(column)?.clone();
        let bounds = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![most])?;
        let comparator = Order { columns: vec![0] }.comparator(&bounds, &bounds)?;
        let last = (0..bounds.num_rows()).reduce(|a, b| if comparator.compare(a, b).is_lt() { b } else { a });
        Ok(last.map(|row| bounds.slice(row, 1)))
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

    /// A file that the log names and that is not there.
    pub(crate) fn missing(&self) -> Option<PathBuf> {
        self.files.iter().map(|file| &file.path).find(|path| !path.is_file()).cloned()
    }

    /// Reads everything: the rows must be as many as the log says, and in the table's order.
    pub(crate) fn verify(&self) -> Result<()> {
        let order = self.order.as_ref().map(|names| Order::by_names(&self.schema, names)).transpose()?;
        let mut probe = order.map(OrderProbe::one);
        for file in &self.files {
            let altered = |why: String| EngineError::Altered { path: file.path.clone(), why };
            let mut rows = 0;
            for batch in read_file(file, &self.schema)? {
                let batch = batch?;
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

pub(super) fn open(file: &DataFile) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let altered = |why: String| EngineError::Altered { path: file.path.clone(), why };
    let handle = File::open(&file.path).map_err(|error| altered(error.to_string()))?;
    ParquetRecordBatchReaderBuilder::try_new(handle).map_err(|error| altered(error.to_string()))
}

/// The rows of one file with the columns of `schema`.
pub(super) fn read_file(file: &DataFile, schema: &SchemaRef) -> Result<Batches> {
    let reader = open(file)?.with_batch_size(8192).build()?;
    let (schema, path) = (Arc::clone(schema), file.path.clone());
    let altered = move |error: arrow::error::ArrowError| EngineError::Altered { path: path.clone(), why: error.to_string() };
    Ok(Box::new(reader.map(move |batch| adapt(&batch.map_err(&altered)?, &schema))))
}

/// Reads row groups of a file as `schema`: the file's own columns, maybe with texts as views.
pub(super) struct GroupReader<'a> {
    file: &'a DataFile,
    metadata: ArrowReaderMetadata,
    schema: &'a SchemaRef,
}

impl<'a> GroupReader<'a> {
    pub(super) fn new(file: &'a DataFile, metadata: &Arc<ParquetMetaData>, schema: &'a SchemaRef) -> Result<Self> {
        let options = ArrowReaderOptions::new().with_schema(Arc::clone(schema));
        Ok(Self { file, metadata: ArrowReaderMetadata::try_new(Arc::clone(metadata), options)?, schema })
    }

    /// The rows of a row group as one batch.
    pub(super) fn read(&self, group: usize) -> Result<RecordBatch> {
        let altered = |why: String| EngineError::Altered { path: self.file.path.clone(), why };
        let rows = usize::try_from(self.metadata.metadata().row_group(group).num_rows()).map_err(|error| altered(error.to_string()))?;
        let handle = File::open(&self.file.path).map_err(|error| altered(error.to_string()))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(handle, self.metadata.clone());
        let reader = builder.with_row_groups(vec![group]).with_batch_size(rows.max(1)).build()?;
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| altered(error.to_string()))?;
        Ok(concat_batches(self.schema, &batches)?)
    }
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
