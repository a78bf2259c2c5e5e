//! CSV and JSON lines: the two formats that are read in blocks of lines.

use super::{
    PartRows, Spec,
    blocks::{self, Blocks, ParseBlock},
    bytes, columns,
    columns::Nulls,
    count,
    csv::{self, Dialect, Layout},
    jsonl,
    reject::{self, Reject, Rejects},
    sniff,
    spans::Spans,
};
use crate::error::{EngineError, Result};
use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
};
use std::{
    io::{Cursor, Read},
    sync::Arc,
};
use tidegate_core::{
    quarantine::Reason,
    seam::{Parsed, RawFile},
};

/// How much of a file is looked at before parsing: the header, and what kind of file it is.
const HEAD: usize = 1 << 16;

/// The parser of one file's blocks.
struct BlockParser {
    spec: Arc<Spec>,
    kind: Kind,
    nulls: Nulls,
    transcoded: bool,
}

enum Kind {
    Csv(Dialect, Layout),
    Jsonl(Vec<String>),
}

/// The rows of a block.
struct BlockRows {
    good: Result<RecordBatch>,
    bad: Vec<Bad>,
    read: u64,
    accepted: u64,
    lines: u64,
    /// Open identities whose rows are good.
    healed: Vec<String>,
}

struct Bad {
    line: u64,
    raw: Vec<u8>,
    column: Option<String>,
    reason: Reason,
    message: String,
    identity: Option<String>,
    key: Option<String>,
}

impl ParseBlock for BlockParser {
    type Rows = BlockRows;

    fn parse(&self, bytes: &[u8], complete: bool) -> blocks::Parsed<BlockRows> {
        match &self.kind {
            Kind::Csv(dialect, layout) => {
                let (spans, consumed) = csv::split(dialect, layout, bytes, complete);
                blocks::Parsed { rows: self.rows(&spans, bytes), consumed }
            }
            Kind::Jsonl(names) => {
                let lines = jsonl::split(names, bytes, complete);
                blocks::Parsed { rows: self.rows(&lines.spans, &lines.arena), consumed: lines.consumed }
            }
        }
    }
}

impl BlockParser {
    fn rows(&self, spans: &Spans, bytes: &[u8]) -> BlockRows {
        let spec = &self.spec;
        let declared: Vec<_> = spec.source.columns.values().cloned().collect();
        // After transcoding, what was not valid stands as U+FFFD.
        let valid_utf8 = simdutf8::basic::from_utf8(bytes).is_ok();
        let (batch, mut bad_rows) = match columns::build(&spec.schema, &declared, &self.nulls, spans, bytes, valid_utf8) {
            Ok(built) => built,
            Err(error) => return BlockRows { good: Err(error), bad: Vec::new(), read: 0, accepted: 0, lines: 0, healed: Vec::new() },
        };
        if self.transcoded {
            self.undecoded(spans, bytes, &mut bad_rows);
        }
        let checked = spec.checks.iter().try_for_each(|check| {
            let already: Vec<usize> = bad_rows.iter().map(|row| row.record).collect();
            for record in check.failing(&batch)? {
                if already.binary_search(&record).is_err() {
                    bad_rows.push(columns::BadRow {
                        record,
                        column: Some(check.column),
                        reason: Reason::Check,
                        message: format!("the check `{}` does not hold", check.sql),
                    });
                }
            }
            bad_rows.sort_by_key(|row| row.record);
            Ok(())
        });
        let good = checked.and_then(|()| without(&batch, &bad_rows));
        let accepted = good.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        let healed = self.healed(spans, bytes, &bad_rows);
        BlockRows { good, bad: self.bad(spans, bytes, &batch, bad_rows), read: spans.read(), accepted, lines: spans.line_count, healed }
    }

    fn undecoded(&self, spans: &Spans, bytes: &[u8], bad: &mut Vec<columns::BadRow>) {
        for (record, (start, end)) in spans.records.iter().enumerate() {
            let raw = &bytes[*start as usize..*end as usize];
            if memchr::memmem::find(raw, "\u{fffd}".as_bytes()).is_some() && !bad.iter().any(|row| row.record == record) {
                let message = "the row has bytes that are not valid in the file's encoding".to_owned();
                bad.push(columns::BadRow { record, column: None, reason: Reason::Encoding, message });
            }
        }
        bad.sort_by_key(|row| row.record);
    }

