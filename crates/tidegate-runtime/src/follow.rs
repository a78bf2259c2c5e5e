//! What follows a commit: destinations apply changesets, people are told. Each goes at its own pace and is repeated until
//! it succeeds; none of it can make the run fail any more.

use crate::{
    Conductor, Delivery, Ended,
    commit::append,
    error::{Result, sql},
    ledger::{cursors, events, outbox, runs::Run},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tidegate_core::{
    Failure, Outcome, RunId,
    event::{Draft, kind},
    fault,
    pipeline::Pipeline,
    seam::Committed,
};

/// A message is given up once it was tried so often, the first time included, and has become so old.
const DELIVERIES: u32 = 10;
const KEEP_TRYING: Duration = Duration::from_secs(24 * 3600);

impl Conductor {
    /// Lets destinations and people follow a run that just ended.
    pub(crate) async fn follow(&self, pipeline: &Arc<Pipeline>, mut ended: Ended) -> Result<Ended> {
        // What failed or was cancelled leaves nothing to apply; what was behind before was tried at its beginning.
        if !matches!(ended.receipt.outcome, Outcome::Failed | Outcome::Cancelled) {
            ended.after.extend(self.apply_pending(pipeline).await);
        }
        ended.after.extend(self.deliver(pipeline).await?);
        Ok(ended)
    }

    /// Applies every committed changeset that a destination does not have yet, in commit order (INV-5). A destination that
    /// fails waits for the next time; the others go on.
    pub(crate) async fn apply_pending(&self, pipeline: &Arc<Pipeline>) -> Vec<Failure> {
        let mut failures = Vec::new();
        for destination in self.destinations(pipeline) {
            let result: Result<()> = async {
                let position = match self.positions.get(pipeline.name(), destination.name()) {
                    Some(known) => known,
                    None => destination.position().await?.unwrap_or(RunId(0)),
                };
                self.positions.set(pipeline.name(), destination.name(), position);
                self.tell_applied(pipeline, destination.name(), position).await?;
                for run in self.ledger.to_apply(pipeline.name(), position).await? {
                    self.apply_one(destination.as_ref(), pipeline, &run).await?;
                    self.positions.set(pipeline.name(), destination.name(), run.id);
                    self.tell_applied(pipeline, destination.name(), run.id).await?;
                }
                Ok(())
            }
            .await;
            failures.extend(result.err().map(|failure| failure.detail("destination", destination.name())));
        }
        failures
    }

    /// Says once of each run that a destination has it. A process that died between the two is made up for by the next.
    async fn tell_applied(&self, pipeline: &Arc<Pipeline>, destination: &str, position: RunId) -> Result<()> {
        let subscriber = format!("destination:{destination}");
        let told = self.ledger.cursor(&subscriber, pipeline.name()).await?.unwrap_or(0);
        if told >= position.0 {
            return Ok(());
        }
        let applied = self.ledger.to_apply(pipeline.name(), RunId(told)).await?;
        let now = self.now();
        let mut tx = self.ledger.begin().await?;
        for run in applied.iter().filter(|run| run.id <= position) {
            let data =
                json!({ "destination": destination, "table": run.table, "rows": run.receipt.as_ref().map(|receipt| receipt.rows_after) });
            append(&mut tx, pipeline, kind::TABLE_APPLIED, run.id, data, now).await?;
        }
        cursors::advance(&mut tx, &subscriber, pipeline.name(), position.0).await?;
        tx.commit().await.map_err(sql)
    }

    async fn apply_one(&self, destination: &dyn tidegate_core::seam::Destination, pipeline: &Arc<Pipeline>, run: &Run) -> Result<()> {
        let (Some(changeset), Some(receipt)) = (&run.changeset, &run.receipt) else { return Ok(()) };
        if run.table != pipeline.table() {
            return Ok(());
        }
        let committed =
            Committed { run: run.id, changeset: self.home.changeset_file(changeset), key: run.key.clone(), rows_after: receipt.rows_after };
        fault::point("apply.before");
        destination.apply(&committed).await?;
        fault::point("apply.after");
        Ok(())
    }

    /// Delivers what is in the outbox. A message that fails is tried again with the next run, a bounded number of times.
    pub(crate) async fn deliver(&self, pipeline: &Arc<Pipeline>) -> Result<Vec<Failure>> {
        let mut failures = Vec::new();
        if self.delivery == Delivery::Deferred {
            return Ok(failures);
        }
        for entry in self.ledger.outbox(pipeline.name()).await? {
            failures.extend(self.deliver_entry(pipeline, &entry).await?.err());
        }
        for index in 0..pipeline.file.subscribers.len() {
            failures.extend(self.serve_subscriber(pipeline, index, 0.0).await.err());
        }
        Ok(failures)
    }

    /// Delivers one message and notes how it went.
    pub(crate) async fn deliver_entry(&self, pipeline: &Arc<Pipeline>, entry: &outbox::Entry) -> Result<Result<()>> {
        let run = entry.message.receipt.run;
        let sent = self.send(pipeline, entry).await;
        fault::point("notify.sent");
        let now = self.now();
        let mut tx = self.ledger.begin().await?;
        let outcome = match sent {
            Ok(()) => {
                outbox::sent(&mut tx, entry.id, now).await?;
                let data = json!({ "notifier": entry.kind, "delivery": entry.delivery });
                events::append(&mut tx, pipeline.name(), &Draft { kind: kind::NOTIFICATION_SENT, run, data }, now).await?;
                Ok(())
            }
            Err(failure) => {
                let old = now.duration_since(entry.created_at).unsigned_abs() >= KEEP_TRYING;
                let give_up = entry.tries + 1 >= DELIVERIES && old;
                outbox::failed(&mut tx, entry.id, &failure, give_up).await?;
                if give_up {
                    let data = json!({ "notifier": entry.kind, "error": failure });
                    events::append(&mut tx, pipeline.name(), &Draft { kind: kind::NOTIFICATION_GIVEN_UP, run, data }, now).await?;
                }
                Err(failure.detail("tried", format!("{} times", entry.tries + 1)))
            }
        };
        tx.commit().await.map_err(sql)?;
        Ok(outcome)
    }

    async fn send(&self, pipeline: &Arc<Pipeline>, entry: &outbox::Entry) -> Result<()> {
        let notifier = self.outside.notifier(pipeline, entry.notifier)?;
        let template = pipeline.file.notify.get(entry.notifier).and_then(|notifier| notifier.template.as_ref());
        let rendered = self.outside.renderer().render(&entry.message, template)?;
        notifier.send(&entry.delivery, &entry.message, &rendered).await
    }
}
