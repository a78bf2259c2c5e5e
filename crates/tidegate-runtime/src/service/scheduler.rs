//! Set times: what the schedule of each pipeline asks for.

use super::Service;
use crate::{
    error::{Result, sql},
    ledger::{Ledger, Tx, queue},
};
use jiff::Timestamp;
use std::sync::PoisonError;
use tidegate_core::{pipeline::Missed, schedule::Timetable, trigger::Trigger};

/// The name of a schedule in the ledger.
const NAME: &str = "schedule";

impl Service {
    /// Asks for the runs whose time has come. What was asked for and until when it was looked at are written together, so
    /// that a set time is neither forgotten nor doubled, whenever the process dies.
    pub async fn schedule(&self) -> Result<()> {
        for pipeline in self.pipelines() {
            let schedule = pipeline.file.triggers.as_ref().and_then(|triggers| triggers.schedule.as_ref());
            let Some(schedule) = schedule else { continue };
            let now = self.now();
            // The ledger is asked when something may be due, not every time.
            if self
                .due
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(pipeline.name())
                .is_some_and(|(known, next)| known == schedule && *next > now)
            {
                continue;
            }
            let Some(table) = Timetable::new(schedule) else { continue };
            let Some(seen) = self.conductor.ledger.seen(pipeline.name(), NAME).await? else {
                // A schedule begins with its first start: what was before was not asked for.
                let mut tx = self.conductor.ledger.begin().await?;
                set_seen(&mut tx, pipeline.name(), NAME, now).await?;
                tx.commit().await.map_err(sql)?;
                continue;
            };
            // Nothing is written while nothing is due; a clock that was set back is waited for.
            let next = table.after(seen);
            if let Some(next) = next {
                self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(pipeline.name().to_owned(), (schedule.clone(), next));
            }
            if next.is_none_or(|next| next > now) {
                continue;
            }
            let due = table.due(seen, now);
            // Where each missed time has a run of its own they are asked for one after another, or they would be run together.
            let one_by_one = schedule.missed == Missed::All;
            if one_by_one && self.conductor.ledger.is_waiting(pipeline.name()).await? {
                continue;
            }
            let until = due.first().copied().filter(|_| one_by_one).unwrap_or(now);
            let mut tx = self.conductor.ledger.begin().await?;
            // Another service may have looked at the same moment.
            if !move_seen(&mut tx, pipeline.name(), NAME, seen, until).await? {
                continue;
            }
            for at in due.into_iter().take(if one_by_one { 1 } else { usize::MAX }) {
                queue::enqueue(&mut tx, pipeline.name(), &Trigger::Schedule { at }, 0, now, now).await?;
            }
            tx.commit().await.map_err(sql)?;
            self.wake.notify_one();
        }
        Ok(())
    }
}

impl Ledger {
    /// Until when the set times of a pipeline have been looked at.
    pub async fn seen(&self, pipeline: &str, name: &str) -> Result<Option<Timestamp>> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT seen FROM trigger_state WHERE pipeline = ?1 AND name = ?2")
            .bind(pipeline.to_owned())
            .bind(name.to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(sql)?;
        Ok(row.and_then(|(millis,)| Timestamp::from_millisecond(millis).ok()))
    }
}

async fn set_seen(tx: &mut Tx, pipeline: &str, name: &str, seen: Timestamp) -> Result<()> {
    sqlx::query("INSERT INTO trigger_state (pipeline, name, seen) VALUES (?1, ?2, ?3) ON CONFLICT (pipeline, name) DO UPDATE SET seen = excluded.seen")
        .bind(pipeline.to_owned())
        .bind(name.to_owned())
        .bind(seen.as_millisecond())
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(())
}

/// `false` if it is not where it was seen.
async fn move_seen(tx: &mut Tx, pipeline: &str, name: &str, from: Timestamp, to: Timestamp) -> Result<bool> {
    let done = sqlx::query("UPDATE trigger_state SET seen = ?4 WHERE pipeline = ?1 AND name = ?2 AND seen = ?3")
        .bind(pipeline.to_owned())
        .bind(name.to_owned())
        .bind(from.as_millisecond())
        .bind(to.as_millisecond())
        .execute(&mut **tx)
        .await
        .map_err(sql)?;
    Ok(done.rows_affected() == 1)
}
