//! Files on the web.
//!
//! A fetch is one conditional GET: `If-None-Match` with the last `ETag`, `If-Modified-Since` with the last
//! `Last-Modified`; what neither tells is told by the content's hash, in the raw store. A transfer that breaks off is
//! never handed over: it is repeated from the start, with exponential backoff, and waits as long as `Retry-After` asks.

use async_trait::async_trait;
use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER},
    redirect::Policy,
};
use std::time::Duration;
use tidegate_core::{
    Class, Code, Failure, pipeline,
    retry::backoff,
    seam::{Fetched, Glance, Landing, Source, Validators},
};

/// Longest wait that a `Retry-After` may ask for within a run.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// A file on the web.
pub struct HttpSource {
    name: String,
    url: Url,
    headers: HeaderMap,
    client: Client,
    tries: u32,
}

/// An HTTP client with our bounds.
pub(crate) fn client(timeout: Duration) -> Result<Client, Failure> {
    // Two cryptography providers may be linked in; one of them has to be named. An error means that it was, before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::limited(10))
        .connect_timeout(timeout)
        .read_timeout(timeout)
        .referer(false)
        .build()
        .map_err(|error| Failure::new(Code::TG901, "the HTTP client cannot be built").because(&error))
}

/// The address without what may be secret in it.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if url.query().is_some() {
        url.set_query(Some("…"));
    }
    url.to_string().replace("%E2%80%A6", "…")
}

/// How a publisher answers.
enum Answer {
    Same,
    Missing(String),
    Body(Response),
}

fn validators(response: &Response) -> Validators {
    let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    Validators { etag: header(ETAG), last_modified: header(LAST_MODIFIED) }
}

impl HttpSource {
    /// From what the pipeline file says.
    pub fn new(name: &str, spec: &pipeline::HttpSource, tries: u32) -> Result<Self, Failure> {
        Self::with_client(name, spec, tries, client(spec.timeout.0)?)
    }

    /// The same with a client that others share, and its connections with it.
    pub fn with_client(name: &str, spec: &pipeline::HttpSource, tries: u32, client: Client) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::new(Code::TG102, format!("source `{name}`: {what}"));
        let url = Url::parse(&spec.url).map_err(|error| wrong("the address is not valid").because(&error))?;
        let mut headers = HeaderMap::new();
        for (header, value) in &spec.headers {
            let header_name = HeaderName::try_from(header).map_err(|_| wrong(&format!("`{header}` cannot be the name of a header")))?;
            let mut value =
                HeaderValue::try_from(value).map_err(|_| wrong(&format!("the header `{header}` has a value that cannot be sent")))?;
            value.set_sensitive(true);
            headers.insert(header_name, value);
        }
        Ok(Self { name: name.to_owned(), url, headers, client, tries })
    }

    fn unreachable(&self, what: &str, error: &reqwest::Error) -> Failure {
        // The library's own text repeats the address with its query.
        let mut failure = Failure::new(Code::TG201, format!("source `{}`: {what}", self.name)).detail("address", shown(&self.url));
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
        while let Some(error) = cause {
            failure.causes.push(error.to_string());
            cause = error.source();
        }
        failure.hint("`--mirror DIR` reads a local copy instead, for machines that cannot reach the publisher")
    }

    /// Asks for the file, unless it is what is known already.
    async fn ask(&self, known: &Validators) -> Result<Answer, Trouble> {
        let mut request = self.client.get(self.url.clone()).headers(self.headers.clone());
        if let Some(etag) = &known.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(moment) = &known.last_modified {
            request = request.header(IF_MODIFIED_SINCE, moment);
        }
        let response = request.send().await.map_err(|error| self.unreachable(reason(&error), &error))?;
        match response.status() {
            StatusCode::NOT_MODIFIED => Ok(Answer::Same),
            status @ (StatusCode::NOT_FOUND | StatusCode::GONE) => {
                Ok(Answer::Missing(format!("{} from {}", say(status), shown(&self.url))))
            }
            status if status.is_success() => Ok(Answer::Body(response)),
            status => Err(self.refused(status, &response)),
        }
    }

    async fn once(&self, known: &Validators, landing: &mut dyn Landing) -> Result<Fetched, Trouble> {
        match self.ask(known).await? {
            Answer::Same => Ok(Fetched::NotModified),
            Answer::Missing(said) => Ok(Fetched::Missing { said }),
            Answer::Body(response) => self.body(response, landing).await,
        }
    }

    async fn body(&self, mut response: Response, landing: &mut dyn Landing) -> Result<Fetched, Trouble> {
        let validators = validators(&response);
        let published_at = validators.last_modified.as_deref().and_then(|text| rfc2822::parse(text).ok()).map(|moment| moment.timestamp());
        let name = self.url.path_segments().and_then(|mut parts| parts.next_back()).filter(|name| !name.is_empty()).unwrap_or("data");
        landing.begin(name, response.content_length()).await?;
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable("the transfer broke off", &error))? {
            landing.write(&chunk).await?;
        }
        Ok(Fetched::Landed { validators, published_at })
    }

    fn refused(&self, status: StatusCode, response: &Response) -> Trouble {
        let again = status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let code = if again { Code::TG201 } else { Code::TG202 };
        let mut failure = Failure::new(code, format!("source `{}`: the publisher answers {}", self.name, say(status)))
            .detail("address", shown(&self.url));
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            failure = failure.hint("if a key is needed, send it with `http: { headers: { … } }`");
        }
        Trouble { failure, wait: response.headers().get(RETRY_AFTER).and_then(retry_after) }
    }
}

