//! Pipelines: how they stand, and what they are told.

use crate::{Shared, State, answer::Result};
use axum::{
    Json, Router,
    extract::Path,
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};
use std::sync::Arc;
use tidegate_core::{Code, Failure, trigger::Trigger};

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/v1/pipelines", get(list))
        .route("/v1/queue", get(queue))
        .route("/v1/pipelines/{name}/run", post(run))
        .route("/v1/pipelines/{name}/pause", post(pause))
        .route("/v1/pipelines/{name}/resume", post(resume))
}

async fn list(state: Shared) -> Result<Json<Value>> {
    let standings = state.service.conductor.ledger.standings().await?;
    let served: Vec<Value> = state
        .service
        .pipelines()
        .iter()
        .map(|pipeline| {
            let standing = standings.iter().find(|standing| standing.pipeline == pipeline.name());
            json!({ "name": pipeline.name(), "table": pipeline.table(), "description": pipeline.file.description, "standing": standing })
        })
        .collect();
    Ok(Json(json!(served)))
}

async fn queue(state: Shared) -> Result<Json<Value>> {
    Ok(Json(json!(state.service.conductor.ledger.queue().await?)))
}

fn known(state: &State, name: &str) -> Result<()> {
    match state.service.pipeline(name) {
        Some(_) => Ok(()),
        None => Err(Failure::new(Code::TG104, format!("no pipeline `{name}` is served here")).into()),
    }
}

async fn run(state: Shared, Path(name): Path<String>) -> Result<(StatusCode, Json<Value>)> {
    known(&state, &name)?;
    state.service.ask(&name, &Trigger::Manual).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "queued": name }))))
}

async fn pause(state: Shared, Path(name): Path<String>) -> Result<Json<Value>> {
    known(&state, &name)?;
    state.service.pause(&name, true).await?;
    Ok(Json(json!({ "paused": name })))
}

async fn resume(state: Shared, Path(name): Path<String>) -> Result<Json<Value>> {
    known(&state, &name)?;
    state.service.pause(&name, false).await?;
    Ok(Json(json!({ "resumed": name })))
}
