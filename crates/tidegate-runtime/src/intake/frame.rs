//! Frames: what one push is on disk. `TG1 KEY LENGTH CHECKSUM\n` and the bytes as they came.

use crate::raw::hex;
use sha2::{Digest, Sha256};

/// By which a repeated key is known.
pub(super) type Key = [u8; 16];

/// One push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) key: Option<Key>,
    pub(super) body: &'a [u8],
}

/// The digest of an `Idempotency-Key`.
pub(super) fn digest(key: &str) -> Key {
    first_half(key.as_bytes())
}

fn first_half(bytes: &[u8]) -> Key {
    let digest = Sha256::digest(bytes);
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

/// Appends a frame to `out`.
pub(super) fn write(out: &mut Vec<u8>, key: Option<Key>, body: &[u8]) {
    let key = key.map_or_else(|| "-".to_owned(), |key| hex(&key));
    out.extend_from_slice(format!("TG1 {key} {} {}\n", body.len(), hex(&first_half(body))).as_bytes());
    out.extend_from_slice(body);
}

/// The frames of a segment, and how many of its bytes they are: what comes after was being written when a process died.
pub(super) fn read(segment: &[u8]) -> (Vec<Frame<'_>>, usize) {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some((frame, used)) = one(&segment[at..]) {
        frames.push(frame);
        at += used;
    }
    (frames, at)
}

fn one(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let end = bytes.iter().take(200).position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut words = head.split(' ');
    if words.next()? != "TG1" {
        return None;
    }
    let key = match words.next()? {
        "-" => None,
        text => Some(unhex(text)?),
    };
    let length: usize = words.next()?.parse().ok()?;
    let checksum = unhex(words.next()?)?;
    let body = bytes.get(end + 1..(end + 1).checked_add(length)?)?;
    (first_half(body) == checksum).then_some((Frame { key, body }, end + 1 + length))
}

fn unhex(text: &str) -> Option<Key> {
    let mut key = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}
