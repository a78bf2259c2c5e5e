//! One source's pushes in one process: a thread that writes whatever came meanwhile with one fsync.

use super::frame::{self, Key};
use crate::{
    error::{Result, StateError, sql},
    home::Home,
    ledger::Ledger,
};
use jiff::Timestamp;
use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};
use tidegate_core::{Code, Failure, fault, pipeline::Push};
use tokio::{runtime::Handle, sync::oneshot};

/// Pushes that may wait for the writer (INV-8).
const WAITING: usize = 1024;
/// Bytes that are written and brought to disk together.
const AT_ONCE: usize = 8 << 20;
/// How long a key is remembered.
const REMEMBER: Duration = Duration::from_secs(24 * 3600);
/// Keys that are remembered in memory for each source; older ones are looked up.
const KEYS: i64 = 200_000;

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Whether these rows had been accepted before, under the same key.
    pub duplicate: bool,
}

struct Append {
    body: Vec<u8>,
    key: Option<Key>,
    reply: oneshot::Sender<Result<Accepted>>,
}

enum Order {
    Append(Append),
    /// Look whether the segment's time has come.
    Glance,
}

/// The way of pushed rows to disk.
pub(super) struct Lane {
    pub(super) limits: Push,
    send: mpsc::SyncSender<Order>,
    /// Bytes that wait for a run, as of the last look.
    waiting: std::sync::Arc<AtomicU64>,
}

impl Lane {
    pub(super) async fn open(home: &Home, ledger: &Ledger, owner: &str, name: &(String, String), limits: Push) -> Result<Self> {
        let (pipeline, source) = name;
        take_over(home, ledger, pipeline, source)?;
        // Another set of limits is another lane, with a folder of its own.
        let (lanes, name) = (home.intake(pipeline, source), format!("{owner}-{}", uuid::Uuid::now_v7().simple()));
        let (hidden, folder) = (lanes.join(format!(".{name}")), lanes.join(&name));
        let failed = |source| StateError::Write { path: folder.clone(), source };
        std::fs::create_dir_all(&hidden).map_err(failed)?;
        let lock = File::create(hidden.join("lock")).map_err(failed)?;
        fs4::FileExt::lock(&lock).map_err(failed)?;
        // Nobody sees it before it is locked, or it would be taken for a dead process's.
        std::fs::rename(&hidden, &folder).map_err(failed)?;
        sync_folder(Some(&lanes))?;
        let keys = recent_keys(ledger, pipeline, source).await?;
        let (send, receive) = mpsc::sync_channel(WAITING);
        let waiting = std::sync::Arc::new(AtomicU64::new(0));
        let writer = Writer {
            home: home.clone(),
            ledger: ledger.clone(),
            pipeline: pipeline.clone(),
            source: source.clone(),
            folder,
            limits: limits.clone(),
            keys,
            waiting: std::sync::Arc::clone(&waiting),
            segment: None,
            next: 1,
            handle: Handle::current(),
            _lock: lock,
        };
        thread::Builder::new()
            .name("intake".to_owned())
            .spawn(move || writer.run(&receive))
            .map_err(|error| Failure::new(Code::TG901, "no thread for the intake").because(&error))?;
        Ok(Self { limits, send, waiting })
    }

    pub(super) async fn push(&self, body: Vec<u8>, key: Option<Key>) -> Result<Accepted> {
        let full = || Failure::new(Code::TG410, "the intake is full; nothing of this push was taken").hint("push it again a little later");
        if self.waiting.load(Ordering::Relaxed) > self.limits.backlog.0 {
            return Err(full());
        }
        let (reply, answer) = oneshot::channel();
        self.send.try_send(Order::Append(Append { body, key, reply })).map_err(|_| full())?;
        answer.await.map_err(|_| Failure::new(Code::TG403, "the intake's writer has ended"))?
    }

    pub(super) fn glance(&self) {
        let _ = self.send.try_send(Order::Glance);
    }
}

/// The segment being written.
struct Segment {
    path: PathBuf,
    file: File,
    bytes: u64,
    began: Instant,
    keys: Vec<Key>,
}

struct Writer {
    home: Home,
    ledger: Ledger,
    pipeline: String,
    source: String,
    folder: PathBuf,
    limits: Push,
    keys: HashSet<Key>,
    waiting: std::sync::Arc<AtomicU64>,
    segment: Option<Segment>,
    next: u64,
    handle: Handle,
    _lock: File,
}

