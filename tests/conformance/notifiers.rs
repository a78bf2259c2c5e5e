use super::wait;
use crate::receivers::{MailServer, receiver};
use async_trait::async_trait;
use std::sync::{Arc, Mutex, atomic::Ordering, mpsc};
use tidegate_connectors::{
    notifiers::{console::Console, email::EmailNotifier, slack::SlackNotifier, webhook::WebhookNotifier},
    render::sample,
};
use tidegate_core::{
    message::Message,
    pipeline::{self, Notify, Pipeline, load},
    seam::Notifier,
};
use tidegate_testkit::{
    conformance::{NotifierCase, notifier},
    fakes::{self, Mailbox, Recorder},
};

/// A pipeline with the notifier that the text describes.
fn pipeline(notify: &str) -> Pipeline {
    let text = format!("{}notify: [{notify}]\n", crate::commands::SMALL);
    let (file, locations) = load("p.yaml", &text, &|_| None).unwrap();
    Pipeline { file, path: "p.yaml".to_owned(), transform: None, locations, definition: String::new() }
}

fn message() -> Message {
    sample(&pipeline("{ console: {} }"))
}

/// How a notifier is made anew for each delivery.
type Make = Box<dyn Fn(&Notify) -> Box<dyn Notifier> + Send + Sync>;

/// A notifier that POSTs: its receiver takes two deliveries and refuses the third.
struct Posting {
    url: String,
    received: Mutex<mpsc::Receiver<String>>,
    spec: Notify,
    make: Make,
    carries_id: bool,
}

impl Posting {
    fn new(spec: impl Fn(&str) -> String, carries_id: bool, make: impl Fn(&Notify) -> Box<dyn Notifier> + Send + Sync + 'static) -> Self {
        let (url, received) = receiver(vec![200, 200, 503]);
        let spec = pipeline(&spec(&url)).file.notify.remove(0);
        Self { url, received: Mutex::new(received), spec, make: Box::new(make), carries_id }
    }
}

#[async_trait]
impl NotifierCase for Posting {
    fn notifier(&self) -> Box<dyn Notifier> {
        (self.make)(&self.spec)
    }

    async fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().try_iter().collect()
    }

    fn carries_id(&self) -> bool {
        self.carries_id
    }

    async fn refuse(&self) -> bool {
        true
    }

    fn secret(&self) -> Option<String> {
        Some(self.url.clone())
    }
}

struct Mail(Mutex<MailServer>);

#[async_trait]
impl NotifierCase for Mail {
    fn notifier(&self) -> Box<dyn Notifier> {
        let text = format!(
            "{{ email: {{ to: [a@example.org], from: t@example.org, host: 127.0.0.1, port: {}, tls: none }} }}",
            self.0.lock().unwrap().port
        );
        Box::new(EmailNotifier::new(pipeline(&text).file.notify[0].email.as_ref().unwrap()).unwrap())
    }

    async fn received(&self) -> Vec<String> {
        self.0.lock().unwrap().received.try_iter().collect()
    }

    fn carries_id(&self) -> bool {
        true
    }

    async fn refuse(&self) -> bool {
        self.0.lock().unwrap().refuses.store(true, Ordering::Relaxed);
        true
    }

    fn secret(&self) -> Option<String> {
        None
    }
}

struct Terminal(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl NotifierCase for Terminal {
    fn notifier(&self) -> Box<dyn Notifier> {
        let lines = Arc::clone(&self.0);
        Box::new(Console::new(Arc::new(move |line: &str| lines.lock().unwrap().push(line.to_owned()))))
    }

    async fn received(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn carries_id(&self) -> bool {
        false
    }

    async fn refuse(&self) -> bool {
        false
    }

    fn secret(&self) -> Option<String> {
        None
    }
}

struct Remembered(Mailbox);

#[async_trait]
impl NotifierCase for Remembered {
    fn notifier(&self) -> Box<dyn Notifier> {
        Box::new(Recorder { kind: "memory", mailbox: Arc::clone(&self.0) })
    }

    async fn received(&self) -> Vec<String> {
        fakes::take(&self.0).into_iter().map(|sent| format!("{} {}", sent.id, sent.rendered.subject)).collect()
    }

    fn carries_id(&self) -> bool {
        true
    }

    async fn refuse(&self) -> bool {
        false
    }

    fn secret(&self) -> Option<String> {
        None
    }
}

#[test]
fn webhook_is_a_notifier() {
    let spec = |url: &str| format!("{{ webhook: {{ url: {url:?}, secret: s3cret }} }}");
    let make = |spec: &Notify| -> Box<dyn Notifier> {
        let webhook: &pipeline::Webhook = spec.webhook.as_ref().unwrap();
        Box::new(WebhookNotifier::new(webhook).unwrap())
    };
    wait(notifier(&Posting::new(spec, true, make), &message()));
}

#[test]
fn slack_is_a_notifier() {
    let spec = |url: &str| format!("{{ slack: {{ url: {url:?} }} }}");
    let make = |spec: &Notify| -> Box<dyn Notifier> { Box::new(SlackNotifier::new(spec.slack.as_ref().unwrap()).unwrap()) };
    wait(notifier(&Posting::new(spec, false, make), &message()));
}

#[test]
fn email_is_a_notifier() {
    wait(notifier(&Mail(Mutex::new(MailServer::start())), &message()));
}

#[test]
fn console_is_a_notifier() {
    wait(notifier(&Terminal(Arc::default()), &message()));
}

#[test]
fn memory_is_a_notifier() {
    wait(notifier(&Remembered(Mailbox::default()), &message()));
}
