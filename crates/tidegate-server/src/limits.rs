//! Bounds on what is at work at a time (INV-8): at the limit a request gets a clear refusal.

use crate::{
    ServerOptions, State,
    answer::{Answer, Result},
};
use axum::{
    extract::{Request, State as Extract},
    middleware::Next,
    response::Response,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tidegate_core::{Code, Failure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of bodies in memory at a time.
const BODIES: usize = 64 << 20;
/// Bytes are counted in pieces of this size.
const PIECE: usize = 1 << 10;
/// Longest wait for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is left of each.
pub(crate) struct Limits {
    requests: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

impl Limits {
    pub(crate) fn new(options: &ServerOptions) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(options.max_requests)),
            streams: Arc::new(Semaphore::new(options.max_streams)),
            bodies: Arc::new(Semaphore::new(BODIES / PIECE)),
        }
    }

    /// Room for a body of so many bytes.
    pub(crate) async fn body(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE).clamp(1, BODIES / PIECE)).unwrap_or(u32::MAX);
        let room = tokio::time::timeout(PATIENCE, Arc::clone(&self.bodies).acquire_many_owned(pieces)).await;
        room.ok().and_then(std::result::Result::ok).ok_or_else(|| Answer::busy("too many bodies are being taken at the moment"))
    }
}

/// Lets a request in if there is room for it.
pub(crate) async fn admit(Extract(state): Extract<Arc<State>>, request: Request, next: Next) -> Result<Response> {
    let _room = Arc::clone(&state.limits.requests)
        .try_acquire_owned()
        .map_err(|_| Answer::busy("too many requests are being answered at the moment"))?;
    Ok(next.run(request).await)
}

/// What counts; there is one in a process.
pub(crate) fn recorder() -> std::result::Result<PrometheusHandle, Failure> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let made = RECORDER.get_or_init(|| {
        let seconds = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];
        PrometheusBuilder::new().set_buckets(&seconds).ok()?.install_recorder().ok()
    });
    made.clone().ok_or_else(|| Failure::new(Code::TG901, "metrics cannot be counted"))
}
