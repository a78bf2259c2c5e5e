//! Subscribers: systems that are given events or changed rows, each at least once and in order, at their own pace.
//!
//! What a subscriber has is noted after each delivery it took. If the process dies between the two it is given the same
//! again, with the same id. Nothing a subscriber does can hold up or fail a run.

use crate::{
    Conductor,
    error::{Result, json},
    ledger::{events::Wanted, runs::Run, subscribers::Position},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tidegate_core::{
    RunId,
    event::{Event, kind},
    fault,
    pipeline::{ChangesWanted, EventsWanted, Pipeline, Subscriber},
    retry,
    seam::Parcel,
};

/// Most events of one delivery.
const EVENTS: i64 = 100;
/// How long a turn may take before another process may deliver; longer than the longest wait for an answer.
const TURN: Duration = Duration::from_secs(60);

impl Conductor {
    /// Gives subscribers that were never heard of their place. What happens after this, they get.
    pub(crate) async fn meet_subscribers(&self, pipeline: &Pipeline) -> Result<()> {
        self.ledger.meet_subscribers(pipeline.name(), &pipeline.file.subscribers).await
    }

    /// Gives a subscriber all that it lacks, until it refuses. `Ok(false)` if it is somebody else's turn, or too early.
    pub(crate) async fn serve_subscriber(&self, pipeline: &Arc<Pipeline>, index: usize, jitter: f64) -> Result<bool> {
        let Some(subscriber) = pipeline.file.subscribers.get(index) else { return Ok(false) };
        let Some(mut position) = self.ledger.take_subscriber(pipeline.name(), &subscriber.name, TURN, self.now()).await? else {
            return Ok(false);
        };
        let served: Result<()> = async {
            while let Some((parcel, next)) = self.next_parcel(pipeline, subscriber, position).await? {
                if let Some(parcel) = parcel {
                    self.outside.subscriber(pipeline, index)?.take(&parcel).await?;
                    fault::point("subscribe.taken");
                }
                self.ledger.move_subscriber(pipeline.name(), &subscriber.name, next, TURN, self.now()).await?;
                position = next;
            }
            Ok(())
        }
        .await;
        let wait = retry::backoff(position.tries + 2, jitter);
        let failed = served.as_ref().err().map(|failure| (failure, wait));
        self.ledger.leave_subscriber(pipeline.name(), &subscriber.name, failed, self.now()).await?;
        served.map_err(|failure| failure.detail("subscriber", subscriber.name.clone())).map(|()| true)
    }

    /// What comes next for a subscriber, and where it is once it has that; nothing to give if only the position moves.
    async fn next_parcel(
        &self,
        pipeline: &Arc<Pipeline>,
        subscriber: &Subscriber,
        from: Position,
    ) -> Result<Option<(Option<Parcel>, Position)>> {
        match (&subscriber.events, &subscriber.changes) {
            (_, Some(wanted)) => self.next_changes(pipeline, subscriber, wanted, from).await,
            (Some(wanted), None) => self.next_events(pipeline, subscriber, wanted, from).await,
            (None, None) => self.next_events(pipeline, subscriber, &EventsWanted::default(), from).await,
        }
    }

    async fn next_events(
        &self,
        pipeline: &Pipeline,
        subscriber: &Subscriber,
        wanted: &EventsWanted,
        from: Position,
    ) -> Result<Option<(Option<Parcel>, Position)>> {
        let found = self.ledger.events(&Wanted { pipeline: Some(pipeline.name()), kind: None, after: from.at, limit: EVENTS }).await?;
        let Some(last) = found.last().and_then(|event| event.sequence) else { return Ok(None) };
        let events: Vec<&Event> = found.iter().filter(|event| wanted.includes(&event.kind)).collect();
        let next = Position { at: last, rows: 0, tries: 0 };
        if events.is_empty() {
            return Ok(Some((None, next)));
        }
        let id = format!("{}.{}.{}-{last}", pipeline.name(), subscriber.name, from.at + 1);
        let body = serde_json::to_string(&events).map_err(json)?;
        Ok(Some((Some(Parcel { id, content_type: "application/cloudevents-batch+json", body }), next)))
    }

    async fn next_changes(
        &self,
        pipeline: &Arc<Pipeline>,
        subscriber: &Subscriber,
        wanted: &ChangesWanted,
        from: Position,
    ) -> Result<Option<(Option<Parcel>, Position)>> {
        let Some(run) = self.ledger.next_to_apply(pipeline.name(), RunId(from.at)).await? else { return Ok(None) };
        let Some(changeset) = run.changeset.as_ref() else { return Ok(None) };
        let file = self.home.changeset_file(changeset);
        let changes = self.plane.changes(pipeline, &file, from.rows, wanted.rows.max(1) as usize).await?;
        let mut rows: Vec<Value> = Vec::new();
        let mut bytes = 0;
        for change in changes {
            let row = serde_json::to_value(&change).map_err(json)?;
            bytes += row.to_string().len() as u64;
            if bytes > wanted.bytes.0 && !rows.is_empty() {
                break;
            }
            rows.push(row);
        }
        let until = from.rows + rows.len() as u64;
        let last = rows.is_empty() || until >= changeset.rows;
        let next = if last { Position { at: run.id.0, rows: 0, tries: 0 } } else { Position { rows: until, tries: 0, ..from } };
        let event = self.changes_event(pipeline, &run, changeset.rows, from.rows, rows)?;
        let id = format!("{}.{}.{}", pipeline.name(), subscriber.name, event.id);
        let body = serde_json::to_string(&event).map_err(json)?;
        Ok(Some((Some(Parcel { id, content_type: "application/cloudevents+json", body }), next)))
    }

    /// Changed rows as an event. It is not in the ledger, and its id says which rows it brings: given again, it is the same.
    fn changes_event(&self, pipeline: &Pipeline, run: &Run, of: u64, first: u64, rows: Vec<Value>) -> Result<Event> {
        let until = first + rows.len() as u64;
        Ok(Event {
            specversion: "1.0".to_owned(),
            id: format!("run-{}.{first}-{until}", run.id),
            source: format!("/pipelines/{}", pipeline.name()),
            kind: kind::TABLE_CHANGED.to_owned(),
            subject: Some(format!("runs/{}", run.id)),
            time: run.receipt.as_ref().map_or(run.created_at, |receipt| receipt.finished_at),
            sequence: None,
            traceparent: None,
            causationid: None,
            data: json!({ "table": run.table, "run": run.id, "key": run.key, "first": first, "rows": rows.len(), "of": of, "changes": rows }),
        })
    }
}
