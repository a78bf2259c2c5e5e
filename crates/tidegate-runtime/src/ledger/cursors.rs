//! How far each subscriber is: durable, so that it gets every event at least once, in order.

use super::{Ledger, Tx};
use crate::error::{Result, sql};

/// How far a subscriber is.
#[derive(Debug, Clone, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct Cursor {
    /// The last event (for destinations: the last run) it has.
    pub position: i64,
    /// Failed tries to give it the next one.
    pub tries: u32,
    /// When the next try may be made, in milliseconds since 1970.
    pub not_before: i64,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

impl Ledger {
    /// How far a subscriber of a pipeline's events is; none if it was never heard of.
    pub async fn cursor(&self, subscriber: &str, pipeline: &str) -> Result<Option<Cursor>> {
        sqlx::query_as("SELECT position, tries, not_before, last_error FROM cursors WHERE subscriber = ?1 AND pipeline = ?2")
            .bind(subscriber.to_owned())
            .bind(pipeline.to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(sql)
    }
}

/// Notes that a subscriber has everything up to `position`.
pub async fn advance(tx: &mut Tx, subscriber: &str, pipeline: &str, position: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO cursors (subscriber, pipeline, position) VALUES (?1, ?2, ?3) \
         ON CONFLICT (subscriber, pipeline) DO UPDATE SET position = max(position, excluded.position), tries = 0, not_before = 0, last_error = NULL",
    )
    .bind(subscriber.to_owned())
    .bind(pipeline.to_owned())
    .bind(position)
    .execute(&mut **tx)
    .await
    .map_err(sql)?;
    Ok(())
}

/// Moves a cursor from where it was seen. `false` if it is not there any more.
pub async fn move_on(tx: &mut Tx, subscriber: &str, pipeline: &str, from: i64, to: i64) -> Result<bool> {
    let done = sqlx::query("UPDATE cursors SET position = ?4 WHERE subscriber = ?1 AND pipeline = ?2 AND position = ?3")
        .bind(subscriber.to_owned())
        .bind(pipeline.to_owned())
        .bind(from)
        .bind(to)
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(done.rows_affected() == 1)
}
