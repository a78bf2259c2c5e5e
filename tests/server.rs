//! What a running service takes and says over HTTP.

use crate::{
    environment::{Environment, adds_up},
    serving::{LONG, Serving, request, until},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

/// Rows that are pushed to a table that keeps them all.
pub const PUSHED: &str = r#"
version: 1
name: pushed
sources:
  rows:
    push: {}
    format: csv
    columns:
      id: { type: int64, required: true }
      n: { type: int64 }
table: { name: t, mode: append, guards: off }
triggers:
  push: { every: 100ms }
  webhook: { secret: sixteen-characters-and-more }
"#;

fn pushed() -> (Environment, Serving) {
    let environment = Environment::new();
    environment.write("pushed/pipeline.yaml", PUSHED);
    let serving = Serving::start(&environment, &["pushed"]);
    (environment, serving)
}

fn ids(environment: &Environment) -> Vec<i64> {
    environment.query("SELECT id FROM t ORDER BY id").iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

/// Takes receipts until the table has so many rows.
fn until_rows(serving: &Serving, rows: u64) {
    while {
        let receipt = serving.receipt();
        adds_up(&receipt);
        receipt["rows_after"].as_u64() < Some(rows)
    } {}
}

#[test]
fn pushed_rows_come_to_the_table_once() {
    let (environment, serving) = pushed();
    let push = |headers: &[(&str, &str)], body: &[u8]| serving.request("POST", "/v1/ingest/pushed/rows", headers, body);
    assert_eq!(push(&[("idempotency-key", "a")], b"id,n\n1,1\n2,2\n").0, 202);
    let (status, again) = push(&[("idempotency-key", "a")], b"id,n\n1,1\n2,2\n");
    assert_eq!((status, serde_json::from_str::<Value>(&again).unwrap()["duplicate"].as_bool()), (202, Some(true)));
    // Other columns, another order, no line end.
    assert_eq!(push(&[], b"n,extra,id\n3,x,3").0, 202);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"id,n\n4,4\n").unwrap();
    assert_eq!(push(&[("content-encoding", "gzip")], &gzip.finish().unwrap()).0, 202);
    until_rows(&serving, 4);
    assert_eq!(ids(&environment), [1, 2, 3, 4]);
    // The same key after its rows were run, and after a restart.
    assert_eq!(push(&[("idempotency-key", "a")], b"id,n\n1,1\n").0, 202);
    serving.kill();
    let serving = Serving::start(&environment, &["pushed"]);
    let push = |headers: &[(&str, &str)], body: &[u8]| serving.request("POST", "/v1/ingest/pushed/rows", headers, body);
    assert!(push(&[("idempotency-key", "a")], b"id,n\n1,1\n").1.contains("\"duplicate\":true"));
    // The same rows without a key are other rows.
    assert_eq!(push(&[], b"id,n\n5,5\nbad,5\n").0, 202);
    until_rows(&serving, 5);
    assert_eq!(ids(&environment), [1, 2, 3, 4, 5]);
    assert_eq!(push(&[], b"id,n\n6,6\n").0, 202);
    until_rows(&serving, 6);
    // A bad row that does not come again is still bad.
    assert_eq!(environment.expect(0, &["quarantine", "list", "-o", "json"]).receipts().len(), 1);
    assert_eq!(serving.stop(), Some(0));
    environment.expect(0, &["doctor", "--deep"]);
}

#[test]
fn what_cannot_be_taken_is_refused_before_anything_is_kept() {
    let (environment, serving) = pushed();
    let push = |path: &str, headers: &[(&str, &str)], body: &[u8]| serving.request("POST", path, headers, body);
    let rows = "/v1/ingest/pushed/rows";
    for (status, path, headers, body) in [
        (422, rows, vec![], &b"id,m\n1,1\n"[..]),
        (422, rows, vec![], b"  \n"),
        (422, rows, vec![("content-encoding", "gzip")], b"id,n\n1,1\n"),
        (415, rows, vec![("content-encoding", "br")], b"id,n\n1,1\n"),
        (400, rows, vec![("idempotency-key", "")], b"id,n\n1,1\n"),
        (404, "/v1/ingest/pushed/other", vec![], b"id,n\n1,1\n"),
        (404, "/v1/ingest/nothing/rows", vec![], b"id,n\n1,1\n"),
        (404, "/v1/ingest/..%2f..%2fetc/rows", vec![], b"id,n\n1,1\n"),
        (403, rows, vec![("origin", "https://example.org")], b"id,n\n1,1\n"),
    ] {
        let (got, answer) = push(path, &headers, body);
        assert_eq!(got, status, "{path} {headers:?}: {answer}");
    }
    let large = [b"id,n\n".to_vec(), vec![b'1'; 17 << 20]].concat();
    assert_eq!(push(rows, &[], &large).0, 413);
    assert!(serving.is_quiet(Duration::from_millis(400)));
    serving.stop();
    assert!(!environment.home().join("intake").join("pushed").join("rows").read_dir().is_ok_and(|lanes| lanes.count() > 1));
}

#[test]
fn tokens_say_who_may_do_what() {
    let (environment, serving) = pushed();
    let get = |path: &str, token: Option<&str>| {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
        serving.request("GET", path, &headers, b"").0
    };
    assert_eq!(get("/v1/runs", None), 200);
    let token = |name: &str, scope: &str| environment.expect(0, &["token", "create", name, "--scope", scope]).stdout.trim().to_owned();
    let (read, ingest) = (token("r", "read"), token("i", "ingest"));
    // From the first token on, everybody needs one, but for health.
    assert_eq!([get("/v1/runs", None), get("/metrics", None), get("/healthz", None), get("/readyz", None)], [401, 401, 200, 200]);
    assert_eq!([get("/v1/runs", Some(&read)), get("/v1/runs", Some(&ingest)), get("/v1/runs", Some("tg_wrong"))], [200, 403, 401]);
    let operate =
        |token: &str| serving.request("POST", "/v1/pipelines/pushed/pause", &[("authorization", &format!("Bearer {token}"))], b"").0;
    assert_eq!([operate(&read), operate(&token("o", "operate"))], [403, 200]);
    environment.expect(0, &["token", "revoke", "r"]);
    assert_eq!(get("/v1/runs", Some(&read)), 401);
    let ledger = std::fs::read(environment.home().join("ledger.db")).unwrap();
    assert!(!ledger.windows(ingest.len()).any(|part| part == ingest.as_bytes()), "a token is nowhere but with who uses it");
    serving.stop();
}

#[test]
fn a_webhook_needs_the_secret() {
    let (_environment, serving) = pushed();
    let body = json!({ "repository": { "full_name": "a/b" } }).to_string();
    let hook = |headers: &[(&str, &str)], path: &str| serving.request("POST", path, headers, body.as_bytes()).0;
    assert_eq!(hook(&[], "/v1/hooks/pushed"), 401);
    assert_eq!(hook(&[("x-hub-signature-256", "sha256=00")], "/v1/hooks/pushed"), 401);
    assert_eq!(hook(&[], "/v1/hooks/nothing?token=sixteen-characters-and-more"), 401);
    assert_eq!(hook(&[], "/v1/hooks/pushed?token=sixteen-characters-and-more"), 202);
    // GitHub tries a hook out when it is made; that is no push.
    assert_eq!(hook(&[("x-github-event", "ping")], "/v1/hooks/pushed?token=sixteen-characters-and-more"), 200);
    serving.stop();
}

/// Events from a live stream, as (id, type), until one satisfies `last`.
fn stream(address: &str, path: &str, last_event_id: Option<i64>, last: impl Fn(&str) -> bool) -> Vec<(i64, String)> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let id = last_event_id.map_or_else(String::new, |id| format!("last-event-id: {id}\r\n"));
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\n{id}\r\n").unwrap();
    let mut events = Vec::new();
    let (mut id, deadline) = (0, Instant::now() + LONG);
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        assert!(Instant::now() < deadline, "{events:?}");
        if let Some(text) = line.strip_prefix("id: ") {
            id = text.parse().unwrap();
        } else if let Some(kind) = line.strip_prefix("event: ") {
            events.push((id, kind.to_owned()));
        }
        // The data comes last, so the event is whole.
        if line.starts_with("data: ") && events.last().is_some_and(|(_, kind)| last(kind)) {
            break;
        }
    }
    events
}

