//! Ways to tell somebody.

pub mod console;
pub mod email;
pub mod slack;
pub mod webhook;

use reqwest::{Client, header::HeaderMap};
use tidegate_core::{Code, Failure};

/// POSTs JSON; anything but 2xx is an error. The address is never repeated: it may be a secret (INV-7).
async fn post(client: &Client, kind: &str, url: &str, headers: HeaderMap, body: String) -> Result<(), Failure> {
    let failed = |why: String| Failure::new(Code::TG601, format!("the {kind} notification was not taken: {why}"));
    let request = client.post(url).headers(headers).header("content-type", "application/json").body(body);
    let response = request
        .send()
        .await
        .map_err(|error| failed(if error.is_timeout() { "no answer in time".to_owned() } else { "no connection".to_owned() }))?;
    match response.status() {
        status if status.is_success() => Ok(()),
        status => Err(failed(format!("the answer was {status}"))),
    }
}
