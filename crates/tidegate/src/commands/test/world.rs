//! An outside world of memory: what sources publish is given, and nobody is really told.

use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tidegate_connectors::render::Templates;
use tidegate_core::{
    Failure,
    message::{Message, Rendered},
    pipeline::Pipeline,
    seam::{Fetched, Landing, Notifier, Outside, Renderer, Source, Validators},
};

/// A message as it would have gone out: the notifier's kind and the text.
pub(super) type Sent = (String, Rendered);

/// The world of one test.
pub(super) struct TestWorld {
    published: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
    templates: Templates,
}

impl TestWorld {
    pub(super) fn new() -> Self {
        Self { published: Arc::default(), sent: Arc::default(), templates: Templates::new() }
    }

    pub(super) fn publish(&self, source: &str, bytes: Vec<u8>) {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_owned(), bytes);
    }

    pub(super) fn take_messages(&self) -> Vec<Sent> {
        std::mem::take(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct MemorySource {
    bytes: Option<Vec<u8>>,
}

#[async_trait]
impl Source for MemorySource {
    async fn fetch(&self, _: &Validators, landing: &mut dyn Landing) -> Result<Fetched, Failure> {
        let Some(bytes) = &self.bytes else { return Ok(Fetched::Missing { said: "nothing is published in this test yet".to_owned() }) };
        landing.begin("test", Some(bytes.len() as u64)).await?;
        landing.write(bytes).await?;
        Ok(Fetched::Landed { validators: Validators::default(), published_at: None })
    }
}

struct Recorder {
    kind: &'static str,
    sent: Arc<Mutex<Vec<Sent>>>,
}

#[async_trait]
impl Notifier for Recorder {
    async fn send(&self, _: &str, _: &Message, rendered: &Rendered) -> Result<(), Failure> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push((self.kind.to_owned(), rendered.clone()));
        Ok(())
    }
}

impl Outside for TestWorld {
    fn source(&self, _: &Pipeline, name: &str) -> Result<Box<dyn Source>, Failure> {
        let bytes = self.published.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        Ok(Box::new(MemorySource { bytes }))
    }

    fn notifier(&self, pipeline: &Pipeline, index: usize) -> Result<Box<dyn Notifier>, Failure> {
        let kind = pipeline.file.notify.get(index).map_or("nobody", tidegate_core::pipeline::Notify::kind);
        Ok(Box::new(Recorder { kind, sent: Arc::clone(&self.sent) }))
    }

    fn renderer(&self) -> &dyn Renderer {
        &self.templates
    }
}
