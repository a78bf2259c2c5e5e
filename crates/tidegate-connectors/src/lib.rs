//! The outside world: where data comes from and where people are told about it.
//!
//! A source or notifier is one file, named after the service. Each gets what the pipeline file says about it and nothing
//! else.

pub mod notifiers;
pub mod render;
pub mod sources;
pub mod subscribers;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidegate_core::{
    Code, Failure,
    pipeline::Pipeline,
    seam::{Notifier, Outside, Receiver, Renderer, Source},
};

/// Builds sources and notifiers.
pub struct World {
    /// Reads `DIR/HOST/PATH` instead of `https://HOST/PATH`.
    pub mirror: Option<PathBuf>,
    /// Where console notifications go.
    pub console: Arc<dyn Fn(&str) + Send + Sync>,
    renderer: render::Templates,
    /// One client for each time-out, so that connections are used again.
    clients: Mutex<BTreeMap<Duration, reqwest::Client>>,
}

impl World {
    /// With an optional mirror and a console.
    pub fn new(mirror: Option<PathBuf>, console: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { mirror, console, renderer: render::Templates::new(), clients: Mutex::default() }
    }

    fn client(&self, timeout: Duration) -> Result<reqwest::Client, Failure> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&timeout) {
            return Ok(client.clone());
        }
        let client = sources::http::client(timeout)?;
        clients.insert(timeout, client.clone());
        Ok(client)
    }
}

/// The folder in which the pipeline file lies; relative paths start there.
fn folder(pipeline: &Pipeline) -> PathBuf {
    std::path::Path::new(&pipeline.path).parent().map_or_else(PathBuf::new, std::path::Path::to_owned)
}

impl Outside for World {
    fn source(&self, pipeline: &Pipeline, name: &str) -> Result<Box<dyn Source>, Failure> {
        let spec = pipeline.file.sources.get(name).ok_or_else(|| Failure::new(Code::TG901, format!("no source `{name}`")))?;
        Ok(match (&spec.http, &spec.file, &self.mirror) {
            (Some(http), _, Some(mirror)) => Box::new(sources::file::FileSource::mirrored(name, mirror, &http.url)?),
            (Some(http), _, None) => {
                Box::new(sources::http::HttpSource::with_client(name, http, pipeline.file.retry.fetch_tries, self.client(http.timeout.0)?)?)
            }
            (None, Some(file), _) => match sources::dropped::DroppedFiles::new(name, &folder(pipeline), file) {
                Some(dropped) => Box::new(dropped),
                None => Box::new(sources::file::FileSource::new(name, &folder(pipeline), &file.path).settling(file.settle.0)),
            },
            (None, None, _) => return Err(Failure::new(Code::TG102, format!("source `{name}` does not say where it comes from"))),
        })
    }

    fn notifier(&self, pipeline: &Pipeline, index: usize) -> Result<Box<dyn Notifier>, Failure> {
        let spec =
            pipeline.file.notify.get(index).ok_or_else(|| Failure::new(Code::TG601, "the notifier is no longer in the pipeline file"))?;
        Ok(match spec {
            _ if spec.console.is_some() => Box::new(notifiers::console::Console::new(Arc::clone(&self.console))),
            tidegate_core::pipeline::Notify { email: Some(email), .. } => Box::new(notifiers::email::EmailNotifier::new(email)?),
            tidegate_core::pipeline::Notify { webhook: Some(webhook), .. } => Box::new(notifiers::webhook::WebhookNotifier::new(webhook)?),
            tidegate_core::pipeline::Notify { slack: Some(slack), .. } => Box::new(notifiers::slack::SlackNotifier::new(slack)?),
            _ => return Err(Failure::new(Code::TG102, "a notifier has exactly one kind")),
        })
    }

    fn subscriber(&self, pipeline: &Pipeline, index: usize) -> Result<Box<dyn Receiver>, Failure> {
        let spec = pipeline.file.subscribers.get(index);
        let spec = spec.ok_or_else(|| Failure::new(Code::TG601, "the subscriber is no longer in the pipeline file"))?;
        Ok(Box::new(subscribers::WebhookSubscriber::new(&spec.webhook)?))
    }

    fn renderer(&self) -> &dyn Renderer {
        &self.renderer
    }
}