#[test]
fn events_are_streamed_live_and_from_where_one_was() {
    let (environment, serving) = pushed();
    let address = serving.address();
    let listener = std::thread::spawn({
        let address = address.clone();
        move || stream(&address, "/v1/events?pipeline=pushed", None, |kind| kind == "tidegate.table.applied")
    });
    std::thread::sleep(Duration::from_millis(200));
    request(&address, "POST", "/v1/ingest/pushed/rows", &[], b"id,n\n1,1\n");
    let live = listener.join().unwrap();
    let kinds: Vec<&str> = live.iter().map(|(_, kind)| kind.as_str()).collect();
    assert!(kinds.starts_with(&["tidegate.run.started", "tidegate.stage.finished"]), "{kinds:?}");
    assert!(live.windows(2).all(|pair| pair[0].0 < pair[1].0), "{live:?}");
    // Whoever comes back gets what it missed, and nothing twice.
    let middle = live[2].0;
    let rest = stream(&address, "/v1/events", Some(middle), |kind| kind == "tidegate.table.applied");
    assert_eq!(rest, live[3..]);
    let only = stream(&address, "/v1/events?type=tidegate.run.published", None, |_| true);
    assert_eq!(only.len(), 1);
    let metrics = serving.request("GET", "/metrics", &[], b"").1;
    assert!(metrics.contains("tidegate_runs_total{pipeline=\"pushed\",outcome=\"published\"} 1"), "{metrics}");
    assert!(metrics.contains("tidegate_quarantine_open{pipeline=\"pushed\"} 0"), "{metrics}");
    let told = environment.expect(0, &["events", "-o", "json"]).receipts();
    assert_eq!(told.iter().filter(|event| event["sequence"].as_i64() >= Some(live[0].0)).count(), live.len());
    assert_eq!(serving.stop(), Some(0), "an open stream does not keep it from stopping");
}

