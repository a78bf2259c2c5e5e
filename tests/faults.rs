//! The fault matrix: die at every point around every write, then simply run again. INV-1 to INV-5 hold.

use crate::{
    environment::{Environment, adds_up},
    server::PUSHED,
    serving::{Serving, try_request, until},
};
use serde_json::Value;
use std::time::Duration;

/// The state that must be the same whatever happened on the way: the table, its history without times, the quarantine.
fn state(environment: &Environment) -> [String; 3] {
    [
        environment.expect(0, &["query", "SELECT * FROM t ORDER BY id", "-o", "csv"]).stdout,
        environment.expect(0, &["query", "SELECT id, n, _op FROM t__history ORDER BY _run, id", "-o", "csv"]).stdout,
        environment
            .expect(0, &["quarantine", "list", "-o", "csv", "--status", "all"])
            .stdout
            .lines()
            .map(|line| line.split(',').skip(2).take(6).collect::<Vec<_>>().join(",") + "\n")
            .collect(),
    ]
}

const PIPELINE: &str = r#"
version: 1
name: p
sources:
  s:
    file: { path: ../in.csv }
    format: csv
    columns:
      id: { type: int64, required: true }
      n: { type: int64, check: "n >= 0" }
transform: t.sql
table: { name: t, key: [id], guards: { max_rejected: off, max_removed: 50% } }
notify:
  - console: {}
"#;

/// A small world with a first publication in the table and a second one waiting: new, changed, gone and bad rows.
fn begun() -> Environment {
    let environment = Environment::new();
    environment.write("p/pipeline.yaml", PIPELINE);
    environment.write("p/t.sql", "SELECT id, n FROM s");
    environment.write("in.csv", "id,n\n1,10\n2,20\n3,30\n4,x\n5,50\n");
    environment.expect(0, &["run", "p", "-q"]);
    environment.write("in.csv", "id,n\n1,10\n2,21\n4,40\n5,50\n6,60\n7,-1\n");
    environment
}

/// How often each point is passed by an undisturbed second run.
fn points() -> Vec<(String, usize)> {
    let mut environment = begun();
    let log = environment.path("points");
    environment.set("TIDEGATE_FAULT", format!("list:{}", log.display()));
    environment.expect(0, &["run", "p", "-q"]);
    let mut points: Vec<(String, usize)> = Vec::new();
    for name in std::fs::read_to_string(log).unwrap().lines() {
        match points.iter_mut().find(|(known, _)| known == name) {
            Some((_, times)) => *times += 1,
            None => points.push((name.to_owned(), 1)),
        }
    }
    points
}

#[test]
fn inv_3_once_after_dying_at_every_point() {
    let undisturbed = begun();
    undisturbed.expect(0, &["run", "p", "-q"]);
    let expected = state(&undisturbed);
    let points = points();
    assert!(points.len() >= 15, "{points:?}");
    for (point, times) in &points {
        for time in 1..=*times {
            let mut environment = begun();
            environment.set("TIDEGATE_FAULT", format!("{point}:{time}"));
            let died = environment.run(&["run", "p", "-q"]);
            assert_eq!(died.code, None, "{point}:{time} did not end the process: {}", died.stderr);
            environment.set("TIDEGATE_FAULT", "none:0");
            let ran = environment.run(&["run", "p", "-o", "json", "-q"]);
            assert_eq!(ran.code, Some(0), "{point}:{time}\n{}", ran.stderr);
            ran.receipts().iter().for_each(adds_up);
            assert_eq!(state(&environment), expected, "{point}:{time}");
            // Told at least once, and the run is there exactly once.
            let runs = environment.expect(0, &["runs", "-o", "json"]).receipts();
            let published: Vec<&Value> = runs.iter().filter(|run| run["outcome"] == "published").collect();
            assert_eq!(published.len(), 2, "{point}:{time}: {runs:?}");
            assert!(runs.iter().all(|run| run["state"] != "running"), "{point}:{time}: {runs:?}");
            // And the world is quiet again.
            let again = environment.receipt("p");
            assert_eq!((again["outcome"].as_str(), again["run"].is_null()), (Some("unchanged"), true), "{point}:{time}: {again}");
        }
    }
    eprintln!("died at {} places: {points:?}", points.iter().map(|(_, times)| times).sum::<usize>());
}

#[test]
fn inv_2_atomic_even_when_the_first_run_dies() {
    for point in ["raw.kept", "extract.recorded", "commit.after", "history.linked", "delta.files_written", "delta.before_commit"] {
        let mut environment = Environment::new();
        environment.write("p/pipeline.yaml", PIPELINE);
        environment.write("p/t.sql", "SELECT id, n FROM s");
        environment.write("in.csv", "id,n\n1,10\n2,20\n");
        environment.set("TIDEGATE_FAULT", format!("{point}:1"));
        assert_eq!(environment.run(&["run", "p", "-q"]).code, None, "{point}");
        environment.set("TIDEGATE_FAULT", "none:0");
        environment.expect(0, &["run", "p", "-q"]);
        assert_eq!(environment.query("SELECT count(*) AS n FROM t")[0]["n"], 2, "{point}");
        assert_eq!(environment.query("SELECT count(*) AS n FROM t__history")[0]["n"], 2, "{point}");
        environment.expect(0, &["doctor"]);
    }
}

#[test]
fn inv_4_what_is_pushed_is_there_once_wherever_the_intake_dies() {
    for point in ["intake.before_write", "intake.written", "intake.before_seal", "extract.recorded", "extract.taken", "commit.after"] {
        for time in 1..=2 {
            let mut environment = Environment::new();
            environment.write("pushed/pipeline.yaml", PUSHED);
            environment.set("TIDEGATE_FAULT", format!("{point}:{time}"));
            let serving = Serving::start(&environment, &["pushed", "--lease", "1"]);
            let address = serving.address();
            // Each row is pushed until it is taken, by whichever process is there; the first ones see one die.
            let push = |address: &str, id: u32| {
                let (key, body) = (id.to_string(), format!("id,n\n{id},{id}\n"));
                try_request(address, "POST", "/v1/ingest/pushed/rows", &[("idempotency-key", &key)], body.as_bytes())
                    .map_or(0, |(status, _)| status)
            };
            let mut taken: Vec<u32> = Vec::new();
            for id in 1..=40 {
                if push(&address, id) == 202 {
                    taken.push(id);
                }
                std::thread::sleep(Duration::from_millis(15));
            }
            serving.ended();
            environment.set("TIDEGATE_FAULT", "none:0");
            let serving = Serving::start(&environment, &["pushed", "--lease", "1"]);
            let address = serving.address();
            for id in 1..=40 {
                assert_eq!(push(&address, id), 202, "{point}:{time}");
            }
            let ids = || -> Vec<u64> {
                environment
                    .run(&["query", "SELECT id FROM t ORDER BY id", "-o", "json"])
                    .receipts()
                    .iter()
                    .map(|row| row["id"].as_u64().unwrap())
                    .collect()
            };
            until(|| ids().len() >= 40, || format!("{point}:{time}: {:?} of {taken:?}\n{}", ids(), serving.told()));
            assert!(serving.stop() == Some(0) && ids() == (1..=40).collect::<Vec<u64>>(), "{point}:{time}: {:?}", ids());
        }
    }
}
