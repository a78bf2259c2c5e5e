//! Watching for silent publishers: told once when one falls silent, and once when it is heard again.

use crate::{
    Conductor, Delivery,
    error::{Result, sql},
    ledger::{
        events,
        outbox::{self, NewEntry},
        silences::{self, Told},
    },
};
use jiff::Timestamp;
use serde_json::json;
use std::sync::Arc;
use tidegate_core::{
    Failure, Outcome, RunId,
    changes::Restatement,
    event::{Draft, kind},
    message::Message,
    pipeline::{Pipeline, Silence},
    silence::{Heard, SilenceNote, heard},
};

impl Conductor {
    /// Looks at every source for which silence is told.
    pub(crate) async fn watch_silence(&self, pipeline: &Arc<Pipeline>) -> Result<Vec<Failure>> {
        let mut told = false;
        for (name, _) in self.ledger.silences(pipeline.name()).await? {
            // Nobody waits for this source any more.
            if pipeline.file.sources.get(&name).is_none_or(|source| source.silence.is_none()) {
                let mut tx = self.ledger.begin().await?;
                silences::end(&mut tx, pipeline.name(), &name).await?;
                tx.commit().await.map_err(sql)?;
            }
        }
        for (name, source) in &pipeline.file.sources {
            let Some(silence) = &source.silence else { continue };
            let Some(newest) = self.newest_of(pipeline, name, silence).await? else { continue };
            told |= self.watch_source(pipeline, name, silence, newest).await?;
        }
        if told && self.delivery == Delivery::Inline { self.deliver(pipeline).await } else { Ok(Vec::new()) }
    }

    /// What is newest of a source; none if it has not published yet, or what is newest is not known.
    async fn newest_of(&self, pipeline: &Pipeline, source: &str, silence: &Silence) -> Result<Option<Timestamp>> {
        let Some(state) = self.ledger.source_state(pipeline.name(), source).await? else { return Ok(None) };
        if silence.column.is_none() {
            return Ok(Some(self.ledger.snapshot(state.latest).await?.fetched_at));
        }
        match state.accepted {
            Some(accepted) => Ok(self.ledger.snapshot(accepted).await?.newest),
            None => Ok(None),
        }
    }

    async fn watch_source(&self, pipeline: &Arc<Pipeline>, name: &str, silence: &Silence, newest: Timestamp) -> Result<bool> {
        let now = self.now();
        let before = self.ledger.silence(pipeline.name(), name).await?;
        let over = match heard(newest, silence.after.0, before.is_some(), now) {
            Heard::AsBefore => return Ok(false),
            Heard::FellSilent => false,
            Heard::Again => true,
        };
        let last = before.as_ref().map_or(newest, |told| told.last);
        let note = SilenceNote { source: name.to_owned(), last, after: silence.after.to_string(), over };
        let message = self.about_silence(pipeline, note, now).await?;
        let wanted: Vec<usize> = match &before {
            Some(told) => told.told.clone(),
            None => {
                let attributes = message.attributes();
                let is_wanted = |notifier: &tidegate_core::pipeline::Notify| {
                    notifier.is_on() && notifier.when.as_ref().is_none_or(|policy| policy.matches(&attributes))
                };
                (0..).zip(&pipeline.file.notify).filter(|(_, notifier)| is_wanted(notifier)).map(|(i, _)| i).collect()
            }
        };
        let mut tx = self.ledger.begin().await?;
        let is_ours = if over {
            silences::end(&mut tx, pipeline.name(), name).await?
        } else {
            silences::begin(&mut tx, pipeline.name(), name, &Told { last, told: wanted.clone() }).await?
        };
        // Another service may have looked at the same moment.
        if !is_ours {
            return Ok(false);
        }
        let kind = if over { kind::SOURCE_HEARD } else { kind::SOURCE_SILENT };
        let data = json!({ "source": name, "last": last, "newest": newest, "after": silence.after });
        events::append(&mut tx, pipeline.name(), &Draft { kind, run: None, data }, now).await?;
        for i in wanted {
            let Some(notifier) = pipeline.file.notify.get(i) else { continue };
            let end = if over { "over" } else { "silent" };
            let delivery = format!("{}.{name}.{end}.{}.{i}", pipeline.name(), last.as_millisecond());
            let entry = NewEntry {
                pipeline: pipeline.name(),
                delivery: &delivery,
                run: RunId(0),
                notifier: i,
                kind: notifier.kind(),
                message: &message,
                now,
            };
            outbox::write(&mut tx, &entry).await?;
        }
        tx.commit().await.map_err(sql)?;
        Ok(true)
    }

    async fn about_silence(&self, pipeline: &Arc<Pipeline>, note: SilenceNote, now: Timestamp) -> Result<Message> {
        Ok(Message {
            receipt: self.receipt_of_nothing(pipeline, Outcome::Unchanged, now).await?,
            environment: self.environment.clone(),
            recovery: note.over,
            silence: Some(note),
            releases: None,
            warnings: Vec::new(),
            restatement: Restatement::default(),
            changes: Vec::new(),
            quarantined: Vec::new(),
            quarantined_new: 0,
            quarantine_resolved: 0,
            quarantine_open: self.ledger.quarantine_open(pipeline.name()).await?,
        })
    }
}
