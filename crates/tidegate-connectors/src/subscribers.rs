//! Subscribers: webhooks that are given events as CloudEvents over HTTP.
//!
//! Structured and batched content modes of <https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md>,
//! signed like notifications.

use crate::notifiers::webhook::Posting;
use async_trait::async_trait;
use tidegate_core::{
    Code, Failure,
    pipeline::Webhook,
    seam::{Parcel, Receiver},
};

/// Posts to one address.
pub struct WebhookSubscriber(Posting);

impl WebhookSubscriber {
    /// From what the pipeline file says.
    pub fn new(spec: &Webhook) -> Result<Self, Failure> {
        Ok(Self(Posting::new(spec)?))
    }
}

#[async_trait]
impl Receiver for WebhookSubscriber {
    async fn take(&self, parcel: &Parcel) -> Result<(), Failure> {
        let failed = |why| Failure::new(Code::TG601, format!("a subscriber did not take what it was given: {why}"));
        self.0.post(&parcel.id, parcel.content_type, parcel.body.clone()).await.map_err(failed)
    }
}
