//! Receivers: what is given arrives whole, under the same id each time, and a refusal is told without secrets.

use async_trait::async_trait;
use tidegate_core::{
    Class, Code,
    seam::{Parcel, Receiver},
};

/// A receiver under test, and the system behind it.
#[async_trait]
pub trait ReceiverCase: Send + Sync {
    /// The receiver as the next delivery would have it.
    fn receiver(&self) -> Box<dyn Receiver>;
    /// What arrived since the last call: id, media type, body.
    async fn received(&self) -> Vec<(String, String, String)>;
    /// Lets the system refuse from now on; `false` if it cannot.
    async fn refuse(&self) -> bool;
    /// What must not be in an error.
    fn secret(&self) -> Option<String>;
}

/// Gives, gives again, and meets a refusal.
pub async fn receiver(case: &dyn ReceiverCase) {
    let body = format!("[{{\"text\":\"∅ \\\"quoted\\\" <b>\",\"long\":\"{}\"}}]", "x".repeat(100_000));
    let parcel = Parcel { id: "p.copy.1-7".to_owned(), content_type: "application/cloudevents-batch+json", body };
    for turn in ["first", "again"] {
        if let Err(failure) = case.receiver().take(&parcel).await {
            panic!("the {turn} delivery failed: {failure:?}");
        }
        let received = case.received().await;
        assert_eq!(
            received,
            [(parcel.id.clone(), parcel.content_type.to_owned(), parcel.body.clone())],
            "the {turn} delivery arrives whole"
        );
    }
    if !case.refuse().await {
        return;
    }
    match case.receiver().take(&parcel).await {
        Ok(()) => panic!("a refused delivery must be an error"),
        Err(failure) => {
            assert_eq!((failure.code, failure.class()), (Code::TG601, Class::Transient), "{failure:?}");
            let told = format!("{failure:?}");
            assert!(case.secret().is_none_or(|secret| !told.contains(&secret)), "an error tells no secrets (INV-7): {told}");
        }
    }
}
