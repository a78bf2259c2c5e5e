//! Bounds on connections (INV-8): beyond the limit a new one is told so at once, and is closed.

use axum_server::accept::Accept;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// What a connection beyond the limit is told, if it is plain HTTP.
const FULL: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// How long one that is refused may take to hang up.
const GOODBYE: Duration = Duration::from_secs(1);
/// So many are given that time at a time; the others are hung up on at once.
const REFUSED_AT_A_TIME: usize = 64;

/// Lets connections in while there is room.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    room: Arc<Semaphore>,
    plain: bool,
}

impl Door {
    /// For so many connections at a time; `plain` if they speak without TLS.
    pub(crate) fn new(room: usize, plain: bool) -> Self {
        Self { room: Arc::new(Semaphore::new(room)), plain }
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for Door {
    type Stream = Inside;
    type Service = S;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Inside, S)>> + Send>>;

    fn accept(&self, mut stream: TcpStream, service: S) -> Self::Future {
        let (room, plain) = (Arc::clone(&self.room), self.plain);
        Box::pin(async move {
            let _ = stream.set_nodelay(true);
            match room.try_acquire_owned() {
                Ok(place) => Ok((Inside { stream, _place: place }, service)),
                Err(_) => {
                    if plain {
                        let _ = tokio::time::timeout(GOODBYE, refuse(&mut stream)).await;
                    }
                    Err(io::Error::other("too many connections are open"))
                }
            }
        })
    }
}

/// Says so, and waits for the other side to hang up: one who hangs up on a request that is on its way takes the answer back.
async fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    static BEING_REFUSED: Semaphore = Semaphore::const_new(REFUSED_AT_A_TIME);
    let waits = BEING_REFUSED.try_acquire();
    stream.write_all(FULL).await?;
    if waits.is_ok() {
        stream.shutdown().await?;
        tokio::io::copy(stream, &mut tokio::io::sink()).await?;
    }
    Ok(())
}

/// A connection that has its place until it is closed.
#[derive(Debug)]
pub(crate) struct Inside {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Inside {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Inside {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
