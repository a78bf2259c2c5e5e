//! Spans of runs, as an OpenTelemetry collector gets them. Only in builds with the feature `otlp`.

use crate::{commands::SMALL, environment::Environment};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
    thread,
    time::Duration,
};

/// A collector that takes one batch: its address, and what it got.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (send, received) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 1 << 16];
        while let Ok(n) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..n]);
            if n == 0 {
                break;
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let _ = send.send(bytes);
    });
    (url, received)
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[test]
fn the_spans_of_a_run_are_in_the_trace_of_its_events() {
    let (url, received) = collector();
    let mut environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL);
    environment.write("in.csv", "id,n\n1,1\n");
    environment.set("OTEL_EXPORTER_OTLP_ENDPOINT", &url);
    environment.expect(0, &["run", "small"]);
    let sent = received.recv_timeout(Duration::from_secs(20)).unwrap();
    let head = String::from_utf8_lossy(&sent);
    assert!(head.starts_with("POST /v1/traces") && head.to_lowercase().contains("application/x-protobuf"), "{head}");
    for name in ["run", "extract", "prepare", "commit", "follow", "tidegate.outcome", "published"] {
        assert!(contains(&sent, name.as_bytes()), "no `{name}` in {head}");
    }
    let started = environment.expect(0, &["events", "--kind", "tidegate.run.started", "-o", "json"]).receipts().remove(0);
    let trace = &started["traceparent"].as_str().unwrap()[3..35];
    let trace: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&trace[at * 2..at * 2 + 2], 16).unwrap()).collect();
    assert!(contains(&sent, &trace), "another trace than that of the events");
}

#[test]
fn a_collector_that_does_not_answer_holds_up_no_run() {
    let mut environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL);
    environment.write("in.csv", "id,n\n1,1\n");
    environment.set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    assert_eq!(environment.receipt("small")["outcome"], "published");
}
