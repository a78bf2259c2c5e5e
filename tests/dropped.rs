//! Files that are dropped: complete ones only, each taken once, in the order of their names, then archived or left.

use crate::{
    commands::SMALL,
    environment::{Environment, counts},
    serving::Serving,
};
use serde_json::json;
use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

/// A pipeline over `in/`, with this mode and these triggers.
fn dropping(mode: &str, triggers: &str) -> Environment {
    let environment = Environment::new();
    let pipeline = SMALL
        .replace("file: { path: ../in.csv }", "file: { path: '../in/*', archive: ../done, settle: 100ms }")
        .replace("key: [id]", &format!("key: [id], mode: {mode}, guards: off"));
    environment.write("small/pipeline.yaml", format!("{pipeline}triggers: {triggers}\n"));
    fs::create_dir(environment.path("in")).unwrap();
    environment
}

fn archived(environment: &Environment) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(environment.path("done"))
        .map(|found| found.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

fn settled() {
    sleep(Duration::from_millis(150));
}

#[test]
fn each_complete_file_is_a_run_of_its_own_and_then_archived() {
    let environment = dropping("merge", "{ file: { every: 100ms } }");
    environment.write("in/1.csv.part", "id,n\n9,9\n");
    environment.write("in/.2.csv.x7", "id,n\n9,9\n");
    std::os::unix::fs::symlink("/etc/passwd", environment.path("in/link.csv")).unwrap();
    environment.write("in/a.csv", "id,n\n1,1\n2,2\n");
    environment.write("in/b.csv", "id,n\n1,5\n");
    environment.write("in/c/1.csv", "id,n\n3,3\n");
    environment.write("in/c/2.csv", "id,n\n4,4\n");
    let serving = Serving::start(&environment, &["small"]);
    // The correction of the second file comes after the first; a folder is one publication.
    let found = [serving.receipt(), serving.receipt(), serving.receipt()].map(|receipt| counts(&receipt));
    assert_eq!(found, [[2, 0, 0, 0], [0, 1, 0, 0], [2, 0, 0, 0]]);
    // Still being written; then complete. And a name that came before is no hindrance.
    fs::rename(environment.path("in/1.csv.part"), environment.path("in/a.csv")).unwrap();
    let last = serving.receipt();
    assert_eq!((counts(&last), last["rows_after"].as_u64()), ([1, 0, 0, 0], Some(5)));
    assert!(serving.is_quiet(Duration::from_millis(500)));
    assert_eq!(serving.stop(), Some(0));
    assert_eq!(archived(&environment), ["a.csv", "a.csv.2", "b.csv", "c"]);
    let started = environment.expect(0, &["events", "--kind", "tidegate.run.started", "-o", "json"]).receipts();
    assert_eq!(started[0]["data"]["triggers"], json!([{ "kind": "file", "source": "s" }]));
    environment.expect(0, &["doctor"]);
}

#[test]
fn a_bad_file_blocks_no_other_and_can_be_replayed() {
    let environment = dropping("append", "{}");
    environment.write("in/1.csv", "<html>\n");
    environment.write("in/2.csv", "id,n\n1,1\n");
    settled();
    let ran = environment.expect(1, &["run", "small", "-o", "json"]);
    let outcomes: Vec<_> = ran.receipts().iter().map(|receipt| receipt["outcome"].as_str().unwrap().to_owned()).collect();
    assert_eq!(outcomes.first().map(String::as_str), Some("failed"), "{}", ran.stderr);
    assert_eq!(outcomes.last().map(String::as_str), Some("published"), "{}", ran.stderr);
    assert_eq!(archived(&environment), ["1.csv", "2.csv"]);
    assert_eq!(environment.query("SELECT count(*) AS n FROM t")[0]["n"], 1);
    let planned = environment.expect(0, &["plan", "small", "-o", "json"]).receipts().remove(0);
    assert_eq!(counts(&planned), [0, 0, 0, 1], "what was taken is not planned once more");
}

#[test]
fn the_newest_of_whole_publications_stays_in_a_mirrored_table() {
    let environment = dropping("mirror", "{}");
    environment.write("in/2020-05-01.csv", "id,n\n1,1\n2,2\n");
    environment.write("in/2020-05-02.csv", "id,n\n1,1\n3,3\n");
    settled();
    let found: Vec<_> = environment.expect(0, &["run", "small", "-o", "json"]).receipts().iter().map(counts).collect();
    assert_eq!(found, [[2, 0, 0, 0], [1, 0, 1, 1]]);
    // The same bytes once more are nothing new, and are put away all the same.
    environment.write("in/2020-05-03.csv", "id,n\n1,1\n3,3\n");
    settled();
    assert!(environment.receipt("small")["run"].is_null());
    assert_eq!(archived(&environment).len(), 3);
}

#[test]
fn what_is_left_in_its_place_is_read_when_it_is_complete() {
    let environment = Environment::new();
    let pipeline = SMALL.replace("path: ../in.csv", "path: ../in.csv, settle: 500ms");
    environment.write("small/pipeline.yaml", format!("{pipeline}triggers: {{ file: {{ every: 100ms }} }}\n"));
    let serving = Serving::start(&environment, &["small"]);
    let begun = Instant::now();
    let mut text = "id,n\n".to_owned();
    for id in 0..8 {
        text += &format!("{id},{id}\n");
        environment.write("in.csv", &text);
        sleep(Duration::from_millis(100));
    }
    assert_eq!(serving.receipt()["sources"]["s"]["accepted"], 8, "it was read before it was complete, after {:?}", begun.elapsed());
    assert!(serving.is_quiet(Duration::from_millis(600)), "it is there, and is no news");
    serving.stop();
    assert!(environment.path("in.csv").is_file());
}

#[test]
fn inv_3_a_dropped_file_is_taken_once_wherever_the_process_dies() {
    let begun = || {
        let environment = dropping("append", "{}");
        environment.write("in/1.csv", "id,n\n1,1\n2,x\n");
        environment.write("in/2.csv", "id,n\n3,3\n");
        settled();
        environment
    };
    let mut undisturbed = begun();
    let log = undisturbed.path("points");
    undisturbed.set("TIDEGATE_FAULT", format!("list:{}", log.display()));
    undisturbed.expect(0, &["run", "small"]);
    let points: Vec<String> = fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect();
    // What comes after a commit is the same as without dropped files: see faults.rs.
    let mut names: Vec<String> =
        points.iter().filter(|name| ["raw.", "extract.", "commit."].iter().any(|stage| name.starts_with(stage))).cloned().collect();
    names.sort();
    names.dedup();
    assert!(points.iter().filter(|point| *point == "extract.taken").count() == 2, "{points:?}");
    for name in names {
        for time in 1..=points.iter().filter(|point| **point == name).count() {
            let mut environment = begun();
            environment.set("TIDEGATE_FAULT", format!("{name}:{time}"));
            assert_eq!(environment.run(&["run", "small"]).code, None, "{name}:{time}");
            environment.set("TIDEGATE_FAULT", "none:0");
            environment.expect(0, &["run", "small"]);
            let ids = environment.expect(0, &["query", "SELECT id FROM t ORDER BY id", "-o", "csv"]).stdout;
            assert_eq!(ids, "id\n1\n3\n", "{name}:{time}");
            assert_eq!(environment.expect(0, &["quarantine", "list", "-o", "json"]).receipts().len(), 1, "{name}:{time}");
            assert_eq!(archived(&environment), ["1.csv", "2.csv"], "{name}:{time}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_taken_is_tried_again_more_and_more_seldom() {
    let environment = dropping("append", "{ file: { every: 100ms } }\nlimits: { max_bytes: 20B }");
    environment.write("in/1.csv", format!("id,n\n{}", "1,1\n".repeat(10)));
    let serving = Serving::start(&environment, &["small"]);
    assert_eq!(serving.receipt()["error"]["code"], "TG205");
    sleep(Duration::from_secs(3));
    serving.stop();
    let failed = environment.expect(0, &["runs", "-o", "json"]).receipts().len();
    assert!((1..5).contains(&failed), "{failed} failed runs in three seconds");
    assert_eq!(archived(&environment).len(), 0, "nothing was taken");
}
