//! Notifications: delivered beside the runs, each notifier in its own order and at its own pace.

use super::{
    Service,
    worker::{jitter, later},
};
use crate::{
    error::{Result, sql},
    ledger::outbox,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};
use tidegate_core::{pipeline::Pipeline, retry};

/// Who is being told at the moment: pipeline and place of the notifier.
#[derive(Debug, Default)]
pub(super) struct Sending(Mutex<BTreeSet<(String, usize)>>);

impl Service {
    /// Delivers what waits, one task for each notifier that has something.
    pub async fn deliver_waiting(self: Arc<Self>) -> Result<()> {
        for (pipeline, notifier) in self.conductor.ledger.outbox_due(self.now()).await? {
            let to = (pipeline, notifier);
            if !self.sending.0.lock().unwrap_or_else(PoisonError::into_inner).insert(to.clone()) {
                continue;
            }
            let service = Arc::clone(&self);
            tokio::spawn(async move {
                if let Err(failure) = service.deliver_to(&to.0, to.1).await {
                    (service.watcher)(&super::Note::Failed(&to.0, &failure));
                }
                service.sending.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&to);
            });
        }
        Ok(())
    }

    /// Delivers what waits for one notifier, in order, until it refuses.
    pub async fn deliver_to(&self, pipeline: &str, notifier: usize) -> Result<()> {
        let Some(pipeline) = self.pipeline(pipeline) else { return Ok(()) };
        while let Some(entry) = self.conductor.ledger.take_entry(pipeline.name(), notifier, self.options.lease, self.now()).await? {
            let again = later(self.now(), retry::backoff(entry.tries + 2, jitter()));
            if let Err(failure) = self.deliver_alive(&pipeline, &entry).await? {
                tracing::warn!(pipeline = pipeline.name(), notifier = entry.kind, "{failure}");
                let mut tx = self.conductor.ledger.begin().await?;
                outbox::postpone(&mut tx, entry.id, again).await?;
                return tx.commit().await.map_err(sql);
            }
        }
        Ok(())
    }

    /// Delivers, and says every now and then that this process is still at it: a dead one's delivery is another's soon.
    async fn deliver_alive(&self, pipeline: &Arc<Pipeline>, entry: &outbox::Entry) -> Result<Result<()>> {
        let alive = async {
            loop {
                tokio::time::sleep(self.options.lease / 3).await;
                if let Err(failure) = self.conductor.ledger.keep_entry(entry.id, self.options.lease, self.now()).await {
                    tracing::warn!(pipeline = pipeline.name(), "a delivery could not be kept: {failure}");
                }
            }
        };
        tokio::select! {
            delivered = self.conductor.deliver_entry(pipeline, entry) => delivered,
            never = alive => never,
        }
    }
}
