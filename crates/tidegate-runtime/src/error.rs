//! What can go wrong in the conductor.

use std::path::PathBuf;
use tidegate_core::{Code, Failure};

/// Result of the conductor.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// An error of the ledger or the home folder.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StateError {
    #[error("the ledger cannot be used")]
    Sqlx(#[from] sqlx::Error),
    #[error("the ledger cannot be brought to this version's form")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the ledger has form {found}, and this Tidegate knows forms up to {known}")]
    Newer { found: i64, known: i64 },
    #[error("the ledger holds something that cannot be read")]
    Content(#[from] serde_json::Error),
    #[error("`{path}` cannot be written")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("`{path}` cannot be read")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("another process is running the pipeline `{0}`")]
    Locked(String),
    #[error("there is no run {0}")]
    NoRun(i64),
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let code = match &error {
            StateError::Sqlx(sqlx::Error::Database(inner)) if inner.code().is_some_and(|code| code == "13") => Code::TG403,
            StateError::Sqlx(_) | StateError::Migrate(_) | StateError::Content(_) => Code::TG401,
            StateError::Newer { .. } => Code::TG406,
            StateError::Write { .. } => Code::TG403,
            StateError::Read { .. } => Code::TG407,
            StateError::Locked(_) => Code::TG402,
            StateError::NoRun(_) => Code::TG404,
        };
        let mut failure = Failure::new(code, error.to_string());
        failure = match &error {
            StateError::Newer { .. } => failure.hint("use the newer Tidegate, or another `--home`"),
            StateError::Locked(_) => {
                failure.hint("wait until it is done; if no other process is there, the lock is free again with the end of the last one")
            }
            StateError::NoRun(_) => failure.hint("`tidegate runs` lists them"),
            StateError::Write { .. } => {
                failure.hint("make room, or give `--home` a folder that can be written; the next run goes on from here")
            }
            _ => failure,
        };
        match std::error::Error::source(&error) {
            Some(cause) => failure.because(cause),
            None => failure,
        }
    }
}

/// `?` on the ledger's results inside functions that return a [`Failure`].
pub(crate) fn sql(error: sqlx::Error) -> Failure {
    StateError::from(error).into()
}

/// `?` on JSON of the ledger.
pub(crate) fn json(error: serde_json::Error) -> Failure {
    StateError::from(error).into()
}
