//! E-mail over SMTP, as plain text and HTML.

use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message as Mail, Tokio1Executor,
    message::{Mailbox, MultiPart},
    transport::smtp::authentication::Credentials,
};
use std::time::Duration;
use tidegate_core::{
    Code, Failure,
    message::{Message, Rendered},
    pipeline::{Email, SmtpTls},
    seam::Notifier,
};

type Smtp = AsyncSmtpTransport<Tokio1Executor>;

/// Sends through one SMTP server.
pub struct EmailNotifier {
    smtp: Smtp,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl EmailNotifier {
    /// From what the pipeline file says.
    pub fn new(spec: &Email) -> Result<Self, Failure> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = |text: &str| {
            text.parse::<Mailbox>().map_err(|error| Failure::new(Code::TG102, format!("`{text}` is not an e-mail address")).because(&error))
        };
        let server = |error: lettre::transport::smtp::Error| {
            Failure::new(Code::TG601, format!("the mail server `{}` cannot be used", spec.host)).because(&error)
        };
        let (builder, port) = match spec.tls {
            SmtpTls::Starttls => (Smtp::starttls_relay(&spec.host).map_err(server)?, 587),
            SmtpTls::Tls => (Smtp::relay(&spec.host).map_err(server)?, 465),
            SmtpTls::None => (Smtp::builder_dangerous(&spec.host), 25),
        };
        let mut builder = builder.port(spec.port.unwrap_or(port)).timeout(Some(Duration::from_secs(30)));
        if let (Some(username), Some(password)) = (&spec.username, &spec.password) {
            builder = builder.credentials(Credentials::new(username.clone(), password.clone()));
        }
        let to = spec.to.iter().filter(|to| !to.trim().is_empty()).map(|to| address(to)).collect::<Result<_, _>>()?;
        Ok(Self { smtp: builder.build(), from: address(&spec.from)?, to })
    }
}

#[async_trait]
impl Notifier for EmailNotifier {
    async fn send(&self, id: &str, _: &Message, rendered: &Rendered) -> Result<(), Failure> {
        let failed = || Failure::new(Code::TG601, "the e-mail could not be delivered");
        // The same id for the same message: a mail program that gets it twice shows it once.
        let mut mail = Mail::builder().from(self.from.clone()).subject(&rendered.subject).message_id(Some(format!("<{id}@tidegate>")));
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        let body = MultiPart::alternative_plain_html(rendered.text.clone(), rendered.html.clone());
        let mail = mail.multipart(body).map_err(|error| failed().because(&error))?;
        self.smtp.send(mail).await.map_err(|error| failed().because(&error))?;
        Ok(())
    }
}
