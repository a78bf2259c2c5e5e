//! OTLP over HTTP, in batches, by the OpenTelemetry SDK.

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, TraceState, Tracer as _, TracerProvider as _},
};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use std::time::SystemTime;
use tidegate_core::seam::{Span, Traces};
use tokio::runtime::Handle;

/// A collector of spans.
pub struct Collector {
    provider: SdkTracerProvider,
}

/// Sends with the program's own HTTP client, on its own runtime: the SDK exports on a thread that has none.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    handle: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.handle.spawn(async move {
            let (head, body) = request.into_parts();
            let response = client.request(head.method, head.uri.to_string()).headers(head.headers).body(body).send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.bytes().await?))
        });
        let (status, body) = sent.await??;
        Ok(http::Response::builder().status(status).body(body)?)
    }
}

impl Collector {
    /// As OpenTelemetry's variables say.
    pub fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let client = Client { client: reqwest::Client::builder().build()?, handle: Handle::current() };
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build()?;
        let resource = Resource::builder().with_service_name("tidegate").build();
        Ok(Self { provider: SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build() })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // What is still in the batch goes out. The runtime's threads go on with the request meanwhile.
        let flush = || self.provider.shutdown();
        let _ = if Handle::try_current().is_ok() { tokio::task::block_in_place(flush) } else { flush() };
    }
}

fn time(at: jiff::Timestamp) -> SystemTime {
    SystemTime::from(at)
}

impl Traces for Collector {
    fn record(&self, trace: &str, spans: Vec<Span>) {
        let Ok(trace) = TraceId::from_hex(trace) else { return };
        let tracer = self.provider.tracer("tidegate");
        // The parent is the trace of the run's events, which no collector has: only its id matters.
        let parent = SpanContext::new(trace, SpanId::from(1), TraceFlags::SAMPLED, true, TraceState::default());
        let mut around = Context::new().with_remote_span_context(parent);
        let mut whole = None;
        for span in spans {
            let attributes = span.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
            let builder = tracer
                .span_builder(span.name)
                .with_kind(SpanKind::Internal)
                .with_start_time(time(span.started))
                .with_attributes(attributes);
            let mut made = tracer.build_with_context(builder, &around);
            if let Some(error) = span.error {
                made.set_status(Status::error(error));
            }
            if whole.is_none() {
                around = Context::new().with_remote_span_context(made.span_context().clone());
                whole = Some((made, span.finished));
            } else {
                made.end_with_timestamp(time(span.finished));
            }
        }
        if let Some((mut made, finished)) = whole {
            made.end_with_timestamp(time(finished));
        }
    }
}
