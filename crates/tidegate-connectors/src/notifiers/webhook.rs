//! JSON by HTTP POST, signed.
//!
//! The body is `{ "id", "subject", "text", "message" }`. `Tidegate-Delivery` repeats the id, by which a receiver knows a
//! repetition. With a secret, `Tidegate-Signature: t=SECONDS,v1=HEX` carries HMAC-SHA256 over `SECONDS.BODY`; a receiver
//! compares it in constant time and refuses old seconds.

use crate::sources::http::client;
use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::{
    Client,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use sha2::Sha256;
use std::{fmt::Write as _, time::Duration};
use tidegate_core::{
    Code, Failure,
    message::{Message, Rendered},
    pipeline::Webhook,
    seam::Notifier,
};

/// Posts to one address, signed.
pub(crate) struct Posting {
    spec: Webhook,
    headers: HeaderMap,
    client: Client,
}

impl Posting {
    pub(crate) fn new(spec: &Webhook) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in &spec.headers {
            let wrong = || Failure::new(Code::TG102, format!("the webhook's header `{name}` cannot be sent"));
            headers.insert(HeaderName::try_from(name).map_err(|_| wrong())?, HeaderValue::try_from(value).map_err(|_| wrong())?);
        }
        Ok(Self { spec: spec.clone(), headers, client: client(Duration::from_secs(30))? })
    }

    /// `Err` says why it was not taken, without the address.
    pub(crate) async fn post(&self, id: &str, content_type: &'static str, body: String) -> Result<(), String> {
        let mut headers = self.headers.clone();
        let mut set = |name: &'static str, value: String| HeaderValue::try_from(value).map(|value| headers.insert(name, value));
        let _ = set("tidegate-delivery", id.to_owned());
        if let Some(secret) = &self.spec.secret {
            let _ = set("tidegate-signature", signature(secret, Timestamp::now().as_second(), &body));
        }
        super::post(&self.client, &self.spec.url, headers, content_type, body).await
    }
}

/// Tells by webhook.
pub struct WebhookNotifier(Posting);

impl WebhookNotifier {
    /// From what the pipeline file says.
    pub fn new(spec: &Webhook) -> Result<Self, Failure> {
        Ok(Self(Posting::new(spec)?))
    }
}

/// The value of `Tidegate-Signature`.
pub fn signature(secret: &str, seconds: i64, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{seconds}.{body}").as_bytes());
    mac.finalize().into_bytes().iter().fold(format!("t={seconds},v1="), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[async_trait]
impl Notifier for WebhookNotifier {
    async fn send(&self, id: &str, message: &Message, rendered: &Rendered) -> Result<(), Failure> {
        let body = serde_json::json!({ "id": id, "subject": rendered.subject, "text": rendered.text, "message": message }).to_string();
        self.0.post(id, "application/json", body).await.map_err(|why| super::failed("webhook", &why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_hmac_sha256_over_time_and_body() {
        // Computed with: printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
        assert_eq!(signature("secret", 1_700_000_000, "{}"), include_str!("webhook/signature.txt").trim());
    }
}