impl Writer {
    /// Until the lane is dropped; then the segment is closed, so that a run can have it.
    fn run(mut self, orders: &mpsc::Receiver<Order>) {
        loop {
            let patience = self
                .segment
                .as_ref()
                .map_or(Duration::from_secs(3600), |segment| self.limits.every.0.saturating_sub(segment.began.elapsed()));
            match orders.recv_timeout(patience) {
                Ok(Order::Append(first)) => {
                    let mut size = first.body.len();
                    let mut batch = vec![first];
                    while size < AT_ONCE {
                        match orders.try_recv() {
                            Ok(Order::Append(next)) => {
                                size += next.body.len();
                                batch.push(next);
                            }
                            Ok(Order::Glance) => {}
                            Err(_) => break,
                        }
                    }
                    self.append(batch);
                }
                Ok(Order::Glance) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    self.seal();
                    return;
                }
            }
            let due = |segment: &Segment| segment.bytes >= self.limits.bytes.0 || segment.began.elapsed() >= self.limits.every.0;
            if self.segment.as_ref().is_some_and(due) {
                self.seal();
            }
            self.waiting.store(bytes_below(&self.home.intake(&self.pipeline, &self.source)), Ordering::Relaxed);
        }
    }

    fn append(&mut self, batch: Vec<Append>) {
        let fresh: Vec<Key> = batch.iter().filter_map(|push| push.key).filter(|key| !self.keys.contains(key)).collect();
        // Keys that another process took, or that are too old to be remembered here.
        match self.handle.block_on(known_keys(&self.ledger, &self.pipeline, &self.source, &fresh)) {
            Ok(known) => self.keys.extend(known),
            Err(failure) => return batch.into_iter().for_each(|push| drop(push.reply.send(Err(failure.clone())))),
        }
        let mut bytes = Vec::new();
        let mut taken = Vec::new();
        let mut new_keys = Vec::new();
        for push in batch {
            let duplicate = push.key.is_some_and(|key| self.keys.contains(&key));
            if !duplicate {
                frame::write(&mut bytes, push.key, &push.body);
                if let Some(key) = push.key {
                    self.keys.insert(key);
                    new_keys.push(key);
                }
            }
            taken.push((push.reply, duplicate));
        }
        // Older keys are looked up (INV-8): what is in an open segment is always among these.
        if self.keys.len() > 2 * KEYS as usize {
            let open: HashSet<Key> = self.segment.iter().flat_map(|segment| &segment.keys).chain(&new_keys).copied().collect();
            self.keys = open;
        }
        let written = if bytes.is_empty() { Ok(()) } else { self.write(&bytes, &new_keys) };
        if written.is_err() {
            // They were not taken: the same keys may come again.
            self.keys.retain(|key| !new_keys.contains(key));
        }
        for (reply, duplicate) in taken {
            let answer = match &written {
                Ok(()) => Ok(Accepted { duplicate }),
                Err(failure) => Err(failure.clone()),
            };
            let _ = reply.send(answer);
        }
    }

    /// Brings bytes to disk. If that fails, the segment is cut back to what was there before and closed.
    fn write(&mut self, bytes: &[u8], keys: &[Key]) -> Result<()> {
        let segment = match &mut self.segment {
            Some(segment) => segment,
            None => {
                let path = self.folder.join(format!("{:010}.open", self.next));
                self.next += 1;
                let failed = |source| StateError::Write { path: path.clone(), source };
                let file = OpenOptions::new().create_new(true).append(true).open(&path).map_err(failed)?;
                sync_folder(Some(&self.folder))?;
                self.segment.insert(Segment { path, file, bytes: 0, began: Instant::now(), keys: Vec::new() })
            }
        };
        fault::point("intake.before_write");
        let written = segment.file.write_all(bytes).and_then(|()| segment.file.sync_data());
        fault::point("intake.written");
        if let Err(source) = written {
            let _ = segment.file.set_len(segment.bytes);
            let path = segment.path.clone();
            self.seal();
            return Err(StateError::Write { path, source }.into());
        }
        segment.bytes += bytes.len() as u64;
        segment.keys.extend_from_slice(keys);
        Ok(())
    }

    fn seal(&mut self) {
        let Some(segment) = self.segment.take() else { return };
        let remembered = self.handle.block_on(remember(&self.ledger, &self.pipeline, &self.source, &segment.keys));
        let sealed = remembered.and_then(|()| {
            fault::point("intake.before_seal");
            seal_file(&segment.path)
        });
        if let Err(failure) = sealed {
            tracing::warn!(pipeline = self.pipeline, "a segment of pushed rows could not be closed: {failure}; it is tried again");
            self.segment = Some(segment);
        }
    }
}

