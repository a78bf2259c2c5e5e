use super::wait;
use crate::receivers::receiver as web_receiver;
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{Mutex, mpsc},
};
use tidegate_connectors::subscribers::WebhookSubscriber;
use tidegate_core::{pipeline::Webhook, seam::Receiver};
use tidegate_testkit::{
    conformance::{ReceiverCase, receiver},
    fakes::Taker,
};

/// A webhook that takes two deliveries and refuses the third.
struct Hook {
    url: String,
    received: Mutex<mpsc::Receiver<String>>,
}

#[async_trait]
impl ReceiverCase for Hook {
    fn receiver(&self) -> Box<dyn Receiver> {
        let spec = Webhook { url: self.url.clone(), secret: Some("s3cret".to_owned()), headers: BTreeMap::new() };
        Box::new(WebhookSubscriber::new(&spec).unwrap())
    }

    async fn received(&self) -> Vec<(String, String, String)> {
        let requests: Vec<String> = self.received.lock().unwrap().try_iter().collect();
        let header = |head: &str, name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let parts = requests.iter().map(|request| request.split_once("\r\n\r\n").unwrap());
        parts.map(|(head, body)| (header(head, "tidegate-delivery: "), header(head, "content-type: "), body.to_owned())).collect()
    }

    async fn refuse(&self) -> bool {
        true
    }

    fn secret(&self) -> Option<String> {
        Some(self.url.clone())
    }
}

struct Memory(Taker);

#[async_trait]
impl ReceiverCase for Memory {
    fn receiver(&self) -> Box<dyn Receiver> {
        Box::new(Taker { parcels: self.0.parcels.clone() })
    }

    async fn received(&self) -> Vec<(String, String, String)> {
        let taken = std::mem::take(&mut *self.0.parcels.lock().unwrap());
        taken.into_iter().map(|parcel| (parcel.id, parcel.content_type.to_owned(), parcel.body)).collect()
    }

    async fn refuse(&self) -> bool {
        false
    }

    fn secret(&self) -> Option<String> {
        None
    }
}

#[test]
fn webhook_is_a_receiver() {
    let (url, received) = web_receiver(vec![200, 200, 503]);
    wait(receiver(&Hook { url, received: Mutex::new(received) }));
}

#[test]
fn memory_is_a_receiver() {
    wait(receiver(&Memory(Taker::default())));
}
