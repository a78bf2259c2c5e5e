//! JSON lines: each line an object, its members found by the declared names.
//!
//! The values are written as text into an arena and typed by the same code as CSV cells: `"12"` and `12` are the same
//! number. A member that is absent or `null` has no value; a nested value is text in JSON notation.

use super::spans::{Span, Spans};
use memchr::memchr;
use serde_json::{Map, Value};
use tidegate_core::quarantine::Reason;

/// A block of JSON lines as spans over `arena`.
pub(super) struct Lines {
    pub(super) spans: Spans,
    pub(super) arena: Vec<u8>,
    pub(super) consumed: usize,
}

/// Reads the lines of `bytes`; `names` are the members' names, in the order of the declared columns.
pub(super) fn split(names: &[String], bytes: &[u8], complete: bool) -> Lines {
    let mut spans = Spans::new(names.len(), bytes.len() / 64, bytes.len());
    let mut arena = Vec::with_capacity(bytes.len());
    let mut at = 0;
    let mut line = 0;
    while at < bytes.len() {
        let end = match memchr(b'\n', &bytes[at..]) {
            Some(n) => at + n,
            None if complete => bytes.len(),
            None => break,
        };
        let text = bytes[at..end].trim_ascii();
        if !text.is_empty() {
            // The raw line is kept in the arena too, so that a rejected row can show it.
            let start = arena.len();
            arena.extend_from_slice(text);
            let raw_end = arena.len();
            let object = serde_json::from_slice::<Map<String, Value>>(text).ok();
            spans.begin_record();
            if let Some(object) = &object {
                for (column, name) in names.iter().enumerate() {
                    spans.set(column, cell(object.get(name), &mut arena));
                }
            }
            let bad = object.is_none().then_some((if std::str::from_utf8(text).is_ok() { Reason::Json } else { Reason::Encoding }, 0));
            spans.end_record(start, raw_end, line, bad);
        }
        line += 1;
        at = (end + 1).min(bytes.len());
    }
    spans.end_lines(line);
    Lines { spans, arena, consumed: at }
}

fn cell(value: Option<&Value>, arena: &mut Vec<u8>) -> Span {
    let start = arena.len();
    match value {
        None | Some(Value::Null) => return Span::NONE,
        Some(Value::String(text)) => arena.extend_from_slice(text.as_bytes()),
        Some(other) => arena.extend_from_slice(other.to_string().as_bytes()),
    }
    // As if quoted: an empty JSON string is an empty text, not "no value".
    Span::quoted(start, arena.len(), false)
}

/// The member names of the first object, for the record of what the file looked like.
pub(super) fn header(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|b| *b == b'\n')
        .find_map(|line| serde_json::from_slice::<Map<String, Value>>(line.trim_ascii()).ok())
        .map(|object| object.keys().cloned().collect())
        .unwrap_or_default()
}
