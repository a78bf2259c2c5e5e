//! What can go wrong in the data plane.

use crate::veil::Veil;
use std::path::PathBuf;
use tidegate_core::{Code, Failure, Location};

/// Result of the data plane.
pub(crate) type Result<T, E = EngineError> = std::result::Result<T, E>;

/// An error of the data plane. `Display` says what; the cause is the source.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum EngineError {
    #[error("source `{name}` cannot be read from {path}")]
    Read { name: String, path: PathBuf, source: std::io::Error },
    #[error("source `{name}`: the bytes cannot be decoded: {why}")]
    Decode { name: String, why: String },
    #[error("source `{name}` is empty: it has not even a header")]
    Empty { name: String },
    #[error("source `{name}` gave {got} where {promised} was promised")]
    WrongFormat { name: String, got: &'static str, promised: &'static str, begins: String },
    #[error("source `{name}` no longer has the column{} {}", if .missing.len() == 1 { "" } else { "s" }, quoted(.missing))]
    MissingColumns { name: String, missing: Vec<String>, got: Vec<String>, location: Option<Location> },
    #[error("more than {most} rows were rejected, of source `{name}` the first for: {first}")]
    TooManyRejected { name: String, most: u64, first: String },
    #[error("{message}")]
    Sql { message: String, location: Option<Location>, hints: Vec<String>, running: bool },
    #[error("{0}")]
    Shape(String),
    #[error("column `{column}` was {before} in the table and would now be {after}")]
    TypeChanged { column: String, before: String, after: String },
    #[error("the table `{table}` has the key {had}, and the pipeline file now says {has}")]
    KeyChanged { table: String, had: String, has: String },
    #[error("the work needs more memory than the limit of {limit} allows")]
    Memory { limit: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("check `{name}` found {rows} violations")]
    Check { name: String, rows: u64, examples: Vec<String> },
    #[error("`{path}` cannot be written")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is missing or was altered: {why}")]
    Altered { path: PathBuf, why: String },
    #[error("the Delta table cannot be read or written")]
    Delta(#[source] Box<deltalake_core::DeltaTableError>),
    #[error("the table in {path} was changed by somebody else")]
    Foreign { path: PathBuf, why: String },
    #[error("columns cannot be worked with")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("a Parquet file cannot be read or written")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("the query engine failed")]
    DataFusion(#[source] Box<datafusion::error::DataFusionError>),
    /// Never leaves the data plane: the work is done in another way.
    #[error("the rows are not in the order of the table")]
    NotInOrder,
    #[error("{0}")]
    Bug(String),
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl From<deltalake_core::DeltaTableError> for EngineError {
    fn from(error: deltalake_core::DeltaTableError) -> Self {
        Self::Delta(Box::new(error))
    }
}

impl From<datafusion::error::DataFusionError> for EngineError {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError;
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Memory { limit: "the pipeline".to_owned(), source: Box::new(error) },
            _ => Self::DataFusion(Box::new(error)),
        }
    }
}

impl EngineError {
    /// Without what it may repeat of sensitive values (INV-7): texts of others say what they stumbled over.
    pub(crate) fn veiled(self, veil: &Veil) -> Self {
        if veil.is_empty() {
            return self;
        }
        match self {
            Self::Sql { message, location, hints, running: true } => {
                Self::Sql { message: veil.over_text(message, "pipeline"), location, hints, running: true }
            }
            Self::DataFusion(error) => {
                Self::Sql { message: veil.over_text(error.to_string(), "pipeline"), location: None, hints: Vec::new(), running: true }
            }
            Self::Arrow(error) => Self::Bug(veil.over_text(error.to_string(), "pipeline")),
            Self::WrongFormat { name, got, promised, begins } => {
                Self::WrongFormat { name, got, promised, begins: veil.over_text(begins, "pipeline") }
            }
            other => other,
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Read { .. } => Code::TG206,
            Self::Decode { .. } => Code::TG207,
            Self::Empty { .. } => Code::TG210,
            Self::WrongFormat { .. } => Code::TG203,
            Self::MissingColumns { .. } => Code::TG204,
            Self::TooManyRejected { .. } => Code::TG208,
            Self::Sql { running: false, .. } => Code::TG301,
            Self::Sql { running: true, .. } | Self::DataFusion(_) => Code::TG302,
            Self::Shape(_) | Self::KeyChanged { .. } => Code::TG303,
            Self::TypeChanged { .. } => Code::TG307,
            Self::Memory { .. } => Code::TG306,
            Self::Check { .. } => Code::TG304,
            Self::Write { .. } => Code::TG403,
            Self::Altered { .. } | Self::Parquet(_) => Code::TG407,
            Self::Delta(_) => Code::TG501,
            Self::Foreign { .. } => Code::TG502,
            Self::Arrow(_) | Self::NotInOrder | Self::Bug(_) => Code::TG901,
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let mut failure = Failure::new(error.code(), error.to_string());
        match &error {
            EngineError::MissingColumns { got, location, missing, .. } => {
                failure = failure.at(location.clone()).detail("got", got.join(", ")).hint(match missing.as_slice() {
                    [one] => {
                        format!("if the publisher renamed `{one}`, set `from:` to its new name; if it may be absent, set `optional: true`")
                    }
                    _ => "if the publisher renamed them, set `from:`; if they may be absent, set `optional: true`".to_owned(),
                });
                // Everything in one column: it is cut somewhere else.
                if let [whole] = got.as_slice()
                    && let Some(other) = [';', '\t', '|', ','].into_iter().find(|other| whole.contains(*other))
                {
                    failure = failure.hint(format!("or is the delimiter another one now? `csv: {{ delimiter: {:?} }}`", other.to_string()));
                }
            }
            EngineError::WrongFormat { begins, .. } => {
                failure = failure
                    .detail("begins", begins.clone())
                    .hint("the address may have moved, or a login page or an error page came instead of the data");
            }
            EngineError::Sql { location, hints, .. } => {
                failure = failure.at(location.clone());
                failure.hints.extend(hints.iter().cloned());
            }
            EngineError::Check { examples, .. } => {
                for example in examples {
                    failure = failure.detail("violates", example.clone());
                }
                failure = failure.hint("set `severity: warn` to publish all the same, or `severity: hold` to let a person decide");
            }
            EngineError::Memory { .. } => failure = failure.hint("raise `limits: { memory: … }` in the pipeline file"),
            EngineError::TypeChanged { .. } => {
                failure = failure.hint("cast it to the old type in the SQL, or give the table another name and load it anew");
            }
            EngineError::KeyChanged { .. } => {
                failure = failure.hint("give the table another name: it is loaded anew, and the old one keeps its history");
            }
            EngineError::TooManyRejected { .. } => {
                failure = failure.hint("the column types may not fit this file; or raise `limits: { max_quarantine: … }`");
            }
            EngineError::Foreign { why, .. } => {
                failure = failure.detail("found", why.clone()).hint("`tidegate rebuild PIPELINE` makes the table again from its changesets")
            }
            EngineError::Altered { .. } => failure = failure.hint("`tidegate doctor` says which files are affected"),
            EngineError::Empty { .. } => {
                failure = failure.hint("the publisher may be in the middle of writing it; the next run asks again")
            }
            _ => {}
        }
        match std::error::Error::source(&error) {
            Some(cause) => failure.because(cause),
            None => failure,
        }
    }
}
