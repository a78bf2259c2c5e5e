//! How far each subscriber is: durable, so that it gets every event at least once, in order.

use super::{Ledger, Tx};
use crate::error::{Result, sql};

impl Ledger {
    /// The last event (for destinations: the last run) that a subscriber of a pipeline has; none if it was never heard of.
    pub async fn cursor(&self, subscriber: &str, pipeline: &str) -> Result<Option<i64>> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT position FROM cursors WHERE subscriber = ?1 AND pipeline = ?2")
            .bind(subscriber.to_owned())
            .bind(pipeline.to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(sql)?;
        Ok(row.map(|(position,)| position))
    }
}

/// Notes that a subscriber has everything up to `position`.
pub async fn advance(tx: &mut Tx, subscriber: &str, pipeline: &str, position: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO cursors (subscriber, pipeline, position) VALUES (?1, ?2, ?3) \
         ON CONFLICT (subscriber, pipeline) DO UPDATE SET position = max(position, excluded.position)",
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
