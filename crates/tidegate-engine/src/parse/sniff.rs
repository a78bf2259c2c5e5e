//! Looking at the first bytes of a file: what kind of file it is, and, for `init`, what its columns are.

use super::{
    cells,
    csv::{self, Dialect},
};
use tidegate_core::pipeline::ColumnType;

/// The byte of an ASCII character; validation has made sure that it is one.
pub(super) fn ascii(c: char) -> u8 {
    u8::try_from(c).unwrap_or(b',')
}

/// `\r` for a file that has no `\n` at all, as old Macintosh files; `\n` otherwise.
pub(super) fn newline(head: &[u8]) -> u8 {
    if memchr::memchr(b'\n', head).is_none() && memchr::memchr(b'\r', head).is_some_and(|at| at + 1 < head.len()) { b'\r' } else { b'\n' }
}

/// Where the table begins after `lines` lines of something else.
pub(super) fn skip_lines(head: &[u8], newline: u8, lines: usize) -> usize {
    if lines == 0 {
        return 0;
    }
    memchr::memchr_iter(newline, head).nth(lines - 1).map_or(head.len(), |at| at + 1)
}

/// The first line, shortened, for error messages.
pub(super) fn begins(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(&head[..head.len().min(400)]).into_owned();
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect()
}

/// What the bytes plainly are, if they are not CSV.
pub(super) fn not_csv(head: &[u8]) -> Option<&'static str> {
    let text = head.trim_ascii_start();
    match text.first() {
        Some(b'{' | b'[') => Some("JSON"),
        _ => markup(text),
    }
}

/// What the bytes plainly are, if they are not JSON.
pub(super) fn not_json(head: &[u8]) -> Option<&'static str> {
    let text = head.trim_ascii_start();
    match text.first() {
        Some(b'{') | None => None,
        Some(b'[') => Some("a JSON array"),
        _ => markup(text).or(Some("something else")),
    }
}

fn markup(text: &[u8]) -> Option<&'static str> {
    let head = String::from_utf8_lossy(&text[..text.len().min(1024)]).to_lowercase();
    if head.starts_with("<!doctype html") || head.starts_with("<html") {
        Some("an HTML page")
    } else if head.starts_with("<?xml") {
        Some("XML")
    } else if head.starts_with('<') {
        Some("markup")
    } else if text.starts_with(b"PAR1") {
        Some("Parquet")
    } else if text.starts_with(b"PK\x03\x04") {
        Some("a ZIP archive")
    } else if text.starts_with(b"%PDF") {
        Some("a PDF")
    } else {
        None
    }
}

/// What a CSV file looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    /// The delimiter that gives the most even rows.
    pub delimiter: char,
    /// Column names and the narrowest type that all looked-at cells have, and whether no cell was empty.
    pub columns: Vec<(String, ColumnType, bool)>,
    /// Columns that could be the key: the shortest list of leading columns without repetition among the rows looked at.
    pub key: Vec<String>,
    /// Rows looked at.
    pub rows: usize,
}

/// Guesses from the first bytes of a CSV file. For `tidegate init`: a person sees and can correct what was guessed.
pub fn guess(head: &[u8], whole: bool) -> Option<Guess> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let newline = newline(head);
    let head = if whole { head } else { &head[..=memchr::memrchr(newline, head)?] };
    let best = [b',', b';', b'\t', b'|']
        .into_iter()
        .map(|delimiter| {
            let rows = records(&Dialect { delimiter, quote: b'"', newline }, head);
            let width = rows.first().map_or(0, Vec::len);
            let even = rows.iter().filter(|row| row.len() == width).count();
            (if width > 1 { even * 1000 / rows.len().max(1) + width } else { 0 }, delimiter, rows)
        })
        .max_by_key(|(score, delimiter, _)| (*score, u8::MAX - delimiter))?;
    let (_, delimiter, mut rows) = best;
    let names = if rows.is_empty() { return None } else { rows.remove(0) };
    rows.retain(|row| row.len() == names.len());
    let columns = names.iter().enumerate().map(|(i, name)| {
        let cells: Vec<&str> = rows.iter().map(|row| row[i].as_str()).filter(|cell| !cell.is_empty()).collect();
        (name.clone(), narrowest(&cells), cells.len() == rows.len() && !rows.is_empty())
    });
    let columns: Vec<_> = columns.collect();
    let key = key(&columns, &rows);
    Some(Guess { delimiter: char::from(delimiter), columns, key, rows: rows.len() })
}

fn records(dialect: &Dialect, mut head: &[u8]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    while !head.trim_ascii().is_empty() && rows.len() < 5000 {
        let (row, used) = csv::first_record(dialect, head);
        rows.push(row);
        head = &head[used.max(1).min(head.len())..];
    }
    rows
}

fn narrowest(cells: &[&str]) -> ColumnType {
    let all = |fits: &dyn Fn(&[u8]) -> bool| !cells.is_empty() && cells.iter().all(|cell| fits(cell.as_bytes()));
    // Digits with leading zeros are codes, not numbers: `01001` is a county.
    let coded = cells.iter().any(|cell| cell.len() > 1 && cell.starts_with('0') && cell.bytes().all(|b| b.is_ascii_digit()));
    if all(&|cell| cells::date(cell, &[]).is_some()) {
        ColumnType::Date
    } else if !coded && all(&|cell| cells::int64(cell).is_some()) {
        ColumnType::Int64
    } else if !coded && all(&|cell| cells::float64(cell).is_some()) {
        ColumnType::Float64
    } else if all(&|cell| matches!(cell.to_ascii_lowercase().as_slice(), b"true" | b"false")) {
        ColumnType::Bool
    } else if all(&|cell| cells::timestamp(cell, &[]).is_some()) {
        ColumnType::Timestamp
    } else {
        ColumnType::String
    }
}

/// Full columns that are no measures, taken from the left until no two rows agree in them.
fn key(columns: &[(String, ColumnType, bool)], rows: &[Vec<String>]) -> Vec<String> {
    let mut chosen: Vec<usize> = Vec::new();
    for (i, (_, kind, full)) in columns.iter().enumerate() {
        if !full || *kind == ColumnType::Float64 {
            continue;
        }
        chosen.push(i);
        let mut seen = std::collections::BTreeSet::new();
        if rows.iter().all(|row| seen.insert(chosen.iter().map(|i| row[*i].as_str()).collect::<Vec<_>>())) {
            return chosen.into_iter().map(|i| columns[i].0.clone()).collect();
        }
        if chosen.len() == 4 {
            break;
        }
    }
    Vec::new()
}
