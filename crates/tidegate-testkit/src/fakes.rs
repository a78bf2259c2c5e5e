//! Ends of the world that live in memory: for `tidegate test`, and for tests of what stands between them. They pass the
//! same [`conformance`](crate::conformance) suites as the real ones.

use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};
use tidegate_core::{
    Failure,
    message::{Message, Rendered},
    seam::{Fetched, Glance, Landing, Notifier, Parcel, Receiver, Source, Validators},
};

/// A source that gives what it is given.
pub struct MemorySource {
    /// What is published now; none if nothing ever was.
    pub bytes: Option<Vec<u8>>,
}

#[async_trait]
impl Source for MemorySource {
    async fn fetch(&self, _: &Validators, landing: &mut dyn Landing) -> Result<Fetched, Failure> {
        let Some(bytes) = &self.bytes else { return Ok(Fetched::Missing { said: "nothing is published in this test yet".to_owned() }) };
        landing.begin("test", Some(bytes.len() as u64)).await?;
        landing.write(bytes).await?;
        Ok(Fetched::Landed { validators: Validators::default(), published_at: None })
    }

    async fn glance(&self, _: &Validators) -> Result<Glance, Failure> {
        Ok(match &self.bytes {
            Some(_) => Glance::New(Validators::default()),
            None => Glance::Missing { said: "nothing is published in this test yet".to_owned() },
        })
    }
}

/// A message as it would have gone out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The notifier's kind.
    pub kind: String,
    /// By which the receiver knows a repetition.
    pub id: String,
    /// What would be read.
    pub rendered: Rendered,
}

/// Where recorded messages lie.
pub type Mailbox = Arc<Mutex<Vec<Sent>>>;

/// Takes what lies in a mailbox.
pub fn take(mailbox: &Mailbox) -> Vec<Sent> {
    std::mem::take(&mut mailbox.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A notifier that only remembers.
pub struct Recorder {
    /// What it stands for.
    pub kind: &'static str,
    /// Where it remembers.
    pub mailbox: Mailbox,
}

#[async_trait]
impl Notifier for Recorder {
    async fn send(&self, id: &str, _: &Message, rendered: &Rendered) -> Result<(), Failure> {
        let sent = Sent { kind: self.kind.to_owned(), id: id.to_owned(), rendered: rendered.clone() };
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        Ok(())
    }
}

/// A subscriber that takes everything and remembers it.
#[derive(Debug, Default)]
pub struct Taker {
    /// What it took.
    pub parcels: Arc<Mutex<Vec<Parcel>>>,
}

#[async_trait]
impl Receiver for Taker {
    async fn take(&self, parcel: &Parcel) -> Result<(), Failure> {
        self.parcels.lock().unwrap_or_else(PoisonError::into_inner).push(parcel.clone());
        Ok(())
    }
}
