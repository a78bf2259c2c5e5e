//! How values of sensitive columns are hidden wherever they leave the table (INV-7).
//!
//! Without a key they are masked. With one they are sealed with AES-256-GCM, so that whoever has the key can read them again:
//! `tg1.KEY.TEXT`, where KEY names the key and TEXT is nonce, ciphertext and tag in base64 (URL alphabet, unpadded).
//!
//! The nonce is an HMAC of the value under a key of its own: the same value gives the same text, so that a repeated run
//! writes what it wrote before (INV-3) and a row in quarantine is recognised. It shows who can read two sealed values that
//! they are the same, and nothing else.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{fmt, fmt::Write as _, sync::Arc};

/// What every sealed value begins with.
const MARK: &str = "tg1.";
/// Bound to every sealed value, so that it cannot be passed off as something else.
const PURPOSE: &[u8] = b"tidegate sensitive value 1";
/// What stands for a value that is masked.
const MASKED: &str = "***";

/// Keys that seal values: the first seals, all of them open.
pub struct Seal(Vec<Key>);

struct Key {
    id: String,
    seal: LessSafeKey,
    nonce: hmac::Key,
    digest: hmac::Key,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl Key {
    /// Each use has a key of its own, derived from the one that was given.
    fn derive(secret: &[u8; 32]) -> Option<Self> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |purpose: &str| hmac::sign(&root, purpose.as_bytes());
        Some(Self {
            id: hex(&derived("tidegate name").as_ref()[..4]),
            seal: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, derived("tidegate seal").as_ref()).ok()?),
            nonce: hmac::Key::new(hmac::HMAC_SHA256, derived("tidegate nonce").as_ref()),
            digest: hmac::Key::new(hmac::HMAC_SHA256, derived("tidegate digest").as_ref()),
        })
    }

    fn close(&self, text: &str) -> Option<String> {
        let nonce = *hmac::sign(&self.nonce, text.as_bytes()).as_ref().first_chunk::<NONCE_LEN>()?;
        let mut sealed = text.as_bytes().to_vec();
        self.seal.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(PURPOSE), &mut sealed).ok()?;
        let whole = [nonce.as_slice(), &sealed].concat();
        Some(format!("{MARK}{}.{}", self.id, BASE64_URL_SAFE_NO_PAD.encode(whole)))
    }

    fn open(&self, sealed: &str) -> Option<String> {
        let mut whole = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let nonce = Nonce::assume_unique_for_key(*whole.first_chunk::<NONCE_LEN>()?);
        let text = self.seal.open_in_place(nonce, Aad::from(PURPOSE), whole.get_mut(NONCE_LEN..)?).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn key_of(line: &str) -> Option<[u8; 32]> {
    let line = line.trim();
    if line.len() == 64 {
        let digit = |at: usize| line.get(at..at + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok());
        let bytes: Option<Vec<u8>> = (0..64).step_by(2).map(digit).collect();
        return bytes?.try_into().ok();
    }
    base64::prelude::BASE64_STANDARD.decode(line).ok()?.try_into().ok()
}

impl Seal {
    /// From text with a key a line: 32 bytes in hexadecimal or base64. `Err` says which line is none; never what is in it.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let keys = lines.map(|(n, line)| {
            let key = key_of(line).as_ref().and_then(Key::derive);
            key.ok_or_else(|| format!("line {} is not a key: 32 bytes as 64 hexadecimal digits or in base64", n + 1))
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err("there is no key in it".to_owned()) } else { Ok(Self(keys)) }
    }

    /// Makes a key.
    pub fn new_key() -> Option<String> {
        let random: [u8; 32] = ring::rand::generate(&ring::rand::SystemRandom::new()).ok()?.expose();
        Some(hex(&random))
    }

    fn close(&self, text: &str) -> String {
        self.0.first().and_then(|key| key.close(text)).unwrap_or_else(|| MASKED.to_owned())
    }

    /// Opens every sealed value in a text; one whose key is not there stays as it is. With `json`, a sealed value that is a
    /// whole JSON string becomes the JSON value it was.
    pub fn reveal(&self, text: &str, json: bool) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(MARK) {
            let (before, sealed) = rest.split_at(at);
            let end = MARK.len()
                + sealed[MARK.len()..]
                    .find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
                    .unwrap_or(sealed.len() - MARK.len());
            let (sealed, after) = sealed.split_at(end);
            out.push_str(before);
            rest = after;
            let opened = sealed[MARK.len()..].split_once('.').and_then(|(id, body)| self.0.iter().find(|key| key.id == id)?.open(body));
            match opened {
                None => out.push_str(sealed),
                Some(value) if json && out.ends_with('"') && rest.starts_with('"') => {
                    out.pop();
                    rest = &rest[1..];
                    out.push_str(&value);
                }
                Some(value) => match serde_json::from_str(&value) {
                    Ok(Value::String(text)) => out.push_str(&text),
                    _ => out.push_str(&value),
                },
            }
        }
        out.push_str(rest);
        out
    }
}

/// The sensitive columns of a pipeline, and how their values are hidden.
#[derive(Debug, Clone, Default)]
pub struct Veil {
    columns: Vec<String>,
    seal: Option<Arc<Seal>>,
}

