//! Live events: read from the ledger once, handed to everybody who listens.

use super::Service;
use crate::{error::Result, ledger::events::Wanted};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};
use tokio::sync::broadcast;

/// Events that a listener may be behind; one that is further behind reads the ledger itself (INV-8).
const BEHIND: usize = 4096;

/// An event, written once for all listeners.
#[derive(Debug)]
pub struct News {
    sender: broadcast::Sender<Arc<Line>>,
    newest: AtomicI64,
    /// Held by whoever begins to listen.
    beginning: Mutex<()>,
}

/// An event as it goes out.
#[derive(Debug)]
pub struct Line {
    /// Its number.
    pub sequence: i64,
    /// Its type.
    pub kind: String,
    /// Its pipeline.
    pub pipeline: String,
    /// The whole of it, as JSON.
    pub json: String,
}

impl Line {
    /// Of an event of the ledger.
    pub fn new(event: &tidegate_core::event::Event) -> Self {
        Self {
            sequence: event.sequence.unwrap_or_default(),
            kind: event.kind.clone(),
            pipeline: event.pipeline().to_owned(),
            json: serde_json::to_string(event).unwrap_or_default(),
        }
    }
}

impl Default for News {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BEHIND), newest: AtomicI64::new(-1), beginning: Mutex::new(()) }
    }
}

impl Service {
    /// Listens from now on. What was before is in the ledger.
    pub async fn listen(&self) -> Result<broadcast::Receiver<Arc<Line>>> {
        let newest = self.conductor.ledger.newest_event().await?;
        let _beginning = self.news.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        // While nobody listened nobody looked.
        if self.news.sender.receiver_count() == 0 {
            self.news.newest.store(newest, Ordering::Relaxed);
        }
        Ok(self.news.sender.subscribe())
    }

    /// Hands on what is new, whichever process wrote it, if somebody listens.
    pub async fn tail(&self) -> Result<()> {
        if self.news.sender.receiver_count() == 0 {
            return Ok(());
        }
        let known = self.news.newest.load(Ordering::Relaxed);
        let newest = self.conductor.ledger.newest_event().await?;
        let mut after = known;
        while after < newest {
            let events = self.conductor.ledger.events(&Wanted { after, limit: 1000, ..Wanted::default() }).await?;
            let Some(last) = events.last().and_then(|event| event.sequence) else { break };
            for event in &events {
                // Nobody listens any more: that is no error.
                let _ = self.news.sender.send(Arc::new(Line::new(event)));
            }
            after = last;
            self.news.newest.store(after, Ordering::Relaxed);
        }
        Ok(())
    }
}
