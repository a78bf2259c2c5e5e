//! Writing a file of the raw store beside whoever brings its bytes: packed where that makes it smaller.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

/// Bytes that are packed and written at once. Each is a frame of its own, so that several can be packed at a time.
const CHUNK: usize = 2 << 20;
/// Chunks that wait for the disk while the next ones arrive and are hashed (INV-8).
const CHUNKS: usize = 4;
/// A file with less is kept as it is.
const SMALL: usize = 64 << 10;
/// What is read by the footer at its end is read where it lies (and is packed already).
const PARQUET: &[u8] = b"PAR1";
/// The fastest level of zstd that saves most.
const LEVEL: i32 = 1;
/// Bytes after which the disk begins with what was written: less is left to wait for at the end.
const AHEAD: usize = 8 << 20;

/// Bytes as they came, and packed if that may be worth while.
struct Chunk {
    plain: Vec<u8>,
    packed: Option<Vec<u8>>,
}

impl Chunk {
    fn pack(plain: Vec<u8>, wanted: &AtomicBool) -> io::Result<Self> {
        let packed = wanted.load(Ordering::Relaxed).then(|| pack(&plain)).transpose()?;
        Ok(Self { plain, packed })
    }

    /// Whether a file that begins like this is to be packed.
    fn is_worth_while(&self) -> bool {
        self.packed.as_ref().is_some_and(|packed| packed.len() < self.plain.len() / 4 * 3)
    }

    /// The bytes in one of the two forms.
    fn into_form(self, packed: bool) -> io::Result<Vec<u8>> {
        if packed { self.packed.ok_or_else(|| io::Error::other("a chunk was not packed")) } else { Ok(self.plain) }
    }
}

/// One frame. The memory that takes is kept for the next one on this thread.
fn pack(plain: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        static PACKER: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    }
    PACKER.with_borrow_mut(|packer| {
        let packer = match packer {
            Some(packer) => packer,
            None => packer.insert(zstd::bulk::Compressor::new(LEVEL)?),
        };
        packer.include_checksum(true)?;
        packer.compress(plain)
    })
}

/// An error of the disk is told once for a file, to whoever asks first: so each answer is looked at.
fn synced(ahead: Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    ahead.map_or(Ok(()), |ahead| Handle::current().block_on(ahead).map_err(io::Error::other)?)
}

/// What was written, and whether it is packed.
struct Written {
    file: File,
    packed: bool,
}

/// Writes the chunks in their order. The first one says how, and what is `wanted` of the ones to come.
fn write(mut file: File, mut chunks: mpsc::Receiver<JoinHandle<io::Result<Chunk>>>, wanted: &AtomicBool) -> io::Result<Written> {
    let (mut form, mut ahead, mut since) = (None, None, 0);
    while let Some(chunk) = chunks.blocking_recv() {
        let chunk = Handle::current().block_on(chunk).map_err(io::Error::other)??;
        let packs = *form.get_or_insert_with(|| chunk.is_worth_while());
        wanted.store(packs, Ordering::Relaxed);
        let bytes = chunk.into_form(packs)?;
        file.write_all(&bytes)?;
        since += bytes.len();
        if since >= AHEAD && ahead.as_ref().is_none_or(JoinHandle::is_finished) {
            synced(ahead.take())?;
            let twin = file.try_clone()?;
            ahead = Some(spawn_blocking(move || twin.sync_data()));
            since = 0;
        }
    }
    synced(ahead)?;
    Ok(Written { file, packed: form.unwrap_or(false) })
}

/// Packs and writes on threads of its own.
pub(super) struct RawWriter {
    gathered: Vec<u8>,
    /// Whether the first chunk is on its way.
    begun: bool,
    /// Whether chunks are to be packed.
    wanted: Arc<AtomicBool>,
    send: mpsc::Sender<JoinHandle<io::Result<Chunk>>>,
    written: JoinHandle<io::Result<Written>>,
}

impl RawWriter {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let (send, chunks) = mpsc::channel(CHUNKS);
        let wanted = Arc::new(AtomicBool::new(true));
        let written = spawn_blocking({
            let wanted = Arc::clone(&wanted);
            move || write(file, chunks, &wanted)
        });
        Ok(Self { gathered: Vec::new(), begun: false, wanted, send, written })
    }

    /// However the bytes come, they are packed in chunks of one size: so the form of a file depends on its content only.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.gathered.capacity() == 0 {
                self.gathered.reserve_exact(CHUNK);
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.gathered.len()));
            self.gathered.extend_from_slice(now);
            bytes = later;
            if self.gathered.len() == CHUNK {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.gathered);
        if !std::mem::replace(&mut self.begun, true) && (bytes.len() < SMALL || bytes.starts_with(PARQUET)) {
            self.wanted.store(false, Ordering::Relaxed);
        }
        let wanted = Arc::clone(&self.wanted);
        // A place in the queue comes first, so that no more is packed than may wait there.
        if let Ok(place) = self.send.reserve().await {
            place.send(spawn_blocking(move || Chunk::pack(bytes, &wanted)));
            return Ok(());
        }
        // The thread is gone: it says why.
        match (&mut self.written).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Err(io::Error::other("the writer ended early")),
            Err(panicked) => Err(io::Error::other(panicked)),
        }
    }

    /// Brings everything to disk, and says whether it is packed. With `known`, the same bytes are there already, and these need not be.
    pub(super) async fn finish(mut self, known: bool) -> io::Result<bool> {
        if !self.gathered.is_empty() {
            self.flush().await?;
        }
        drop(self.send);
        let Written { file, packed } = self.written.await.map_err(io::Error::other)??;
        if !known {
            spawn_blocking(move || file.sync_all()).await.map_err(io::Error::other)??;
        }
        Ok(packed)
    }
}
