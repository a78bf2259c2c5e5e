//! What starts runs when pipelines are served.

use crate::{
    commands::SMALL,
    environment::{Environment, TestPublisher, counts, project},
    real_data::{real_data, rows},
    replays::{is_as_expected, published_by},
    serving::{Serving, until},
};
use serde_json::Value;
use std::time::Duration;
use tidegate_testkit::covid::{JHU, NYT};

/// The shipped pipeline, asking every 100 ms.
fn impatient(environment: &Environment) {
    let folder = project().join("pipelines/covid19");
    let file = std::fs::read_to_string(folder.join("pipeline.yaml")).unwrap();
    assert!(file.contains("every: 10m"));
    environment.write("covid19/pipeline.yaml", file.replace("every: 10m", "every: 100ms"));
    environment.write("covid19/transform.sql", std::fs::read(folder.join("transform.sql")).unwrap());
}

#[test]
fn polling_alone_gives_the_receipts_of_the_command_line() {
    let Some(replay) = real_data("covid19/replay-2020-05-27.csv") else { return };
    let data = replay.parent().unwrap();
    let publisher = TestPublisher::start();
    let environment = published_by(&publisher);
    impatient(&environment);
    let serving = Serving::start(&environment, &["covid19"]);
    let expected = rows(&data.join("expected-merged.csv"));
    for (event, expected) in rows(&replay).iter().zip(&expected) {
        let path = if event[1] == "nyt-us" { NYT } else { JHU };
        publisher.publisher.publish(path, std::fs::read(data.join(&event[2])).unwrap());
        is_as_expected(&serving.receipt(), expected);
    }
    assert!(serving.is_quiet(Duration::from_millis(500)), "what is not new starts no run");
    assert_eq!(serving.stop(), Some(0));
    let asked = publisher.publisher.requests().len();
    assert!(asked > 36, "the publisher was asked {asked} times");
    environment.expect(0, &["doctor"]);
}

fn served(triggers: &str) -> Environment {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", format!("{SMALL}triggers:\n  {triggers}\n"));
    environment
}

fn events(environment: &Environment, kind: &str) -> Vec<Value> {
    environment.expect(0, &["events", "--kind", kind, "-o", "json"]).receipts()
}

#[test]
fn a_pipeline_follows_another() {
    let environment = served("source_change: { every: 100ms }");
    environment.write(
        "copy/pipeline.yaml",
        SMALL.replace("name: small", "name: copy").replace("name: t,", "name: u,") + "triggers: { after: [small] }\n",
    );
    let serving = Serving::start(&environment, &["small", "copy"]);
    for n in 1..=2 {
        environment.write("in.csv", format!("id,n\n1,{n}\n"));
        let pipelines = [serving.receipt(), serving.receipt()].map(|receipt| receipt["pipeline"].as_str().unwrap().to_owned());
        assert_eq!(pipelines, ["small", "copy"]);
    }
    serving.stop();
    let started = events(&environment, "tidegate.run.started");
    assert_eq!(started[1]["data"]["triggers"][0]["kind"], "after", "{started:?}");
    assert_eq!(started[1]["data"]["triggers"][0]["pipeline"], "small", "{started:?}");
}

#[test]
fn a_paused_pipeline_waits_and_forgets_nothing() {
    let environment = served("source_change: { every: 100ms }");
    environment.write("in.csv", "id,n\n1,1\n");
    let serving = Serving::start(&environment, &["small"]);
    serving.receipt();
    environment.expect(0, &["pause", "small"]);
    // What was at work when it was paused ends, and may still read what is written meanwhile.
    let queue = || environment.expect(0, &["queue", "-o", "json"]).receipts();
    until(|| queue().iter().all(|waiting| waiting["state"] != "leased"), || format!("{:?}", queue()));
    environment.write("in.csv", "id,n\n1,2\n2,2\n");
    assert!(serving.is_quiet(Duration::from_millis(700)));
    until(|| !queue().is_empty(), || "what is new was forgotten".into());
    assert_eq!((queue().len(), &queue()[0]["pipeline"]), (1, &"small".into()), "{:?}", queue());
    environment.expect(0, &["resume", "small"]);
    assert_eq!(counts(&serving.receipt()), [1, 1, 0, 0]);
    // Who looked while the run was under way may have asked for another, which finds nothing new.
    until(|| queue().is_empty(), || format!("{:?}", queue()));
    assert!(serving.is_quiet(Duration::from_millis(1)), "nothing was new");
    serving.stop();
}

