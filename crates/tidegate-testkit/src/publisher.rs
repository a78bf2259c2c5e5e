//! A publisher on a free port of the loopback interface.
//!
//! It serves what was last published under a path, with a strong `ETag`, and answers `304 Not Modified` to a request that
//! has it. A path under which nothing was published is 404.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::Response,
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// How the next requests for a path are answered instead.
#[derive(Debug, Clone)]
pub enum Mood {
    /// With this status, so many times, and this `Retry-After`.
    Status(u16, u32, Option<u32>),
    /// With a `Content-Length` that is larger than the body: the transfer breaks off.
    BreakOff(u32),
}

#[derive(Debug, Default)]
struct Shelf {
    files: BTreeMap<String, (Vec<u8>, String)>,
    moods: BTreeMap<String, Mood>,
    requests: Vec<(String, u16)>,
}

/// The publisher. It stops when it is dropped.
pub struct Publisher {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
    server: JoinHandle<()>,
}

impl Publisher {
    /// Starts on a free port.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shelf));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shelf, server })
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Publishes bytes under a path.
    pub fn publish(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        let etag = format!("\"{}\"", Sha256::digest(&bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>());
        self.shelf().files.insert(path.to_owned(), (bytes, etag));
    }

    /// Takes a path away.
    pub fn withdraw(&self, path: &str) {
        self.shelf().files.remove(path);
    }

    /// Answers the next requests for a path in another way.
    pub fn mood(&self, path: &str, mood: Mood) {
        self.shelf().moods.insert(path.to_owned(), mood);
    }

    /// The requests so far: paths and statuses.
    pub fn requests(&self) -> Vec<(String, u16)> {
        self.shelf().requests.clone()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shelf): State<Arc<Mutex<Shelf>>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let response = match shelf.moods.remove(&path) {
        Some(Mood::Status(status, times, wait)) => {
            if times > 1 {
                shelf.moods.insert(path.clone(), Mood::Status(status, times - 1, wait));
            }
            let mut response = empty(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
            if let Some(wait) = wait {
                response.headers_mut().insert(header::RETRY_AFTER, wait.into());
            }
            response
        }
        Some(Mood::BreakOff(times)) => {
            if times > 1 {
                shelf.moods.insert(path.clone(), Mood::BreakOff(times - 1));
            }
            let half = shelf.files.get(&path).map(|(bytes, _)| bytes[..bytes.len() / 2].to_vec()).unwrap_or_default();
            let broken = breaking_off(half);
            Response::new(broken)
        }
        None => match shelf.files.get(&path) {
            None => empty(StatusCode::NOT_FOUND),
            Some((_, etag)) if known == Some(etag) => empty(StatusCode::NOT_MODIFIED),
            Some((bytes, etag)) => {
                let mut response = Response::new(Body::from(bytes.clone()));
                if let Ok(etag) = etag.parse() {
                    response.headers_mut().insert(header::ETAG, etag);
                }
                response
            }
        },
    };
    shelf.requests.push((path, response.status().as_u16()));
    response
}

/// A body that ends in an error after `bytes`.
fn breaking_off(bytes: Vec<u8>) -> Body {
    let broken = std::io::Error::other("broken off on purpose");
    Body::from_stream(futures::stream::iter([Ok(axum::body::Bytes::from(bytes)), Err(broken)]))
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
