//! Looking at the first bytes of a file: what kind of file it is.

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
