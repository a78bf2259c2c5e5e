//! Who is told about which runs, and how.

use crate::filter::Policy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One notifier; exactly one of `console`, `email`, `webhook`, `slack` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// On the terminal that runs the pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<Console>,
    /// By e-mail over SMTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// As JSON by HTTP POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// To a Slack incoming webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<Slack>,
    /// Which runs: a filter policy over the message's attributes. Without it, every run that published, was held or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Policy>,
    /// Own wording instead of the built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

/// The terminal; it has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Console {}

/// E-mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// Recipients. Empty ones are dropped, so that `${MAIL_TO:}` can leave the notifier without any: it is then off.
    pub to: Vec<String>,
    /// Sender.
    #[serde(default = "default_sender")]
    pub from: String,
    /// The SMTP server.
    #[serde(default = "default_host")]
    pub host: String,
    /// Its port (default: 587 for `starttls`, 465 for `tls`, 25 for `none`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How the connection is secured.
    #[serde(default)]
    pub tls: SmtpTls,
    /// User name, if the server asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password; write it as `${SMTP_PASSWORD}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

fn default_sender() -> String {
    "Tidegate <tidegate@localhost>".to_owned()
}

fn default_host() -> String {
    "localhost".to_owned()
}

/// How an SMTP connection is secured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// Plain at first, then TLS; refused if the server does not offer it.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Not at all: for a server on this machine.
    None,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to POST.
    pub url: String,
    /// Shared secret; with it, `Tidegate-Signature: t=UNIX_SECONDS,v1=HEX` carries the HMAC-SHA256 of `UNIX_SECONDS.BODY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Headers to send.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// A Slack incoming webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// The address Slack gave; it is a secret, so write it as `${SLACK_URL}`.
    pub url: String,
}

/// Own wording, in Jinja syntax, over the message (see `docs/guide/notifications.md` for its fields).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Subject, or first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// HTML; values are escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
}

impl Notify {
    /// The kind that was given.
    pub fn kind(&self) -> &'static str {
        match self {
            Self { console: Some(_), .. } => "console",
            Self { email: Some(_), .. } => "email",
            Self { webhook: Some(_), .. } => "webhook",
            Self { slack: Some(_), .. } => "slack",
            _ => "nothing",
        }
    }

    /// Whether anybody would be told.
    pub fn is_on(&self) -> bool {
        self.email.as_ref().is_none_or(|email| email.to.iter().any(|to| !to.trim().is_empty()))
            && self.slack.as_ref().is_none_or(|slack| !slack.url.is_empty())
            && self.webhook.as_ref().is_none_or(|webhook| !webhook.url.is_empty())
    }
}
