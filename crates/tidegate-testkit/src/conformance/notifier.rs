//! Notifiers: what is said arrives, under the same id each time, and a refusal is told without secrets.

use async_trait::async_trait;
use tidegate_core::{
    Class, Code,
    message::{Message, Rendered},
    seam::Notifier,
};

/// A notifier under test and its receiver.
#[async_trait]
pub trait NotifierCase: Send + Sync {
    /// The notifier as the next delivery would have it.
    fn notifier(&self) -> Box<dyn Notifier>;
    /// What arrived since the last call, each as the text that a person or system gets.
    async fn received(&self) -> Vec<String>;
    /// Whether what arrives carries the delivery's id.
    fn carries_id(&self) -> bool;
    /// Lets the receiver refuse from now on; `false` if it cannot.
    async fn refuse(&self) -> bool;
    /// What must not be in an error.
    fn secret(&self) -> Option<String>;
}

/// Delivers, repeats, and meets a refusal.
pub async fn notifier(case: &dyn NotifierCase, message: &Message) {
    let rendered = Rendered {
        subject: "us_daily: +1 <b> & \"more\"".to_owned(),
        text: "a line\nanother: ∅ → 1\n".to_owned(),
        html: "<p>a line</p>".to_owned(),
    };
    for turn in ["first", "again"] {
        if let Err(failure) = case.notifier().send("p.1.published.0", message, &rendered).await {
            panic!("the {turn} delivery failed: {failure:?}");
        }
        let received = case.received().await;
        assert_eq!(received.len(), 1, "one delivery is one message: {received:?}");
        assert!(received[0].contains("us_daily: +1"), "the subject arrives: {received:?}");
        assert!(!case.carries_id() || received[0].contains("p.1.published.0"), "the {turn} delivery has its id: {received:?}");
    }
    if !case.refuse().await {
        return;
    }
    match case.notifier().send("p.1.published.0", message, &rendered).await {
        Ok(()) => panic!("a refused delivery must be an error"),
        Err(failure) => {
            assert_eq!((failure.code, failure.class()), (Code::TG601, Class::Transient), "{failure:?}");
            let told = format!("{failure:?}");
            assert!(case.secret().is_none_or(|secret| !told.contains(&secret)), "an error tells no secrets (INV-7): {told}");
        }
    }
}