#[test]
fn a_run_that_is_busy_keeps_its_lease() {
    let environment = served("source_change: { every: 100ms }");
    // Bytes that are all there: who takes them in does not wait for anything, for several seconds in a build for tests.
    environment.write("in.csv", format!("<html>{}", "x".repeat(96 << 20)));
    let serving = Serving::start(&environment, &["small", "--lease", "1"]);
    assert_eq!(serving.receipt()["error"]["code"], "TG203");
    assert!(!serving.told().contains("could not be renewed"), "{}", serving.told());
    serving.stop();
}

#[test]
fn a_changed_pipeline_is_read_again_and_a_wrong_one_is_not() {
    let environment = served("source_change: { every: 100ms }");
    environment.write("in.csv", "id,n\n1,1\n2,2\n");
    let serving = Serving::start(&environment, &["small"]);
    assert_eq!(serving.receipt()["sources"]["s"]["accepted"], 2);
    environment.write("small/pipeline.yaml", format!("{SMALL}nonsense: true\n"));
    serving.wait_for("error[TG102]");
    let checked =
        SMALL.replace("n: { type: int64 }", "n: { type: int64, check: \"n < 2\" }").replace("key: [id]", "key: [id], guards: off");
    environment.write("small/pipeline.yaml", format!("{checked}triggers:\n  source_change: {{ every: 100ms }}\n"));
    assert_eq!(serving.receipt()["sources"]["s"]["rejected"], 1);
    serving.stop();
}

#[test]
fn every_step_is_an_event_of_one_trace() {
    let environment = Environment::new();
    let lenient = SMALL.replace("key: [id]", "key: [id], guards: off");
    environment.write("small/pipeline.yaml", format!("{lenient}triggers:\n  source_change: {{ every: 100ms }}\n"));
    environment.write("in.csv", "id,n\n1,1\n2,x\n3,3\n");
    let serving = Serving::start(&environment, &["small"]);
    assert_eq!(serving.receipt()["outcome"], "published");
    serving.stop();
    let all = environment.expect(0, &["events", "-o", "json"]).receipts();
    let run = all.iter().find(|event| event["type"] == "tidegate.run.published").unwrap()["subject"].clone();
    let of_run: Vec<&Value> = all.iter().filter(|event| event["subject"] == run).collect();
    let start = of_run.iter().find(|event| event["type"] == "tidegate.run.started").unwrap();
    let trace = |event: &Value| event["traceparent"].as_str().unwrap()[3..35].to_owned();
    for event in &of_run {
        assert_eq!(trace(event), trace(start), "{event}");
        assert!(*event == *start || event["causationid"] == start["id"], "{event}");
    }
    // An observer reconciles every row from the events alone.
    let found = |stage: &str| of_run.iter().rev().find(|event| event["data"]["stage"] == stage).unwrap()["data"]["found"].clone();
    let (parsed, diffed) = (found("parse"), found("diff"));
    let n = |value: &Value| value.as_u64().unwrap();
    assert_eq!(n(&parsed["sources"]["s"]["read"]), n(&parsed["sources"]["s"]["accepted"]) + n(&parsed["sources"]["s"]["rejected"]));
    assert_eq!(
        n(&found("transform")["produced"]),
        ["new", "updated", "unchanged"].map(|name| n(&diffed["counts"][name])).iter().sum::<u64>()
    );
    assert!(of_run.iter().any(|event| event["type"] == "tidegate.table.applied"));
}

#[test]
fn a_killed_service_goes_on_where_it_was() {
    let environment = served("schedule: { cron: '* * * * *', missed: all }\n  source_change: { every: 100ms }");
    environment.write("in.csv", "id,n\n1,1\n");
    let serving = Serving::start(&environment, &["small"]);
    serving.receipt();
    serving.kill();
    environment.write("in.csv", "id,n\n1,2\n");
    let serving = Serving::start(&environment, &["small"]);
    assert_eq!(counts(&serving.receipt()), [0, 1, 0, 0]);
    assert_eq!(serving.stop(), Some(0));
    environment.expect(0, &["doctor", "--deep"]);
}