fn say(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("(unknown)"))
}

fn reason(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else if error.is_redirect() {
        "too many redirects"
    } else {
        "the request failed"
    }
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let seconds = text.parse::<u64>().ok().or_else(|| {
        let until = rfc2822::parse(text).ok()?.timestamp();
        u64::try_from(until.as_second() - Timestamp::now().as_second()).ok()
    })?;
    Some(Duration::from_secs(seconds))
}

/// A failed try, and how long the publisher wants us to wait.
struct Trouble {
    failure: Failure,
    wait: Option<Duration>,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self { failure, wait: None }
    }
}

#[async_trait]
impl Source for HttpSource {
    async fn fetch(&self, known: &Validators, landing: &mut dyn Landing) -> Result<Fetched, Failure> {
        let mut tried = 1;
        loop {
            let trouble = match self.once(known, landing).await {
                Ok(fetched) => return Ok(fetched),
                Err(trouble) => trouble,
            };
            let wait = trouble.wait.unwrap_or_else(|| backoff(tried + 1, jitter()));
            if trouble.failure.class() != Class::Transient || tried >= self.tries || wait > LONGEST_WAIT {
                return Err(trouble.failure.detail("tries", tried.to_string()));
            }
            tracing::info!(
                source = self.name,
                tried,
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "{}; trying again",
                trouble.failure
            );
            landing.restart().await?;
            tokio::time::sleep(wait).await;
            tried += 1;
        }
    }

    async fn glance(&self, known: &Validators) -> Result<Glance, Failure> {
        // Once: whoever glances comes again. A body that comes with the answer is not read.
        match self.ask(known).await.map_err(|trouble| trouble.failure)? {
            Answer::Same => Ok(Glance::Same),
            Answer::Missing(said) => Ok(Glance::Missing { said }),
            Answer::Body(response) => Ok(Glance::New(validators(&response))),
        }
    }
}

/// Spreads retries of many clients; need not be random, only different.
fn jitter() -> f64 {
    f64::from(Timestamp::now().subsec_nanosecond().unsigned_abs() % 1_000_000) / 1_000_000.0
}

#[cfg(test)]
mod tests;
