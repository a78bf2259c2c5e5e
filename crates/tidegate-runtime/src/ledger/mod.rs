//! The ledger: one SQLite file that says what happened and what is still to be done.
//!
//! Writes go through transactions that begin IMMEDIATE and are brought to disk before they return. Between services the file
//! is in rollback-journal mode, in which opening and reading it writes nothing at all; while one is running it is in
//! write-ahead mode, in which readers and writers do not wait for each other.

pub mod cursors;
pub mod events;
pub mod outbox;
pub mod quarantine;
pub mod queue;
pub mod runs;
pub mod silences;
pub mod snapshots;
pub mod standings;
pub mod subscribers;
pub mod tokens;

use crate::{
    error::{Result, StateError, sql},
    home::Home,
};
use sqlx::{
    ConnectOptions as _, Connection as _, Sqlite, SqlitePool, Transaction,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::time::Duration;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");
/// The form this version writes: the number of the last migration.
const FORM: i64 = 2;

/// The ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// For reading.
    pub(crate) pool: SqlitePool,
    /// The one connection that writes. Writers of this process wait for it in turn, and not for the file: whoever has it can
    /// always read as well, for no reader's connection is ever taken by somebody who waits to write.
    writer: SqlitePool,
}

/// A transaction on it.
pub type Tx = Transaction<'static, Sqlite>;

impl Ledger {
    /// Opens the ledger of `home`, and brings it into being if it is not there.
    pub async fn open(home: &Home) -> Result<Self> {
        Self::open_in(home, None).await
    }

    /// The same for a service, which reads and writes all the time, perhaps beside others.
    pub async fn open_for_service(home: &Home) -> Result<Self> {
        Self::open_in(home, Some(SqliteJournalMode::Wal)).await
    }

    async fn open_in(home: &Home, mode: Option<SqliteJournalMode>) -> Result<Self> {
        let path = home.ledger();
        if !path.exists() {
            std::fs::create_dir_all(home.root()).map_err(|source| StateError::Write { path: home.root().to_owned(), source })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(30));
        let options = match mode {
            Some(mode) => options.journal_mode(mode),
            None => options,
        };
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(120))
            .connect_lazy_with(options.clone());
        let pool =
            SqlitePoolOptions::new().max_connections(4).idle_timeout(None).max_lifetime(None).connect_with(options).await.map_err(sql)?;
        let (form,): (i64,) = sqlx::query_as("PRAGMA user_version").fetch_one(&pool).await.map_err(sql)?;
        if form > FORM {
            return Err(StateError::Newer { found: form, known: FORM }.into());
        }
        if form < FORM {
            // SQLite's own migration lock does nothing; two first starts at once must not race.
            let _lock = first_start(home)?;
            MIGRATOR.run(&pool).await.map_err(StateError::from)?;
        }
        Ok(Self { pool, writer })
    }

    /// Begins a transaction that writes.
    pub async fn begin(&self) -> Result<Tx> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(sql)
    }

    /// Closes the file after a service; the last one leaves it as it was before.
    pub async fn close_after_service(self, home: &Home) {
        self.writer.close().await;
        self.pool.close().await;
        let options =
            SqliteConnectOptions::new().filename(home.ledger()).journal_mode(SqliteJournalMode::Delete).busy_timeout(Duration::ZERO);
        // Others are still at it: then it stays as it is.
        if let Ok(connection) = options.connect().await {
            let _ = connection.close().await;
        }
    }

    /// Closes the file.
    pub async fn close(self) {
        self.writer.close().await;
        self.pool.close().await;
    }
}

/// Waits for whoever else is bringing the ledger into being.
fn first_start(home: &Home) -> Result<std::fs::File> {
    let path = home.root().join("ledger.lock");
    let failed = |source| StateError::Write { path: path.clone(), source };
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    fs4::FileExt::lock(&file).map_err(failed)?;
    Ok(file)
}
