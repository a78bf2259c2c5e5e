//! Downstream pipelines: subscribers of other pipelines' events with a durable cursor.

use super::Service;
use crate::{
    error::{Result, sql},
    ledger::{cursors, events::Wanted, queue},
};
use std::sync::atomic::Ordering;
use tidegate_core::{event::kind, trigger::Trigger};

impl Service {
    /// Asks for runs of the pipelines that follow others which have published since. Cursor and queue move together.
    pub async fn follow_others(&self) -> Result<()> {
        let newest = self.conductor.ledger.newest_event().await?;
        if self.followed.load(Ordering::Relaxed) == newest {
            return Ok(());
        }
        for pipeline in self.pipelines() {
            let Some(triggers) = &pipeline.file.triggers else { continue };
            for upstream in &triggers.after {
                let subscriber = format!("after:{}", pipeline.name());
                let ledger = &self.conductor.ledger;
                let Some(position) = ledger.cursor(&subscriber, upstream).await? else {
                    // It follows from now on.
                    let mut tx = ledger.begin().await?;
                    cursors::advance(&mut tx, &subscriber, upstream, newest).await?;
                    tx.commit().await.map_err(sql)?;
                    continue;
                };
                let wanted = Wanted { pipeline: Some(upstream), kind: Some(kind::TABLE_APPLIED), after: position, limit: 1000 };
                let applied = ledger.events(&wanted).await?;
                let Some(newest) = applied.last() else { continue };
                let run = newest.subject.as_deref().and_then(|subject| subject.strip_prefix("runs/")?.parse().ok()).unwrap_or_default();
                let (now, trigger) = (self.now(), Trigger::After { pipeline: upstream.clone(), run });
                let mut tx = ledger.begin().await?;
                // Another service may have looked at the same moment.
                if !cursors::move_on(&mut tx, &subscriber, upstream, position, newest.sequence.unwrap_or(position)).await? {
                    continue;
                }
                queue::enqueue(&mut tx, pipeline.name(), &trigger, 0, now, now).await?;
                tx.commit().await.map_err(sql)?;
                self.wake.notify_one();
            }
        }
        self.followed.store(newest, Ordering::Relaxed);
        Ok(())
    }
}
