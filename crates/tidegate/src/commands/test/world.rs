//! An outside world of memory: what sources publish is given, and nobody is really told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tidegate_connectors::render::Templates;
use tidegate_core::{
    Failure,
    pipeline::Pipeline,
    seam::{Notifier, Outside, Receiver, Renderer, Source},
};
use tidegate_testkit::fakes::{self, Mailbox, MemorySource, Recorder, Sent};

/// The world of one test.
pub(super) struct TestWorld {
    published: Mutex<BTreeMap<String, Vec<u8>>>,
    sent: Mailbox,
    templates: Templates,
}

impl TestWorld {
    pub(super) fn new() -> Self {
        Self { published: Mutex::default(), sent: Mailbox::default(), templates: Templates::new() }
    }

    pub(super) fn publish(&self, source: &str, bytes: Vec<u8>) {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_owned(), bytes);
    }

    pub(super) fn take_messages(&self) -> Vec<Sent> {
        fakes::take(&self.sent)
    }
}

impl Outside for TestWorld {
    fn source(&self, _: &Pipeline, name: &str) -> Result<Box<dyn Source>, Failure> {
        let bytes = self.published.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        Ok(Box::new(MemorySource { bytes }))
    }

    fn notifier(&self, pipeline: &Pipeline, index: usize) -> Result<Box<dyn Notifier>, Failure> {
        let kind = pipeline.file.notify.get(index).map_or("nobody", tidegate_core::pipeline::Notify::kind);
        Ok(Box::new(Recorder { kind, mailbox: Arc::clone(&self.sent) }))
    }

    fn subscriber(&self, _: &Pipeline, _: usize) -> Result<Box<dyn Receiver>, Failure> {
        Ok(Box::new(fakes::Taker::default()))
    }

    fn renderer(&self) -> &dyn Renderer {
        &self.templates
    }
}
