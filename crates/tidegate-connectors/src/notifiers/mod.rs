//! Ways to tell somebody.

pub mod console;
pub mod email;
pub mod slack;
pub mod webhook;

use reqwest::{Client, header::HeaderMap};
use tidegate_core::{Code, Failure};

/// A notification that was not taken.
fn failed(kind: &str, why: &str) -> Failure {
    Failure::new(Code::TG601, format!("the {kind} notification was not taken: {why}"))
}

/// POSTs; anything but 2xx is an error. The address is never repeated: it may be a secret (INV-7).
async fn post(client: &Client, url: &str, headers: HeaderMap, content_type: &'static str, body: String) -> Result<(), String> {
    let request = client.post(url).headers(headers).header("content-type", content_type).body(body);
    let response = request.send().await;
    match response.map(|response| response.status()) {
        Ok(status) if status.is_success() => Ok(()),
        Ok(status) => Err(format!("the answer was {status}")),
        Err(error) if error.is_timeout() => Err("no answer in time".to_owned()),
        Err(_) => Err("no connection".to_owned()),
    }
}