    fn identity(&self, spans: &Spans, bytes: &[u8], record: usize) -> Option<String> {
        if self.spec.identity.is_empty() {
            return None;
        }
        let cells: Vec<&[u8]> = self.spec.identity.iter().map(|column| spans.cell(record, *column).bytes(bytes)).collect();
        // A row without any of its key is known by its text alone.
        cells.iter().any(|cell| !cell.is_empty()).then(|| reject::identity(&self.spec, &cells))
    }

    fn healed(&self, spans: &Spans, bytes: &[u8], bad: &[columns::BadRow]) -> Vec<String> {
        if self.spec.open.is_empty() {
            return Vec::new();
        }
        let mut bad = bad.iter().map(|row| row.record).peekable();
        let mut healed = Vec::new();
        for record in 0..spans.records.len() {
            if bad.next_if_eq(&record).is_some() {
                continue;
            }
            if let Some(identity) = self.identity(spans, bytes, record)
                && self.spec.open.contains(&identity)
            {
                healed.push(identity);
            }
        }
        healed
    }

    fn bad(&self, spans: &Spans, bytes: &[u8], batch: &RecordBatch, bad_rows: Vec<columns::BadRow>) -> Vec<Bad> {
        let column_name = |i: usize| self.spec.source.columns.get_index(i).map(|(name, _)| name.clone());
        let mut bad: Vec<Bad> = bad_rows
            .into_iter()
            .map(|row| {
                let (start, end) = spans.records[row.record];
                Bad {
                    line: u64::from(spans.lines[row.record]),
                    raw: bytes[start as usize..end as usize].to_vec(),
                    column: row.column.and_then(column_name),
                    reason: row.reason,
                    message: row.message,
                    identity: self.identity(spans, bytes, row.record),
                    key: reject::key(&self.spec, batch, row.record),
                }
            })
            .collect();
        bad.extend(spans.malformed.iter().map(|row| Bad {
            line: row.line,
            raw: bytes[row.start..row.end].to_vec(),
            column: None,
            reason: row.reason,
            message: self.malformed(row),
            identity: None,
            key: None,
        }));
        bad.sort_by_key(|row| row.line);
        bad
    }

    fn malformed(&self, row: &super::spans::Malformed) -> String {
        match (&self.kind, row.reason) {
            (Kind::Csv(_, layout), Reason::Ragged) => {
                format!("the row has {} cells where the header has {}", row.cells, layout.columns.len())
            }
            (_, Reason::Quote) => "a quoted cell is not closed, or text follows its closing quote".to_owned(),
            (_, Reason::Encoding) => "the row has bytes that are not valid UTF-8".to_owned(),
            _ => "the line is not a JSON object".to_owned(),
        }
    }
}

fn without(batch: &RecordBatch, bad: &[columns::BadRow]) -> Result<RecordBatch> {
    if bad.is_empty() {
        return Ok(batch.clone());
    }
    let mut keep = vec![true; batch.num_rows()];
    for row in bad {
        keep[row.record] = false;
    }
    Ok(filter_record_batch(batch, &BooleanArray::from(keep))?)
}

/// The rows of a file that is read in blocks.
struct TextRows {
    spec: Arc<Spec>,
    blocks: Blocks<BlockParser>,
    line: u64,
}

impl PartRows for TextRows {
    fn next(&mut self, rejects: &mut Rejects, report: &mut Parsed) -> Result<Option<RecordBatch>> {
        let Some(rows) = self.blocks.next() else { return Ok(None) };
        let rows = rows.map_err(|error| bytes::trouble(&self.spec.name, &error))?;
        count(&mut report.receipt, rows.read, rows.accepted);
        report.healed.extend(rows.healed);
        for bad in rows.bad {
            let row = Reject {
                line: self.line + bad.line,
                raw: &bad.raw,
                column: bad.column,
                reason: bad.reason,
                message: bad.message,
                identity: bad.identity,
                key: bad.key,
            };
            rejects.add(&self.spec, row)?;
        }
        self.line += rows.lines;
        rows.good.map(Some)
    }
}

/// Reads the first bytes of a stream; the stream goes on after them.
fn head(read: &mut (dyn Read + Send), name: &str) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let read = read.take(HEAD as u64).read_to_end(&mut head);
    read.map_err(|error| bytes::trouble(name, &error))?;
    Ok(head)
}

