//! Slack incoming webhooks: the subject as a bold line, the text as a code block.

use crate::sources::http::client;
use async_trait::async_trait;
use reqwest::{Client, header::HeaderMap};
use std::time::Duration;
use tidegate_core::{
    Failure,
    message::{Message, Rendered},
    pipeline::Slack,
    seam::Notifier,
};

/// Slack's limit for the text of a block is 3,000 characters.
const LONGEST: usize = 2900;

/// Posts to one channel.
pub struct SlackNotifier {
    url: String,
    client: Client,
}

impl SlackNotifier {
    /// From what the pipeline file says.
    pub fn new(spec: &Slack) -> Result<Self, Failure> {
        Ok(Self { url: spec.url.clone(), client: client(Duration::from_secs(30))? })
    }
}

/// The body in Slack's shape. `&`, `<` and `>` are the only characters Slack wants escaped.
pub fn body(rendered: &Rendered) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text: String = rendered.text.chars().take(LONGEST).collect();
    serde_json::json!({
        "text": escape(&rendered.subject),
        "blocks": [
            { "type": "section", "text": { "type": "mrkdwn", "text": format!("*{}*", escape(&rendered.subject)) } },
            { "type": "section", "text": { "type": "mrkdwn", "text": format!("```{}```", escape(text.trim_end())) } },
        ],
    })
    .to_string()
}

#[async_trait]
impl Notifier for SlackNotifier {
    async fn send(&self, _: &str, _: &Message, rendered: &Rendered) -> Result<(), Failure> {
        let posted = super::post(&self.client, &self.url, HeaderMap::new(), "application/json", body(rendered)).await;
        posted.map_err(|why| super::failed("Slack", &why))
    }
}
