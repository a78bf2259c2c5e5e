//! On the terminal.

use async_trait::async_trait;
use std::sync::Arc;
use tidegate_core::{
    Failure,
    message::{Message, Rendered},
    seam::Notifier,
};

/// Writes the subject line and the text.
pub struct Console {
    write: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Console {
    /// `write` gets whole messages.
    pub fn new(write: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { write }
    }
}

#[async_trait]
impl Notifier for Console {
    async fn send(&self, _: &str, _: &Message, rendered: &Rendered) -> Result<(), Failure> {
        (self.write)(&format!("✉ {}", rendered.subject));
        Ok(())
    }
}
