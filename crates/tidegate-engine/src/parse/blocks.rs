//! Cutting a byte stream into blocks of whole lines, parsing them on all cores, and handing them on in order.
//!
//! Blocks are cut at line ends without looking at quotes, so a block may end within a quoted cell. The parser says how
//! many bytes it consumed; what is left over is put before the next block, which is then parsed again, here and in order.
//! So the rows are those of a sequential parse, whatever the cut; a wrong cut only costs time.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

/// Bytes per block.
pub(super) const BLOCK: usize = 1 << 20;
/// Longest record. A quote that is not closed within it is taken for a mistake in its own line.
pub(super) const LONGEST_RECORD: usize = 1 << 20;

/// A block's rows, and how much of it they used.
pub(super) struct Parsed<T> {
    pub(super) rows: T,
    pub(super) consumed: usize,
}

/// Parses one block. Called from several threads.
pub(super) trait ParseBlock: Send + Sync + 'static {
    type Rows: Send + 'static;
    /// Parses the records of `bytes`. If `complete`, the end of `bytes` ends the last record; otherwise a record that is
    /// still open there is left, unconsumed.
    fn parse(&self, bytes: &[u8], complete: bool) -> Parsed<Self::Rows>;
}

/// Reads blocks of whole lines.
struct Reader {
    read: Box<dyn Read + Send>,
    newline: u8,
    block: usize,
    rest: Vec<u8>,
    index: usize,
    done: bool,
}

struct Block {
    index: usize,
    bytes: Vec<u8>,
    last: bool,
}

impl Reader {
    fn next(&mut self) -> io::Result<Option<Block>> {
        if self.done {
            return Ok(None);
        }
        let mut bytes = std::mem::take(&mut self.rest);
        loop {
            let wanted = self.block.saturating_sub(bytes.len()).max(self.block / 4 + 1);
            bytes.reserve(wanted);
            let got = (&mut self.read).take(wanted as u64).read_to_end(&mut bytes)?;
            self.done = got < wanted;
            if self.done {
                break;
            }
            if let Some(end) = memchr::memrchr(self.newline, &bytes) {
                self.rest = bytes.split_off(end + 1);
                break;
            }
            // A line longer than a block: go on until it ends, or until it is longer than any record may be.
            if bytes.len() > 2 * LONGEST_RECORD {
                break;
            }
        }
        let index = self.index;
        self.index += 1;
        Ok(Some(Block { index, bytes, last: self.done }))
    }
}

/// The parsed blocks of a stream, in order.
pub(super) struct Blocks<P: ParseBlock> {
    parser: Arc<P>,
    results: mpsc::Receiver<io::Result<(Block, Parsed<P::Rows>)>>,
    early: BTreeMap<usize, (Block, Parsed<P::Rows>)>,
    next: usize,
    left_over: Vec<u8>,
    finished: bool,
}

/// Starts `threads` threads on the stream, which is cut into blocks of about `block` bytes. They end with the stream, or when the result is dropped.
pub(super) fn parse_blocks<P: ParseBlock>(
    read: Box<dyn Read + Send>,
    newline: u8,
    parser: Arc<P>,
    threads: usize,
    block: usize,
) -> Blocks<P> {
    let reader = Arc::new(Mutex::new(Reader { read, newline, block, rest: Vec::new(), index: 0, done: false }));
    // A bounded channel: parsers wait for whoever takes the rows (INV-8).
    let (send, results) = mpsc::sync_channel(threads);
    for _ in 0..threads {
        let (reader, parser, send) = (Arc::clone(&reader), Arc::clone(&parser), send.clone());
        thread::spawn(move || {
            loop {
                let block = reader.lock().unwrap_or_else(PoisonError::into_inner).next();
                let result = match block {
                    Ok(None) => return,
                    Ok(Some(block)) => {
                        let parsed = parser.parse(&block.bytes, block.last);
                        Ok((block, parsed))
                    }
                    Err(error) => Err(error),
                };
                let failed = result.is_err();
                if send.send(result).is_err() || failed {
                    return;
                }
            }
        });
    }
    Blocks { parser, results, early: BTreeMap::new(), next: 0, left_over: Vec::new(), finished: false }
}

impl<P: ParseBlock> Blocks<P> {
    fn receive(&mut self) -> Option<io::Result<(Block, Parsed<P::Rows>)>> {
        loop {
            if let Some(ready) = self.early.remove(&self.next) {
                self.next += 1;
                return Some(Ok(ready));
            }
            match self.results.recv() {
                Ok(Ok((block, parsed))) => {
                    self.early.insert(block.index, (block, parsed));
                }
                Ok(Err(error)) => return Some(Err(error)),
                Err(mpsc::RecvError) => return None,
            }
        }
    }
}

impl<P: ParseBlock> Iterator for Blocks<P> {
    type Item = io::Result<P::Rows>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.finished {
                return None;
            }
            let (block, mut parsed) = match self.receive()? {
                Ok(ready) => ready,
                Err(error) => {
                    self.finished = true;
                    return Some(Err(error));
                }
            };
            self.finished = block.last;
            let mut bytes = block.bytes;
            if !self.left_over.is_empty() {
                let mut joined = std::mem::take(&mut self.left_over);
                joined.extend_from_slice(&bytes);
                bytes = joined;
                parsed = self.parser.parse(&bytes, block.last);
            }
            if parsed.consumed < bytes.len() && bytes.len() - parsed.consumed > LONGEST_RECORD {
                parsed = self.parser.parse(&bytes, true);
            }
            if parsed.consumed < bytes.len() {
                bytes.drain(..parsed.consumed);
                self.left_over = bytes;
                if parsed.consumed == 0 {
                    continue;
                }
            }
            return Some(Ok(parsed.rows));
        }
    }
}
