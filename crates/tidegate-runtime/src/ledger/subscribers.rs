//! Where subscribers stand: a cursor each, and whose turn it is to deliver.

use super::Ledger;
use crate::error::{Result, sql};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;
use tidegate_core::{
    Failure,
    pipeline::{From, Subscriber},
};

/// How far a subscriber is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The last event it has; for changes, the last run it has all of.
    pub at: i64,
    /// Changed rows of the next run that it has already.
    pub rows: u64,
    /// Deliveries that failed in a row.
    pub tries: u32,
}

/// A subscriber that does not take what it is given.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct Failing {
    /// The pipeline.
    pub pipeline: String,
    /// The subscriber.
    pub name: String,
    /// Deliveries that failed in a row.
    pub tries: i64,
    /// The last error.
    pub error: Option<String>,
}

fn millis(now: Timestamp, and: Duration) -> i64 {
    now.as_millisecond().saturating_add(i64::try_from(and.as_millis()).unwrap_or(i64::MAX))
}

impl Ledger {
    /// Gives subscribers that were never heard of, or now want something else, their place: before everything, or after what
    /// there is. Forgets those that are not there any more.
    pub async fn meet_subscribers(&self, pipeline: &str, subscribers: &[Subscriber]) -> Result<()> {
        let known: Vec<(String, String)> = sqlx::query_as("SELECT name, kind FROM subscribers WHERE pipeline = ?1")
            .bind(pipeline.to_owned())
            .fetch_all(&self.pool)
            .await
            .map_err(sql)?;
        for (name, _) in known.iter().filter(|(name, _)| subscribers.iter().all(|subscriber| subscriber.name != *name)) {
            sqlx::query("DELETE FROM subscribers WHERE pipeline = ?1 AND name = ?2")
                .bind(pipeline.to_owned())
                .bind(name.clone())
                .execute(&self.writer)
                .await
                .map_err(sql)?;
        }
        for subscriber in subscribers {
            let kind = if subscriber.changes.is_some() { "changes" } else { "events" };
            if known.iter().any(|(name, has)| *name == subscriber.name && has == kind) {
                continue;
            }
            let position = match (subscriber.from, kind) {
                (From::Beginning, _) => "0",
                (From::Now, "events") => "(SELECT coalesce(max(sequence), 0) FROM events)",
                (From::Now, _) => "(SELECT coalesce(max(id), 0) FROM runs WHERE pipeline = ?1 AND state = 'published')",
            };
            let query = format!(
                "INSERT INTO subscribers (pipeline, name, kind, position) VALUES (?1, ?2, ?3, {position}) \
                 ON CONFLICT (pipeline, name) DO UPDATE SET kind = excluded.kind, position = excluded.position, rows = 0, tries = 0, error = NULL \
                 WHERE kind <> excluded.kind"
            );
            sqlx::query(sqlx::AssertSqlSafe(query))
                .bind(pipeline.to_owned())
                .bind(subscriber.name.clone())
                .bind(kind)
                .execute(&self.writer)
                .await
                .map_err(sql)?;
        }
        Ok(())
    }

    /// Where a subscriber stands, if it is time to deliver to it and nobody else does.
    pub async fn take_subscriber(&self, pipeline: &str, name: &str, lease: Duration, now: Timestamp) -> Result<Option<Position>> {
        let row: Option<(i64, i64, i64)> = sqlx::query_as(
            "UPDATE subscribers SET lease_until = ?3 WHERE pipeline = ?1 AND name = ?2 AND lease_until <= ?4 RETURNING position, rows, tries",
        )
        .bind(pipeline.to_owned())
        .bind(name.to_owned())
        .bind(millis(now, lease))
        .bind(now.as_millisecond())
        .fetch_optional(&self.writer)
        .await
        .map_err(sql)?;
        Ok(row.map(|(at, rows, tries)| Position {
            at,
            rows: u64::try_from(rows).unwrap_or_default(),
            tries: u32::try_from(tries).unwrap_or(u32::MAX),
        }))
    }

    /// Notes what a subscriber has now. Its turn goes on for `lease`, or is over.
    pub async fn move_subscriber(&self, pipeline: &str, name: &str, to: Position, lease: Duration, now: Timestamp) -> Result<()> {
        sqlx::query(
            "UPDATE subscribers SET position = ?3, rows = ?4, tries = 0, error = NULL, lease_until = ?5 WHERE pipeline = ?1 AND name = ?2",
        )
        .bind(pipeline.to_owned())
        .bind(name.to_owned())
        .bind(to.at)
        .bind(i64::try_from(to.rows).unwrap_or(i64::MAX))
        .bind(millis(now, lease))
        .execute(&self.writer)
        .await
        .map_err(sql)?;
        Ok(())
    }

    /// Ends a turn; with a failure, the next one comes after `wait`.
    pub async fn leave_subscriber(&self, pipeline: &str, name: &str, failed: Option<(&Failure, Duration)>, now: Timestamp) -> Result<()> {
        let (error, wait) = failed.map_or((None, Duration::ZERO), |(failure, wait)| (Some(failure.to_string()), wait));
        sqlx::query(
            "UPDATE subscribers SET lease_until = ?3, error = ?4, tries = CASE WHEN ?4 IS NULL THEN 0 ELSE tries + 1 END \
             WHERE pipeline = ?1 AND name = ?2",
        )
        .bind(pipeline.to_owned())
        .bind(name.to_owned())
        .bind(millis(now, wait))
        .bind(error)
        .execute(&self.writer)
        .await
        .map_err(sql)?;
        Ok(())
    }

    /// Subscribers whose last delivery failed.
    pub async fn failing_subscribers(&self) -> Result<Vec<Failing>> {
        sqlx::query_as("SELECT pipeline, name, tries, error FROM subscribers WHERE tries > 0 ORDER BY pipeline, name")
            .fetch_all(&self.pool)
            .await
            .map_err(sql)
    }

    /// Of every subscriber what it has: pipeline, name, position.
    pub async fn subscribers(&self) -> Result<Vec<(String, String, i64)>> {
        sqlx::query_as("SELECT pipeline, name, position FROM subscribers ORDER BY pipeline, name").fetch_all(&self.pool).await.map_err(sql)
    }
}
