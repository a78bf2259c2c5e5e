//! The server: what a running service says and takes over HTTP.
//!
//! | path | scope | |
//! | --- | --- | --- |
//! | `GET /healthz`, `GET /readyz` | none | whether the process lives; whether its ledger can be used |
//! | `GET /metrics` | read | Prometheus |
//! | `GET /v1/pipelines`, `/v1/runs`, `/v1/runs/N`, `/v1/queue` | read | how things stand |
//! | `GET /v1/events` | read | events as they happen (server-sent events) |
//! | `POST /v1/ingest/PIPELINE/SOURCE` | ingest | rows |
//! | `POST /v1/hooks/PIPELINE` | the hook's secret | a webhook |
//! | `POST /v1/pipelines/NAME/run`, `/pause`, `/resume` | operate | |
//! | `POST /v1/runs/N/approve`, `/discard`, `/cancel`, `/replay` | operate | |

mod access;
mod answer;
mod connections;
mod limits;
mod routes;

use answer::Answer;
use axum::{Router, extract::DefaultBodyLimit, middleware};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use connections::Door;
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto::Builder,
};
use limits::Limits;
use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tidegate_core::{Code, Failure};
use tidegate_runtime::service::Service;
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

/// How long a connection may take to say what it wants.
const HEADERS: Duration = Duration::from_secs(30);

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The address. Beyond the loopback interface every request but those for health needs a token.
    pub listen: SocketAddr,
    /// Certificate chain and key, PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Largest body, after decompression.
    pub max_body: usize,
    /// Requests at work at a time.
    pub max_requests: usize,
    /// Live streams at a time.
    pub max_streams: usize,
    /// Connections at a time.
    pub max_connections: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            max_body: 16 << 20,
            max_requests: 256,
            max_streams: 256,
            max_connections: 1024,
        }
    }
}

/// What every request may need.
struct State {
    service: Arc<Service>,
    options: ServerOptions,
    limits: Limits,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    stop: CancellationToken,
}

type Shared = axum::extract::State<Arc<State>>;

/// Listens until `stop`; then answers what it has begun. Says on which address it listens, and gives what to wait for.
pub async fn listen(
    service: Arc<Service>,
    options: ServerOptions,
    stop: CancellationToken,
) -> Result<(SocketAddr, tokio::task::JoinHandle<()>), Failure> {
    let failed = |what: &str| Failure::new(Code::TG106, format!("{} {what}", options.listen));
    let listener = listener(options.listen, options.max_connections).map_err(|error| {
        failed("cannot be listened on").because(&error).hint("another process may listen there: choose a port with `--listen`, or `off`")
    })?;
    let address = listener.local_addr().map_err(|error| failed("has no address").because(&error))?;
    let tls = match &options.tls {
        Some((certificate, key)) => Some(
            RustlsConfig::from_pem_file(certificate, key)
                .await
                .map_err(|error| Failure::new(Code::TG106, "certificate and key cannot be used").because(&error))?,
        ),
        None => None,
    };
    // A second server in one process shares what the first one counts with.
    let metrics = limits::recorder()?;
    let door = Door::new(options.max_connections, options.tls.is_none());
    let state = Arc::new(State { service, limits: Limits::new(&options), options, metrics, stop: stop.clone() });
    let router = router(state).into_make_service_with_connect_info::<SocketAddr>();
    let handle = Handle::new();
    tokio::spawn({
        let handle = handle.clone();
        async move {
            stop.cancelled().await;
            handle.graceful_shutdown(Some(Duration::from_secs(5)));
        }
    });
    let cannot = |error: std::io::Error| Failure::new(Code::TG106, "the server cannot start").because(&error);
    let served = match tls {
        Some(tls) => {
            let mut server = axum_server::from_tcp_rustls(listener, tls).map_err(cannot)?.map(|tls| tls.acceptor(door)).handle(handle);
            impatient(server.http_builder());
            tokio::spawn(async move { ended(server.serve(router).await) })
        }
        None => {
            let mut server = axum_server::from_tcp(listener).map_err(cannot)?.acceptor(door).handle(handle);
            impatient(server.http_builder());
            tokio::spawn(async move { ended(server.serve(router).await) })
        }
    };
    Ok((address, served))
}

/// Listens with a queue as long as the limit (if the system allows that): from a shorter one it drops connections that the
/// other side believes open.
fn listener(address: SocketAddr, connections: usize) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As every server: what the one before left open does not keep the next from starting.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(u32::try_from(connections.max(128)).unwrap_or(u32::MAX))?.into_std()
}

/// A connection that begins no request keeps its place for a while only. (With HTTP/2 beside HTTP/1 one that says nothing
/// at all would keep it for ever.)
fn impatient(builder: &mut Builder<TokioExecutor>) {
    *builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
}

fn ended(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!("the server ended: {error}");
    }
}

fn router(state: Arc<State>) -> Router {
    let open = Router::new().merge(routes::health::router()).merge(routes::hooks::router());
    let guarded = Router::new()
        .merge(routes::metrics::router())
        .merge(routes::events::router())
        .merge(routes::ingest::router())
        .merge(routes::pipelines::router())
        .merge(routes::runs::router())
        .layer(middleware::from_fn_with_state(Arc::clone(&state), access::check));
    open.merge(guarded)
        .fallback(|| async { Answer::not_found() })
        .layer(DefaultBodyLimit::max(state.options.max_body))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), limits::admit))
        .with_state(state)
}