/// Gives a segment the name under which runs find it.
fn seal_file(open: &Path) -> Result<()> {
    let sealed = open.with_extension("rows");
    std::fs::rename(open, &sealed).map_err(|source| StateError::Write { path: sealed.clone(), source })?;
    sync_folder(sealed.parent())
}

fn sync_folder(folder: Option<&Path>) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    File::open(folder).and_then(|file| file.sync_all()).map_err(|source| StateError::Write { path: folder.to_owned(), source }.into())
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries(folder).flat_map(|lane| entries(&lane.path())).filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Closes what dead processes left open, and remembers its keys. One at a time, and whoever comes meanwhile waits: a push that
/// is repeated after a crash must find its key, whoever of us is just reading it.
pub(super) fn take_over(home: &Home, ledger: &Ledger, pipeline: &str, source: &str) -> Result<()> {
    let folder = home.intake(pipeline, source);
    if !folder.is_dir() {
        return Ok(());
    }
    let _turn = turn(home, pipeline, source)?;
    for lane in std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let hidden = lane.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let Some(lock) = OpenOptions::new().write(true).open(lane.join("lock")).ok().filter(|_| !hidden) else { continue };
        // Whoever is alive holds its lock.
        if fs4::FileExt::try_lock(&lock).is_err() {
            continue;
        }
        let files: Vec<PathBuf> = std::fs::read_dir(&lane).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        for open in files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "open")) {
            let failed = |source| StateError::Write { path: open.clone(), source };
            let bytes = std::fs::read(open).map_err(failed)?;
            let (frames, whole) = frame::read(&bytes);
            let keys: Vec<Key> = frames.iter().filter_map(|frame| frame.key).collect();
            let file = OpenOptions::new().write(true).open(open).map_err(failed)?;
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(failed)?;
            tokio::task::block_in_place(|| Handle::current().block_on(remember(ledger, pipeline, source, &keys)))?;
            seal_file(open)?;
        }
        // An empty folder of a dead process is of no use.
        if files.len() <= 1 {
            let _ = std::fs::remove_dir_all(&lane);
        }
    }
    Ok(())
}

/// The right to take over; it ends when it is dropped.
fn turn(home: &Home, pipeline: &str, source: &str) -> Result<File> {
    let (lock, path) = home.intake_lock(pipeline, source)?;
    if fs4::FileExt::try_lock(&lock).is_err() {
        tokio::task::block_in_place(|| fs4::FileExt::lock(&lock)).map_err(|source| StateError::Write { path, source })?;
    }
    Ok(lock)
}

async fn recent_keys(ledger: &Ledger, pipeline: &str, source: &str) -> Result<HashSet<Key>> {
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT key FROM pushed WHERE pipeline = ?1 AND source = ?2 ORDER BY at DESC LIMIT ?3")
        .bind(pipeline.to_owned())
        .bind(source.to_owned())
        .bind(KEYS)
        .fetch_all(&ledger.pool)
        .await
        .map_err(sql)?;
    Ok(rows.into_iter().filter_map(|(key,)| key.try_into().ok()).collect())
}

async fn known_keys(ledger: &Ledger, pipeline: &str, source: &str, keys: &[Key]) -> Result<Vec<Key>> {
    let mut known = Vec::new();
    for key in keys {
        let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM pushed WHERE pipeline = ?1 AND source = ?2 AND key = ?3")
            .bind(pipeline.to_owned())
            .bind(source.to_owned())
            .bind(key.to_vec())
            .fetch_optional(&ledger.pool)
            .await
            .map_err(sql)?;
        known.extend(row.map(|_| *key));
    }
    Ok(known)
}

/// Remembers keys, and forgets old ones.
async fn remember(ledger: &Ledger, pipeline: &str, source: &str, keys: &[Key]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let now = Timestamp::now().as_millisecond();
    let mut tx = ledger.begin().await?;
    for key in keys {
        sqlx::query("INSERT INTO pushed (pipeline, source, key, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")
            .bind(pipeline.to_owned())
            .bind(source.to_owned())
            .bind(key.to_vec())
            .bind(now)
            .execute(&mut *tx)
            .await
            .map_err(sql)?;
    }
    let old = now.saturating_sub(i64::try_from(REMEMBER.as_millis()).unwrap_or(i64::MAX));
    sqlx::query("DELETE FROM pushed WHERE at < ?1").bind(old).execute(&mut *tx).await.map_err(sql)?;
    tx.commit().await.map_err(sql)
}
