//! Whether the process lives, and whether it can work.

use crate::{Shared, State, answer::Result};
use axum::{Json, Router, routing::get};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

async fn healthz() -> Json<Value> {
    Json(json!({ "status": "alive", "version": env!("CARGO_PKG_VERSION") }))
}

/// The ledger answers, and the service is not on its way out.
async fn readyz(state: Shared) -> Result<Json<Value>> {
    if state.stop.is_cancelled() {
        return Err(crate::answer::Answer::new(
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            tidegate_core::Failure::new(tidegate_core::Code::TG402, "the service is stopping"),
        ));
    }
    state.service.conductor.ledger.newest_event().await?;
    Ok(Json(json!({ "status": "ready", "pipelines": state.service.pipelines().len() })))
}
