//! Runs: what they did, and what a person decides about them.

use crate::{
    Shared, State,
    answer::{Answer, Result},
};
use axum::{
    Json, Router,
    extract::{Path, Query},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tidegate_core::{Code, Failure, RunId, pipeline::Pipeline};
use tidegate_runtime::{Ended, Run};

/// Most runs in one answer.
const MOST: i64 = 1000;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/v1/runs", get(list))
        .route("/v1/runs/{run}", get(show))
        .route("/v1/runs/{run}/changes", get(changes))
        .route("/v1/runs/{run}/approve", post(approve))
        .route("/v1/runs/{run}/discard", post(discard))
        .route("/v1/runs/{run}/cancel", post(cancel))
        .route("/v1/runs/{run}/replay", post(replay))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    pipeline: Option<String>,
    #[serde(default = "few")]
    limit: i64,
}

fn few() -> i64 {
    50
}

async fn list(state: Shared, Query(params): Query<Params>) -> Result<Json<Value>> {
    let runs = state.service.conductor.ledger.runs(params.pipeline.as_deref(), params.limit.clamp(1, MOST)).await?;
    Ok(Json(
        runs.iter().map(|run| json!({ "run": run.id, "pipeline": run.pipeline, "state": run.state, "receipt": run.receipt })).collect(),
    ))
}

async fn show(state: Shared, Path(run): Path<i64>) -> Result<Json<Value>> {
    let run = state.service.conductor.ledger.run(RunId(run)).await?;
    Ok(Json(json!({
        "run": run.id, "pipeline": run.pipeline, "kind": run.kind, "state": run.state, "tries": run.tries, "set_aside": run.set_aside,
        "receipt": run.receipt, "restatement": run.report.restatement, "sample": run.report.sample, "violations": run.report.violations,
        "drift": run.report.drift, "note": run.report.note,
    })))
}

async fn of(state: &State, run: i64) -> Result<(Run, Arc<Pipeline>)> {
    let run = state.service.conductor.ledger.run(RunId(run)).await?;
    let pipeline = state.service.pipeline(&run.pipeline);
    let pipeline = pipeline.ok_or_else(|| Failure::new(Code::TG104, format!("pipeline `{}` is not served here", run.pipeline)))?;
    Ok((run, pipeline))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    first: u64,
    #[serde(default = "few")]
    limit: i64,
}

/// The changed rows of a run, a page at a time.
async fn changes(state: Shared, Path(run): Path<i64>, Query(page): Query<Page>) -> Result<Json<Value>> {
    let (run, pipeline) = of(&state, run).await?;
    let conductor = &state.service.conductor;
    let Some(changeset) = run.changeset.as_ref() else {
        return Ok(Json(
            json!({ "run": run.id, "state": run.state, "table": run.table, "key": run.key, "of": 0, "next": null, "changes": [] }),
        ));
    };
    let most = usize::try_from(page.limit.clamp(1, MOST)).unwrap_or_default();
    let changes = conductor.plane.changes(&pipeline, &conductor.home.changeset_file(changeset), page.first, most).await?;
    let until = page.first + changes.len() as u64;
    let next = (until < changeset.rows).then_some(until);
    Ok(Json(
        json!({ "run": run.id, "state": run.state, "table": run.table, "key": run.key, "of": changeset.rows, "next": next, "changes": changes }),
    ))
}

async fn approve(state: Shared, Path(run): Path<i64>) -> Result<Json<Value>> {
    let (run, pipeline) = of(&state, run).await?;
    let service = Arc::clone(&state.service);
    let ended = to_its_end(async move { service.conductor.approve(&pipeline, run.id).await }).await?;
    Ok(Json(json!(ended.receipt)))
}

/// A run that has begun goes to its end, whether or not somebody waits for the answer.
async fn to_its_end(run: impl Future<Output = Result<Ended, Failure>> + Send + 'static) -> Result<Ended> {
    let ended = tokio::spawn(run).await.map_err(|error| Failure::new(Code::TG901, "the run was broken off").because(&error))?;
    Ok(ended?)
}

async fn discard(state: Shared, Path(run): Path<i64>) -> Result<Json<Value>> {
    let (run, pipeline) = of(&state, run).await?;
    let run = state.service.conductor.discard(&pipeline, run.id).await?;
    Ok(Json(json!({ "run": run.id, "state": run.state })))
}

async fn replay(state: Shared, Path(run): Path<i64>) -> Result<Json<Value>> {
    let (run, pipeline) = of(&state, run).await?;
    let service = Arc::clone(&state.service);
    let ended = to_its_end(async move { service.conductor.replay(&pipeline, run.id).await }).await?;
    Ok(Json(json!(ended.receipt)))
}

async fn cancel(state: Shared, Path(run): Path<i64>) -> Result<Json<Value>> {
    if state.service.conductor.ledger.want_cancel(RunId(run)).await? {
        return Ok(Json(json!({ "cancelling": run })));
    }
    Err(Answer::from(Failure::new(Code::TG405, format!("run {run} is not at work"))))
}
