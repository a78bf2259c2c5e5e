//! Subscribers: each is served beside the runs and beside the others.

use super::{Service, worker::jitter};
use crate::error::Result;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

/// Who is being served at the moment, and up to which event there was nothing left to give to anybody.
#[derive(Debug)]
pub(super) struct Serving {
    busy: Mutex<BTreeSet<(String, String)>>,
    quiet: AtomicI64,
}

impl Default for Serving {
    fn default() -> Self {
        Self { busy: Mutex::default(), quiet: AtomicI64::new(-1) }
    }
}

impl Service {
    /// Serves those who lack something, one task for each.
    pub async fn serve_subscribers(self: Arc<Self>) -> Result<()> {
        let newest = self.conductor.ledger.newest_event().await?;
        if self.serving.quiet.load(Ordering::Relaxed) == newest {
            return Ok(());
        }
        // Whoever fails is tried again, so the next look must not be left out.
        let failing = self.conductor.ledger.failing_subscribers().await?;
        self.serving.quiet.store(if failing.is_empty() { newest } else { -1 }, Ordering::Relaxed);
        for pipeline in self.pipelines().into_iter().filter(|pipeline| !pipeline.file.subscribers.is_empty()) {
            self.conductor.meet_subscribers(&pipeline).await?;
            for (index, subscriber) in pipeline.file.subscribers.iter().enumerate() {
                let who = (pipeline.name().to_owned(), subscriber.name.clone());
                if !self.busy().insert(who.clone()) {
                    self.serving.quiet.store(-1, Ordering::Relaxed);
                    continue;
                }
                let (service, pipeline) = (Arc::clone(&self), Arc::clone(&pipeline));
                tokio::spawn(async move {
                    match service.conductor.serve_subscriber(&pipeline, index, jitter()).await {
                        Ok(true) => {}
                        Ok(false) => service.serving.quiet.store(-1, Ordering::Relaxed),
                        Err(failure) => {
                            service.serving.quiet.store(-1, Ordering::Relaxed);
                            tracing::warn!(pipeline = who.0, subscriber = who.1, "{failure}");
                        }
                    }
                    service.busy().remove(&who);
                });
            }
        }
        Ok(())
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, String)>> {
        self.serving.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