#[test]
fn a_connection_beyond_the_limit_is_told_so_and_the_others_go_on() {
    let (_environment, serving) = pushed();
    let address = serving.address();
    let connect = || TcpStream::connect(&address).unwrap();
    let mut open: Vec<TcpStream> = (0..1000).map(|_| connect()).collect();
    let status = || request(&address, "GET", "/healthz", &[], b"").0;
    assert_eq!(status(), 200);
    let is_refused = || {
        open.push(connect());
        status() == 429
    };
    until(is_refused, || "it takes more connections than it may".into());
    drop(open);
    until(|| status() == 200, || "there is room, and nobody is let in".into());
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn the_log_can_be_json_lines() {
    let environment = Environment::new();
    environment.write("pushed/pipeline.yaml", PUSHED);
    let mut command = environment.command(&["run", "pushed", "--log-format", "json", "-o", "json"]);
    let ran = crate::environment::Ran::from(command.output().unwrap());
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let wrong = environment.run(&["run", "nothing", "--log-format", "json"]);
    let lines: Vec<Value> = wrong.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["level"], &lines[0]["code"]), (&json!("ERROR"), &json!("TG104")), "{lines:?}");
    assert!(lines[0]["timestamp"].is_string() && lines[0]["message"].is_string(), "{lines:?}");
    assert!(ran.stderr.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", ran.stderr);
}
