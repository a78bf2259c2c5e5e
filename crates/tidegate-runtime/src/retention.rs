//! Raw publications are kept as long as the pipeline says, and as long as anything needs them.

use crate::{Conductor, error::Result, raw};
use std::{collections::BTreeSet, sync::Arc};
use tidegate_core::{Outcome, RunId, RunState, pipeline::Pipeline};

impl Conductor {
    /// Removes raw bytes beyond their retention. A failure here is nobody's but the log's.
    pub(crate) async fn prune(&self, pipeline: &Arc<Pipeline>) {
        if let Err(failure) = self.prune_raw(pipeline).await {
            tracing::warn!(pipeline = pipeline.name(), "old publications could not be removed: {failure}");
        }
    }

    async fn prune_raw(&self, pipeline: &Arc<Pipeline>) -> Result<()> {
        let Ok(oldest) = self.now().checked_sub(pipeline.file.limits.keep_raw.0) else { return Ok(()) };
        let expired = self.ledger.expired(pipeline.name(), oldest).await?;
        if expired.is_empty() {
            return Ok(());
        }
        // What the table is built from, what was seen last, and what unfinished runs read.
        let mut needed = BTreeSet::new();
        for source in pipeline.file.sources.keys() {
            if let Some(state) = self.ledger.source_state(pipeline.name(), source).await? {
                needed.extend([Some(state.latest), state.accepted].into_iter().flatten());
            }
        }
        for state in [RunState::Running, RunState::Done(Outcome::Held), RunState::Done(Outcome::Failed)] {
            for run in self.ledger.runs_in(pipeline.name(), state, RunId(0)).await? {
                needed.extend(run.inputs.values());
            }
        }
        for snapshot in expired.iter().filter(|snapshot| !needed.contains(&snapshot.id)) {
            // The bytes go first: if the process dies in between, they are looked for once more.
            for part in &snapshot.parts {
                if !self.ledger.is_needed(&part.sha256, snapshot.id).await? {
                    raw::remove(&self.home, &part.sha256);
                }
            }
            self.ledger.expire(snapshot.id).await?;
        }
        Ok(())
    }
}
