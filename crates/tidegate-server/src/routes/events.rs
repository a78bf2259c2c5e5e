//! Events as they happen, as server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! `id` is the event's number: a client that comes back with `Last-Event-ID` gets everything after it, exactly once and
//! in order. What it missed is read from the ledger; then it listens. A client that is too slow reads the ledger again.

use crate::{
    Shared, State,
    answer::{Answer, Result},
};
use axum::{
    Router,
    extract::Query,
    http::HeaderMap,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::get,
};
use futures::{Stream, stream};
use serde::Deserialize;
use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};
use tidegate_runtime::{
    ledger::events::Wanted,
    service::{Service, news::Line},
};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;

/// Events that are read from the ledger at once.
const PAGE: i64 = 500;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().route("/v1/events", get(events))
}

/// What is wanted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    pipeline: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// A number, or `newest`: only what happens from now on.
    after: Option<String>,
}

async fn events(
    state: Shared,
    headers: HeaderMap,
    Query(params): Query<Params>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let room = Arc::clone(&state.limits.streams).try_acquire_owned().map_err(|_| Answer::busy("too many live streams are open"))?;
    let service = Arc::clone(&state.service);
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned).or(params.after.clone());
    let after = match last.as_deref() {
        None => 0,
        Some("newest") => service.conductor.ledger.newest_event().await?,
        Some(text) => text.parse().map_err(|_| Answer::bad(format!("`{text}` is no number of an event")))?,
    };
    let listener = Listener {
        news: service.listen().await?,
        service,
        params,
        after,
        ready: VecDeque::new(),
        behind: true,
        stop: state.stop.clone(),
        _room: room,
    };
    let stream = stream::unfold(listener, |mut listener| async move {
        let line = listener.next().await?;
        let event = Event::default().id(line.sequence.to_string()).event(&line.kind).data(&line.json);
        Some((Ok(event), listener))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// One client.
struct Listener {
    service: Arc<Service>,
    news: broadcast::Receiver<Arc<Line>>,
    params: Params,
    /// The last event that was handed out or looked at.
    after: i64,
    ready: VecDeque<Arc<Line>>,
    /// Whether the ledger may have something that the news did not bring.
    behind: bool,
    stop: CancellationToken,
    _room: OwnedSemaphorePermit,
}

impl Listener {
    /// The next event; none once the server stops.
    async fn next(&mut self) -> Option<Arc<Line>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                news = self.news.recv() => match news {
                    Ok(line) => self.take(line),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.behind = true,
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            }
        }
    }

    async fn catch_up(&mut self) -> Option<()> {
        let wanted =
            Wanted { pipeline: self.params.pipeline.as_deref(), kind: self.params.kind.as_deref(), after: self.after, limit: PAGE };
        // An error ends the stream; the client comes back with the number of the last event it has.
        let page = self.service.conductor.ledger.events(&wanted).await.ok()?;
        self.behind = i64::try_from(page.len()).unwrap_or(PAGE) == PAGE;
        for event in &page {
            let line = Line::new(event);
            self.after = line.sequence;
            self.ready.push_back(Arc::new(line));
        }
        Some(())
    }

    fn take(&mut self, line: Arc<Line>) {
        let wanted = |want: &Option<String>, is: &str| want.as_deref().is_none_or(|want| want == is);
        if line.sequence <= self.after {
            return;
        }
        self.after = line.sequence;
        if wanted(&self.params.pipeline, &line.pipeline) && wanted(&self.params.kind, &line.kind) {
            self.ready.push_back(line);
        }
    }
}
