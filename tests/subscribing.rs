//! Subscribers: systems that are given events and changed rows, each at least once and in order.

use crate::{
    commands::SMALL,
    environment::Environment,
    receivers::{flaky_receiver, receiver},
    serving::{Serving, until},
};
use serde_json::{Value, json};
use std::time::Duration;

fn subscribed(subscriber: &str) -> Environment {
    let environment = Environment::new();
    let file = SMALL.replace("key: [id]", "key: [id], guards: off").replace("n: { type: int64 }", "n: { type: int64, sensitive: true }");
    environment
        .write("small/pipeline.yaml", format!("{file}triggers: {{ source_change: {{ every: 100ms }} }}\nsubscribers:\n  - {subscriber}\n"));
    environment
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn changed_rows_are_given_in_batches_with_before_and_after() {
    let (url, received) = receiver(vec![200; 3]);
    let environment = subscribed(&format!("{{ name: copy, webhook: {{ url: {url:?}, secret: s3cret }}, changes: {{ rows: 2 }} }}"));
    environment.write("in.csv", "id,n\n1,1\n2,2\n3,3\n");
    environment.expect(0, &["run", "small"]);
    let [first, second] = [(); 2].map(|()| received.recv_timeout(Duration::from_secs(20)).unwrap());
    assert!(first.contains("content-type: application/cloudevents+json") && first.contains("tidegate-signature: t="), "{first}");
    let first = body(&first);
    assert_eq!(
        (&first["type"], &first["id"], &first["subject"]),
        (&json!("tidegate.table.changed"), &json!("run-1.0-2"), &json!("runs/1"))
    );
    assert_eq!(
        first["data"],
        json!({ "table": "t", "run": 1, "key": ["id"], "first": 0, "rows": 2, "of": 3, "changes": [
            { "op": "insert", "key": { "id": 1 }, "after": { "id": 1, "n": "***" } },
            { "op": "insert", "key": { "id": 2 }, "after": { "id": 2, "n": "***" } },
        ] })
    );
    assert_eq!(body(&second)["data"]["first"], 2);
    environment.write("in.csv", "id,n\n1,1\n2,5\n");
    environment.expect(0, &["run", "small"]);
    let third = body(&received.recv_timeout(Duration::from_secs(20)).unwrap());
    let ops: Vec<&Value> = third["data"]["changes"].as_array().unwrap().iter().map(|change| &change["op"]).collect();
    assert_eq!(ops, ["update", "delete"]);
    assert!(third["data"]["changes"][0]["before"]["n"].is_string() && third["data"]["changes"][1]["after"].is_null(), "{third}");
}

#[test]
fn who_refuses_gets_it_again_and_misses_nothing() {
    let (url, taken) = flaky_receiver(2);
    let environment = subscribed(&format!(
        "{{ name: audit, webhook: {{ url: {url:?} }}, events: {{ types: [tidegate.run., tidegate.table.applied] }}, from: beginning }}"
    ));
    environment.write("in.csv", "id,n\n1,1\n");
    let serving = Serving::start(&environment, &["small"]);
    for n in 2..6 {
        serving.receipt();
        environment.write("in.csv", format!("id,n\n1,{n}\n"));
    }
    serving.receipt();
    let wanted: Vec<Value> = environment
        .expect(0, &["events", "-o", "json"])
        .receipts()
        .into_iter()
        .filter(|event| event["type"].as_str().is_some_and(|kind| kind.starts_with("tidegate.run.") || kind == "tidegate.table.applied"))
        .collect();
    let given = || -> Vec<Value> {
        let bodies = taken.lock().unwrap();
        bodies.iter().flat_map(|body| serde_json::from_str::<Vec<Value>>(body).unwrap()).collect()
    };
    until(|| given().len() >= wanted.len(), || format!("{} of {} events were given:\n{}", given().len(), wanted.len(), serving.told()));
    assert_eq!(given(), wanted, "each once, in order, as they stand in the ledger");
    let (_, metrics) = serving.request("GET", "/metrics", &[], b"");
    assert!(metrics.contains("tidegate_subscriber_failures{pipeline=\"small\",subscriber=\"audit\"} 0"), "{metrics}");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_subscriber_that_does_not_answer_holds_up_nobody_and_is_told_of() {
    let environment = subscribed("{ name: gone, webhook: { url: 'http://127.0.0.1:9/' }, events: {} }");
    environment.write("in.csv", "id,n\n1,1\n");
    let serving = Serving::start(&environment, &["small"]);
    assert_eq!(serving.receipt()["outcome"], "published");
    environment.write("in.csv", "id,n\n1,2\n");
    assert_eq!(serving.receipt()["outcome"], "published");
    serving.stop();
    let doctor = environment.run(&["doctor"]);
    assert!(doctor.stdout.contains("subscriber `gone`") || doctor.stderr.contains("subscriber `gone`"), "{doctor:?}");
}

#[test]
fn changed_rows_can_be_fetched_by_run() {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", format!("{SMALL}triggers: {{ source_change: {{ every: 100ms }} }}\n"));
    environment.write("in.csv", "id,n\n1,1\n2,2\n3,3\n");
    let serving = Serving::start(&environment, &["small"]);
    serving.receipt();
    let get = |path: &str| -> Value { serde_json::from_str(&serving.request("GET", path, &[], b"").1).unwrap() };
    let page = get("/v1/runs/1/changes?first=1&limit=1");
    assert_eq!((&page["of"], &page["next"], &page["changes"][0]["key"]["id"]), (&json!(3), &json!(2), &json!(2)));
    assert_eq!(get("/v1/runs/1/changes?first=2")["next"], Value::Null);
    assert_eq!(serving.request("GET", "/v1/runs/99/changes", &[], b"").0, 404);
    serving.stop();
}

#[test]
fn a_subscriber_that_wants_something_else_begins_anew_and_one_that_is_gone_is_forgotten() {
    let (url, received) = receiver(vec![200; 8]);
    let environment = subscribed(&format!("{{ name: copy, webhook: {{ url: {url:?} }}, events: {{}} }}"));
    environment.write("in.csv", "id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    assert!(body(&received.recv_timeout(Duration::from_secs(20)).unwrap()).is_array());
    let pipeline = std::fs::read_to_string(environment.path("small/pipeline.yaml")).unwrap();
    environment.write("small/pipeline.yaml", pipeline.replace("events: {}", "changes: {}"));
    environment.write("in.csv", "id,n\n1,2\n");
    environment.expect(0, &["run", "small"]);
    assert_eq!(body(&received.recv_timeout(Duration::from_secs(20)).unwrap())["data"]["run"], 2);
    let refusing = pipeline.replace(&url, "http://127.0.0.1:9");
    environment.write("small/pipeline.yaml", &refusing);
    environment.write("in.csv", "id,n\n1,3\n");
    environment.run(&["run", "small"]);
    assert_eq!(environment.run(&["doctor"]).code, Some(1));
    environment.write("small/pipeline.yaml", refusing.split("subscribers:").next().unwrap());
    environment.expect(0, &["run", "small"]);
    environment.expect(0, &["doctor"]);
}
