//! Reading pipelines again when their files change. Runs at work keep the definition they began with.

use super::{Note, Service};
use crate::error::Result;
use serde_json::json;
use std::sync::{Arc, atomic::Ordering};
use tidegate_core::{event::kind, pipeline::Pipeline};

/// Pipelines whose files are looked at in one go.
const AT_ONCE: usize = 200;

/// What a pipeline's files look like: sizes and times.
pub(super) fn stamp(pipeline: &Pipeline) -> String {
    let file = Some(pipeline.path.as_str());
    let transform = pipeline.transform.as_ref().map(|sql| sql.path.as_str());
    let look = |path: &str| {
        let metadata = std::fs::metadata(path).ok()?;
        Some(format!("{} {:?}", metadata.len(), metadata.modified().ok()?))
    };
    file.into_iter().chain(transform).map(|path| look(path).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

impl Service {
    /// Reads what has changed. A file with mistakes changes nothing: the pipeline goes on as it was, and it is told once.
    pub async fn reload(&self) -> Result<()> {
        let all: Vec<(String, super::Served)> = self.served().iter().map(|(name, served)| (name.clone(), served.clone())).collect();
        // Of many a part each time, in turn.
        let first = self.reloaded.fetch_add(AT_ONCE, Ordering::Relaxed) % all.len().max(1);
        let served = all.iter().cycle().skip(first).take(AT_ONCE.min(all.len())).cloned();
        for (name, before) in served {
            let stamp = stamp(&before.pipeline);
            if stamp == before.stamp {
                continue;
            }
            if let Some(entry) = self.served().get_mut(&name) {
                entry.stamp = stamp;
            }
            match (self.reader)(&before.folder) {
                Ok(pipeline) if pipeline.name() != name => {
                    tracing::warn!(pipeline = name, "its file has another name now; restart the service to serve it under that");
                }
                Ok(pipeline) => {
                    if let Some(entry) = self.served().get_mut(&name) {
                        entry.pipeline = Arc::clone(&pipeline);
                    }
                    let changed = pipeline.definition != before.pipeline.definition;
                    self.say(&name, kind::PIPELINE_RELOADED, json!({ "definition_changed": changed })).await?;
                    (self.watcher)(&Note::Reloaded(&name));
                    if changed {
                        // The same bytes may give other rows now.
                        self.ask(&name, &tidegate_core::trigger::Trigger::Manual).await?;
                    }
                }
                Err(failures) => failures.iter().for_each(|failure| (self.watcher)(&Note::Failed(&name, failure))),
            }
        }
        Ok(())
    }
}
