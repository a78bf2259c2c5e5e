//! Webhooks that start runs: GitHub pushes, S3 events by SNS or EventBridge, anything that signs or has the secret.

use crate::{
    Shared, State, access,
    answer::{Answer, Result},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidegate_core::{Code, Failure, trigger::Trigger};

/// How old a signed request may be.
const AGE: Duration = Duration::from_secs(300);

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().route("/v1/hooks/{pipeline}", post(hook))
}

#[derive(Debug, Default, Deserialize)]
struct Params {
    token: Option<String>,
}

async fn hook(
    state: Shared,
    Path(name): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>)> {
    // Whether there is such a pipeline is nobody's business who cannot sign for it.
    let refused = || Answer::from(Failure::new(Code::TG701, "the request is not signed with the hook's secret"));
    let pipeline = state.service.pipeline(&name).ok_or_else(refused)?;
    let secret = pipeline
        .file
        .triggers
        .as_ref()
        .and_then(|triggers| triggers.webhook.as_ref())
        .map(|hook| hook.secret.clone())
        .ok_or_else(refused)?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let token = access::bearer(&headers).or(params.token.as_deref());
    let allowed = match (header("x-hub-signature-256"), header("tidegate-signature"), token) {
        (Some(signature), ..) => signature.strip_prefix("sha256=").is_some_and(|hex| signed(&secret, &body, hex)),
        (None, Some(signature), _) => signed_with_time(&secret, &body, signature),
        (None, None, Some(token)) => same(token.as_bytes(), secret.as_bytes()),
        (None, None, None) => false,
    };
    if !allowed {
        return Err(refused());
    }
    let said = match serde_json::from_slice::<Value>(&body) {
        Ok(body) if body["Type"] == "SubscriptionConfirmation" => {
            // Following an address that came with a request is for a person to decide.
            let address = body["SubscribeURL"].as_str().unwrap_or_default();
            tracing::warn!(pipeline = name, address, "SNS asks to confirm a subscription: open the address if you asked for it");
            return Ok((StatusCode::OK, Json(json!({ "started": false, "why": "a person confirms the subscription" }))));
        }
        Ok(body) => say(header("x-github-event"), &body),
        // GitHub can also send forms.
        Err(_) => say(header("x-github-event"), &Value::Null),
    };
    if header("x-github-event") == Some("ping") {
        return Ok((StatusCode::OK, Json(json!({ "started": false, "why": "a ping" }))));
    }
    state.service.ask(&name, &Trigger::Webhook { said: said.clone() }).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "started": true, "said": said }))))
}

/// What a request is about, in words.
fn say(github: Option<&str>, body: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").chars().take(200).collect::<String>();
    if let Some(event) = github {
        let repository = body["repository"]["full_name"].as_str().map(|_| format!(" of {}", text(&body["repository"]["full_name"])));
        return format!("GitHub {event}{}", repository.unwrap_or_default());
    }
    // SNS wraps what it carries as text.
    if body["Type"] == "Notification" {
        let inner = body["Message"].as_str().and_then(|message| serde_json::from_str::<Value>(message).ok());
        return inner
            .map_or_else(|| format!("SNS notification from {}", text(&body["TopicArn"])), |inner| format!("SNS: {}", say(None, &inner)));
    }
    if let Some(record) = body["Records"].get(0).filter(|record| record["eventSource"] == "aws:s3") {
        return format!(
            "S3 {} {}/{}",
            text(&record["eventName"]),
            text(&record["s3"]["bucket"]["name"]),
            text(&record["s3"]["object"]["key"])
        );
    }
    if body["source"] == "aws.s3" {
        return format!(
            "EventBridge {} {}/{}",
            text(&body["detail-type"]),
            text(&body["detail"]["bucket"]["name"]),
            text(&body["detail"]["object"]["key"])
        );
    }
    if body["specversion"].is_string() {
        return format!("CloudEvent {}", text(&body["type"]));
    }
    "a request".to_owned()
}

/// `t=SECONDS,v1=HEX` over `SECONDS.BODY`, not older than [`AGE`].
fn signed_with_time(secret: &str, body: &[u8], signature: &str) -> bool {
    let part = |name: &str| signature.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let (Some(seconds), Some(hex)) = (part("t"), part("v1")) else { return false };
    let Ok(at) = seconds.parse::<u64>() else { return false };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    now.abs_diff(at) <= AGE.as_secs() && signed(secret, &[seconds.as_bytes(), b".", body].concat(), hex)
}

/// HMAC-SHA256, compared in constant time.
fn signed(secret: &str, body: &[u8], hex: &str) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    mac.update(body);
    let signature: Option<Vec<u8>> = (0..hex.len() / 2).map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()).collect();
    signature.is_some_and(|signature| hex.len() == 64 && mac.verify_slice(&signature).is_ok())
}

/// Compares without telling by the time it takes how much is the same.
fn same(a: &[u8], b: &[u8]) -> bool {
    use sha2::Digest as _;
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(b.iter()).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_checked() {
        // Computed with: printf '{}' | openssl dgst -sha256 -hmac secret
        let hex = "77325902caca812dc259733aacd046b73817372c777b8d95b402647474516e13";
        assert!(signed("secret", b"{}", hex));
        assert!(!signed("secret", b"{ }", hex) && !signed("other", b"{}", hex) && !signed("secret", b"{}", &hex[..62]));
        assert!(!signed_with_time("secret", b"{}", &format!("t=1700000000,v1={hex}")), "too old");
        assert!(same(b"a", b"a") && !same(b"a", b"b"));
    }

    #[test]
    fn shapes_are_recognised() {
        let github = json!({ "repository": { "full_name": "nytimes/covid-19-data" } });
        assert_eq!(say(Some("push"), &github), "GitHub push of nytimes/covid-19-data");
        let s3 = json!({ "Records": [{ "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": { "bucket": { "name": "b" }, "object": { "key": "k.csv" } } }] });
        assert_eq!(say(None, &s3), "S3 ObjectCreated:Put b/k.csv");
        assert_eq!(say(None, &json!({ "Type": "Notification", "Message": s3.to_string() })), "SNS: S3 ObjectCreated:Put b/k.csv");
        let bridge = json!({ "source": "aws.s3", "detail-type": "Object Created", "detail": { "bucket": { "name": "b" }, "object": { "key": "k" } } });
        assert_eq!(say(None, &bridge), "EventBridge Object Created b/k");
        assert_eq!(say(None, &json!([1])), "a request");
    }
}
