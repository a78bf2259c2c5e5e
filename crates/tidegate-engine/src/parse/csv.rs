//! CSV: RFC 4180 and what the world makes of it.
//!
//! A block of bytes becomes spans, one for each declared column of each record; nothing is copied. A malformed record costs its own
//! line and no other: an unclosed quote does not swallow the rest of the file.

use super::{
    marks::Marks,
    spans::{Span, Spans},
};
use memchr::memchr;
use tidegate_core::quarantine::Reason;

/// How the cells of a file are found.
#[derive(Debug, Clone)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    /// `\n`, or `\r` in files that have nothing else.
    pub(super) newline: u8,
}

/// Which cell of a record goes to which declared column.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// For each cell of the file, the declared column it fills.
    pub(super) columns: Vec<Option<usize>>,
    /// How many columns are declared.
    pub(super) declared: usize,
}

/// How one cell ended.
enum Cell {
    /// The cell, and where the next one begins; `true` if it was the last of its record.
    Ended(Span, usize, bool),
    /// A quote that is not closed in the bytes given.
    Open,
    /// Text after a closing quote.
    Garbage,
}

/// Splits `bytes` into records. Returns the spans and the number of bytes consumed.
pub(super) fn split(dialect: &Dialect, layout: &Layout, bytes: &[u8], complete: bool) -> (Spans, usize) {
    let mut out = Spans::new(layout.declared, bytes.len() / 32, bytes.len());
    let mut marks = Marks::new(bytes, [dialect.delimiter, dialect.newline]);
    let mut at = 0;
    let mut line = 0;
    while at < bytes.len() {
        let start = at;
        if let Some(after) = blank(dialect, bytes, at) {
            at = after;
            line += 1;
            continue;
        }
        out.begin_record();
        let mut cells = 0;
        let mut plain = true;
        let bad = loop {
            match cell(dialect, bytes, at, &mut marks) {
                Cell::Ended(span, next, last) => {
                    plain &= !span.is_quoted();
                    if let Some(Some(column)) = layout.columns.get(cells) {
                        out.set(*column, span);
                    }
                    cells += 1;
                    at = next;
                    if last {
                        break (cells != layout.columns.len()).then_some(Reason::Ragged);
                    }
                }
                Cell::Open if !complete => {
                    out.end_lines(line);
                    out.undo_record();
                    return (out, start);
                }
                Cell::Open | Cell::Garbage => {
                    // The mistake costs this one line: what follows may well be good.
                    at = memchr(dialect.newline, &bytes[start..]).map_or(bytes.len(), |n| start + n + 1);
                    marks.go_to(at);
                    break Some(Reason::Quote);
                }
            }
        };
        out.end_record(start, trim_end(dialect, bytes, start, at), line, bad.map(|reason| (reason, cells)));
        // Only a quoted cell has line ends in it.
        line += if plain { u64::from(bytes[at - 1] == dialect.newline) } else { newlines(dialect, &bytes[start..at]) };
    }
    out.end_lines(line);
    (out, at)
}

fn newlines(dialect: &Dialect, bytes: &[u8]) -> u64 {
    memchr::memchr_iter(dialect.newline, bytes).count() as u64
}

/// Where a blank line at `at` ends, if there is one.
fn blank(dialect: &Dialect, bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest[0] == dialect.newline {
        Some(at + 1)
    } else if rest == b"\r" || rest.starts_with(b"\r\n") {
        Some(at + rest.len().min(2))
    } else {
        None
    }
}

#[inline]
fn cell(dialect: &Dialect, bytes: &[u8], at: usize, marks: &mut Marks<'_>) -> Cell {
    if bytes.get(at) == Some(&dialect.quote) {
        return quoted(dialect, bytes, at);
    }
    let (end, next, last) = match marks.next(at) {
        Some(end) => (end, end + 1, bytes[end] != dialect.delimiter),
        None => (bytes.len(), bytes.len(), true),
    };
    let end = if last && end > at && bytes[end - 1] == b'\r' { end - 1 } else { end };
    Cell::Ended(Span::plain(at, end), next, last)
}

fn quoted(dialect: &Dialect, bytes: &[u8], at: usize) -> Cell {
    let begin = at + 1;
    let mut search = begin;
    let mut escaped = false;
    let close = loop {
        let Some(n) = memchr(dialect.quote, &bytes[search..]) else { return Cell::Open };
        let quote = search + n;
        if bytes.get(quote + 1) == Some(&dialect.quote) {
            escaped = true;
            search = quote + 2;
        } else {
            break quote;
        }
    };
    let span = Span::quoted(begin, close, escaped);
    match &bytes[close + 1..] {
        [] => Cell::Ended(span, close + 1, true),
        [b, ..] if *b == dialect.delimiter => Cell::Ended(span, close + 2, false),
        [b, ..] if *b == dialect.newline => Cell::Ended(span, close + 2, true),
        [b'\r'] => Cell::Ended(span, close + 2, true),
        [b'\r', b'\n', ..] => Cell::Ended(span, close + 3, true),
        _ => Cell::Garbage,
    }
}

/// The end of a record without its line end.
fn trim_end(dialect: &Dialect, bytes: &[u8], start: usize, end: usize) -> usize {
    let mut end = end.min(bytes.len());
    if end > start && bytes[end - 1] == dialect.newline {
        end -= 1;
    }
    if end > start && bytes[end - 1] == b'\r' {
        end -= 1;
    }
    end
}

/// The cells of the record at the start of `bytes`, as text, and where the next record begins. For the header.
pub(super) fn first_record(dialect: &Dialect, bytes: &[u8]) -> (Vec<String>, usize) {
    let mut at = 0;
    while at < bytes.len() {
        match blank(dialect, bytes, at) {
            Some(after) => at = after,
            None => break,
        }
    }
    let mut names = Vec::new();
    let mut marks = Marks::new(bytes, [dialect.delimiter, dialect.newline]);
    while at < bytes.len() || names.is_empty() {
        match cell(dialect, bytes, at, &mut marks) {
            Cell::Ended(span, next, last) => {
                let raw = String::from_utf8_lossy(span.bytes(bytes)).into_owned();
                let doubled = [char::from(dialect.quote); 2].iter().collect::<String>();
                names.push(if span.is_escaped() { raw.replace(&doubled, &doubled[..1]) } else { raw });
                at = next;
                if last {
                    break;
                }
            }
            Cell::Open | Cell::Garbage => {
                let end = memchr(dialect.newline, &bytes[at..]).map_or(bytes.len(), |n| at + n + 1);
                names.push(String::from_utf8_lossy(&bytes[at..end]).trim_end().to_owned());
                at = end;
                break;
            }
        }
    }
    (names, at)
}
