//! Pushed rows: on disk before the 202.

use crate::{
    Shared, State,
    answer::{Answer, Result},
};
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};
use std::{io::Read as _, sync::Arc, time::Duration};
use tidegate_core::{Code, Failure};

/// Longest wait for a body to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest key.
const KEY: usize = 255;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().route("/v1/ingest/{pipeline}/{source}", post(ingest))
}

async fn ingest(
    state: Shared,
    Path((pipeline, source)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>)> {
    let pipeline =
        state.service.pipeline(&pipeline).ok_or_else(|| Failure::new(Code::TG104, format!("no pipeline `{pipeline}` is served here")))?;
    let key = match headers.get("idempotency-key") {
        Some(key) => {
            let key = key.to_str().map_err(|_| Answer::bad("the Idempotency-Key is not plain text"))?;
            if key.is_empty() || key.len() > KEY {
                return Err(Answer::bad(format!("an Idempotency-Key has 1 to {KEY} characters")));
            }
            Some(key.to_owned())
        }
        None => None,
    };
    let most = state.options.max_body;
    let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<usize>().ok());
    let gzip = match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => return Err(Answer::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Failure::new(Code::TG703, "bodies may be gzip or plain"))),
    };
    if said.is_some_and(|said| said > most) {
        return Err(too_large(most));
    }
    // A compressed body may become as large as is allowed.
    let _room = state.limits.body(if gzip { most } else { said.unwrap_or(most) }).await?;
    let bytes = tokio::time::timeout(PATIENCE, to_bytes(body, most))
        .await
        .map_err(|_| Answer::new(StatusCode::REQUEST_TIMEOUT, Failure::new(Code::TG703, "the body did not arrive in time")))?
        .map_err(|_| too_large(most))?;
    let rows = if gzip { unpack(&bytes, most)? } else { Vec::from(bytes) };
    let size = rows.len();
    let accepted = state.service.push(&pipeline, &source, rows, key.as_deref()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": !accepted.duplicate, "duplicate": accepted.duplicate, "bytes": size }))))
}

fn unpack(bytes: &[u8], most: usize) -> Result<Vec<u8>> {
    let mut rows = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(most as u64 + 1).read_to_end(&mut rows);
    if read.is_err() {
        return Err(Failure::new(Code::TG207, "the body is not valid gzip").into());
    }
    if rows.len() > most { Err(too_large(most)) } else { Ok(rows) }
}

fn too_large(most: usize) -> Answer {
    Failure::new(Code::TG205, format!("a push may have {most} bytes after decompression")).hint("push it in several parts").into()
}
