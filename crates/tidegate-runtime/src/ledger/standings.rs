//! How each pipeline stands, in one look.

use super::Ledger;
use crate::error::{Result, sql};
use serde::Serialize;

/// How a pipeline stands.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct Standing {
    /// The pipeline.
    pub pipeline: String,
    /// Its newest run.
    pub last_run: Option<i64>,
    /// The state of that.
    pub last_state: Option<String>,
    /// The run the table comes from.
    pub table_run: Option<i64>,
    /// Rows in quarantine.
    pub quarantine_open: i64,
    /// Messages that wait.
    pub outbox_waiting: i64,
    /// Whether people were told that something is wrong, and not yet that it is over.
    pub in_trouble: bool,
    /// Whether it is paused.
    pub paused: bool,
}

impl Ledger {
    /// All pipelines, by name.
    pub async fn standings(&self) -> Result<Vec<Standing>> {
        sqlx::query_as(
            "SELECT p.name AS pipeline, l.id AS last_run, l.state AS last_state, \
             (SELECT max(id) FROM runs WHERE pipeline = p.name AND state IN ('published', 'unchanged')) AS table_run, \
             (SELECT count(*) FROM quarantine WHERE pipeline = p.name AND status = 'open') AS quarantine_open, \
             (SELECT count(*) FROM outbox WHERE pipeline = p.name AND status = 'pending') AS outbox_waiting, \
             p.incident IS NOT NULL AS in_trouble, p.paused IS NOT NULL AS paused \
             FROM pipelines p LEFT JOIN runs l ON l.id = (SELECT max(id) FROM runs WHERE pipeline = p.name) ORDER BY p.name",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(sql)
    }
}