fn start(spec: &Arc<Spec>, kind: Kind, nulls: Nulls, decoded: bytes::Decoded, rest: Vec<u8>, newline: u8, line: u64) -> Box<dyn PartRows> {
    let parser = BlockParser { spec: Arc::clone(spec), kind, nulls, transcoded: decoded.transcoded };
    let read = Box::new(Cursor::new(rest).chain(decoded.read));
    let blocks = blocks::parse_blocks(read, newline, Arc::new(parser), spec.threads, spec.block);
    Box::new(TextRows { spec: Arc::clone(spec), blocks, line })
}

pub(super) fn open_csv(spec: &Arc<Spec>, file: &RawFile, report: &mut Parsed) -> Result<Box<dyn PartRows>> {
    let options = spec.source.csv_options();
    let mut decoded = bytes::open(&spec.name, file, options.encoding.as_deref())?;
    let head = head(&mut decoded.read, &spec.name)?;
    let dialect =
        Dialect { delimiter: sniff::ascii(options.delimiter), quote: sniff::ascii(options.quote), newline: sniff::newline(&head) };
    let skipped = sniff::skip_lines(&head, dialect.newline, options.skip_lines);
    if head[skipped..].iter().all(u8::is_ascii_whitespace) {
        return Err(EngineError::Empty { name: spec.name.clone() });
    }
    let declared = spec.source.columns.len();
    let (names, used) = if options.header {
        let (mut names, used) = csv::first_record(&dialect, &head[skipped..]);
        if options.trim {
            names.iter_mut().for_each(|name| *name = name.trim().to_owned());
        }
        (names, skipped + used)
    } else {
        (spec.source.columns.iter().map(|(name, column)| column.from.clone().unwrap_or_else(|| name.clone())).collect(), skipped)
    };
    let mut layout = Layout { columns: vec![None; names.len()], declared };
    let mut missing = Vec::new();
    for (i, (name, column)) in spec.source.columns.iter().enumerate() {
        let wanted = column.from.as_deref().unwrap_or(name);
        match names.iter().position(|name| name == wanted) {
            Some(place) => layout.columns[place] = Some(i),
            None if column.optional => {}
            None => missing.push((wanted.to_owned(), name.clone())),
        }
    }
    if layout.columns.iter().all(Option::is_none) {
        // Columns may be missing where they are optional; with none of them there is nothing to read.
        missing =
            spec.source.columns.iter().map(|(name, column)| (column.from.as_deref().unwrap_or(name).to_owned(), name.clone())).collect();
    }
    if let Some((_, first)) = missing.first() {
        if let Some(got) = sniff::not_csv(&head) {
            return Err(EngineError::WrongFormat { name: spec.name.clone(), got, promised: "CSV", begins: sniff::begins(&head) });
        }
        let location = (spec.location)(&[first]);
        let missing = missing.into_iter().map(|(wanted, _)| wanted).collect();
        return Err(EngineError::MissingColumns { name: spec.name.clone(), missing, got: names, location });
    }
    if report.header.is_empty() {
        report.header = names;
    }
    let lines = memchr::memchr_iter(dialect.newline, &head[..used]).count() as u64;
    let nulls =
        Nulls { words: options.nulls.iter().map(|word| word.clone().into_bytes()).collect(), quote: dialect.quote, trim: options.trim };
    let newline = dialect.newline;
    Ok(start(spec, Kind::Csv(dialect, layout), nulls, decoded, head[used..].to_vec(), newline, 1 + lines))
}

pub(super) fn open_jsonl(spec: &Arc<Spec>, file: &RawFile, report: &mut Parsed) -> Result<Box<dyn PartRows>> {
    let mut decoded = bytes::open(&spec.name, file, None)?;
    let head = head(&mut decoded.read, &spec.name)?;
    let header = jsonl::header(&head);
    if header.is_empty()
        && let Some(got) = sniff::not_json(&head)
    {
        return Err(EngineError::WrongFormat { name: spec.name.clone(), got, promised: "JSON lines", begins: sniff::begins(&head) });
    }
    if report.header.is_empty() {
        report.header = header;
    }
    let names = spec.source.columns.iter().map(|(name, column)| column.from.clone().unwrap_or_else(|| name.clone())).collect();
    let nulls = Nulls { words: Vec::new(), quote: b'"', trim: false };
    Ok(start(spec, Kind::Jsonl(names), nulls, decoded, head, b'\n', 1))
}
