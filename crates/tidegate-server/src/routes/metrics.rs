//! Prometheus: what was counted, and how things stand at this moment.

use crate::{Shared, State, answer::Result};
use axum::{Router, routing::get};
use metrics::gauge;
use std::sync::Arc;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().route("/metrics", get(metrics))
}

#[allow(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
async fn metrics(state: Shared) -> Result<String> {
    let ledger = &state.service.conductor.ledger;
    let queue = ledger.queue().await?;
    gauge!("tidegate_queue_entries", "state" => "waiting").set(queue.iter().filter(|entry| entry.state == "waiting").count() as f64);
    gauge!("tidegate_queue_entries", "state" => "leased").set(queue.iter().filter(|entry| entry.state == "leased").count() as f64);
    gauge!("tidegate_events_newest").set(ledger.newest_event().await? as f64);
    let failing = ledger.failing_subscribers().await?;
    for (pipeline, subscriber, position) in ledger.subscribers().await? {
        let tries = failing.iter().find(|one| one.pipeline == pipeline && one.name == subscriber).map_or(0, |one| one.tries);
        gauge!("tidegate_subscriber_failures", "pipeline" => pipeline.clone(), "subscriber" => subscriber.clone()).set(tries as f64);
        gauge!("tidegate_subscriber_position", "pipeline" => pipeline, "subscriber" => subscriber).set(position as f64);
    }
    for standing in ledger.standings().await? {
        let pipeline = || standing.pipeline.clone();
        gauge!("tidegate_quarantine_open", "pipeline" => pipeline()).set(standing.quarantine_open as f64);
        gauge!("tidegate_outbox_waiting", "pipeline" => pipeline()).set(standing.outbox_waiting as f64);
        gauge!("tidegate_pipeline_in_trouble", "pipeline" => pipeline()).set(f64::from(u8::from(standing.in_trouble)));
        gauge!("tidegate_pipeline_paused", "pipeline" => pipeline()).set(f64::from(u8::from(standing.paused)));
    }
    Ok(state.metrics.render())
}