impl Veil {
    /// Over these columns; masks where there is no seal.
    pub fn new(columns: Vec<String>, seal: Option<Arc<Seal>>) -> Self {
        Self { columns, seal }
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    fn hidden(&self, value: &Value) -> Value {
        Value::from(self.seal.as_ref().map_or_else(|| MASKED.to_owned(), |seal| seal.close(&value.to_string())))
    }

    /// Hides the values of sensitive columns in a row.
    pub(crate) fn over(&self, mut row: Map<String, Value>) -> Map<String, Value> {
        for name in &self.columns {
            if let Some(value) = row.get_mut(name) {
                *value = self.hidden(value);
            }
        }
        row
    }

    /// Hides the text of a row in which something is sensitive; `of` says whose.
    pub(crate) fn over_text(&self, text: String, of: &str) -> String {
        match &self.seal {
            _ if self.columns.is_empty() => text,
            Some(seal) => seal.close(&Value::from(text).to_string()),
            None => format!("(masked: the {of} has sensitive columns)"),
        }
    }

    /// By which a row is recognised, if something in it is sensitive: under a key nobody can find the value by guessing.
    pub(crate) fn over_identity(&self, identity: String) -> String {
        match self.seal.as_ref().and_then(|seal| seal.0.first()) {
            _ if self.columns.is_empty() => identity,
            Some(key) => format!("hmac:{}", hex(hmac::sign(&key.digest, identity.as_bytes()).as_ref())),
            None => format!("sha256:{}", hex(&Sha256::digest(identity.as_bytes()))),
        }
    }

    /// Whether the values of this column are hidden.
    pub(crate) fn hides(&self, column: &str) -> bool {
        self.columns.iter().any(|hidden| hidden == column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const OTHER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn veil(keys: &str) -> (Veil, Arc<Seal>) {
        let seal = Arc::new(Seal::from_text(keys).unwrap());
        (Veil::new(vec!["email".to_owned()], Some(Arc::clone(&seal))), seal)
    }

    fn row(email: Value) -> Map<String, Value> {
        [("id".to_owned(), json!(1)), ("email".to_owned(), email)].into_iter().collect()
    }

    #[test]
    fn what_is_sealed_is_hidden_and_comes_back() {
        let (veil, seal) = veil(KEY);
        for email in [json!("a \"quoted\"\nname@example.org"), json!(12), Value::Null, json!("")] {
            let whole = Value::Object(veil.over(row(email.clone()))).to_string();
            assert!(whole.contains("\"tg1.") && !whole.contains("example"), "{whole}");
            assert_eq!(serde_json::from_str::<Value>(&seal.reveal(&whole, true)).unwrap(), Value::Object(row(email)));
        }
        let raw = veil.over_text("1,\"x, y\"".to_owned(), "source");
        assert_eq!(seal.reveal(&format!("row: {raw} end"), false), "row: 1,\"x, y\" end");
    }

    #[test]
    fn the_same_value_is_sealed_alike_and_another_is_not() {
        let (veil, _) = veil(KEY);
        let hide = |email: &str| veil.over(row(json!(email)))["email"].clone();
        assert_eq!(hide("a"), hide("a"));
        assert_ne!(hide("a"), hide("b"));
        assert_eq!(veil.over_identity("a".to_owned()), veil.over_identity("a".to_owned()));
    }

    #[test]
    fn who_has_another_key_reads_nothing_and_what_was_altered_is_not_believed() {
        let (veil, seal) = veil(KEY);
        let text = veil.over_text("secret".to_owned(), "source");
        let (_, stranger) = self::veil(&"ab".repeat(32));
        assert_eq!(stranger.reveal(&text, false), text);
        let altered = if text.ends_with('A') { format!("{}B", &text[..text.len() - 1]) } else { format!("{}A", &text[..text.len() - 1]) };
        assert_eq!(seal.reveal(&altered, false), altered);
        // A new key seals, and the old one still opens.
        let rotated = Seal::from_text(&format!("{}\n{KEY}\n", "cd".repeat(32))).unwrap();
        assert_eq!(rotated.reveal(&text, false), "secret");
    }

    #[test]
    fn keys_are_hexadecimal_or_base64() {
        assert_eq!(veil(KEY).0.over_identity("x".to_owned()), veil(OTHER).0.over_identity("x".to_owned()));
        assert_eq!(Seal::from_text("\nshort\n").unwrap_err(), "line 2 is not a key: 32 bytes as 64 hexadecimal digits or in base64");
        assert!(Seal::from_text(" \n").is_err());
        assert!(Seal::from_text(&Seal::new_key().unwrap()).is_ok());
    }

    #[test]
    fn without_a_key_values_are_masked() {
        let veil = Veil::new(vec!["email".to_owned()], None);
        assert_eq!(veil.over(row(json!("a")))["email"], json!("***"));
        assert_eq!(veil.over_text("a".to_owned(), "source"), "(masked: the source has sensitive columns)");
        assert!(veil.over_identity("a".to_owned()).starts_with("sha256:"));
    }
}
