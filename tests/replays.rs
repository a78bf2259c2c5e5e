//! Real publications in the order in which they happened, against what was computed without any engine.

use crate::{
    environment::{Environment, TestPublisher, adds_up, counts, shipped},
    real_data::{real_data, rows},
};
use serde_json::Value;
use tidegate_testkit::covid::{JHU, NYT};

/// An environment in which the shipped pipeline reads from a publisher of the test.
pub fn published_by(publisher: &TestPublisher) -> Environment {
    let mut environment = Environment::new();
    environment.set("COVID19_NYT_URL", publisher.publisher.url(NYT));
    environment.set("COVID19_JHU_URL", publisher.publisher.url(JHU));
    environment
}

/// Compares a receipt with its line of `expected-merged.csv`.
#[track_caller]
pub fn is_as_expected(receipt: &Value, expected: &[String]) {
    adds_up(receipt);
    let got = [
        receipt["outcome"].as_str().unwrap().to_owned(),
        counts(receipt).map(|n| n.to_string()).join(","),
        receipt["rows_after"].to_string(),
    ];
    assert_eq!(got, [expected[3].clone(), expected[4..8].join(","), expected[8].clone()], "{expected:?} {receipt}");
}

#[test]
fn eighteen_publications_give_the_expected_receipts() {
    let Some(replay) = real_data("covid19/replay-2020-05-27.csv") else { return };
    let data = replay.parent().unwrap();
    let publisher = TestPublisher::start();
    let environment = published_by(&publisher);
    let expected = rows(&data.join("expected-merged.csv"));
    for (event, expected) in rows(&replay).iter().zip(&expected) {
        let path = if event[1] == "nyt-us" { NYT } else { JHU };
        publisher.publisher.publish(path, std::fs::read(data.join(&event[2])).unwrap());
        let receipt = environment.receipt(&shipped("covid19"));
        is_as_expected(&receipt, expected);
    }
    // The wrong file of 2020-05-31 was held without a person, and released by the next.
    let runs = environment.expect(0, &["runs", "--limit", "100"]).stdout;
    assert!(runs.contains("released by run"), "{runs}");
    // What was said on a day about a day.
    let then = environment.expect(0, &["query", "SELECT count(*) AS n FROM us_daily", "--as-of", "run:2", "-o", "json"]).receipts();
    assert_eq!(then[0]["n"], 126);
    let now = environment.query("SELECT count(*) AS n, max(date) AS newest FROM us_daily");
    assert_eq!(now[0]["n"], 134);
    // Differences are against the day before; the first day has none.
    let first = environment.query("SELECT cases_new, recovered_new FROM us_daily ORDER BY date LIMIT 1");
    assert!(first[0]["cases_new"].is_null() && first[0]["recovered_new"].is_null());
}

#[test]
fn all_versions_of_the_national_file_give_the_expected_counts() {
    let Some(data) = real_data("covid19/expected-nyt-us.csv") else { return };
    let folder = data.parent().unwrap();
    let environment = Environment::new();
    environment.write("nyt/pipeline.yaml", NYT_ALONE);
    let index = rows(&folder.join("index.csv"));
    let files: Vec<String> =
        index.iter().filter(|row| row[0] == "nyt-us").map(|row| folder.join("nyt-us").join(&row[1]).display().to_string()).collect();
    assert_eq!(files.len(), 251);
    let mut args = vec!["backfill", "nyt", "-o", "json"];
    args.extend(files.iter().map(String::as_str));
    let receipts = environment.expect(0, &args).receipts();
    assert_eq!(receipts.len(), 251);
    receipts.iter().for_each(adds_up);
    for (receipt, expected) in receipts[1..].iter().zip(rows(&data)) {
        let got = counts(receipt);
        let got = [got[0], got[1], got[2], receipt["rows_after"].as_u64().unwrap()].map(|n| n.to_string());
        assert_eq!(got, expected[2..6], "{} to {}", expected[0], expected[1]);
    }
    // The history holds every change there was.
    let changes: u64 = receipts.iter().map(|receipt| counts(receipt)[..3].iter().sum::<u64>()).sum();
    assert_eq!(environment.query("SELECT count(*) AS n FROM us__history")[0]["n"], changes);
}

const NYT_ALONE: &str = "
version: 1
name: nyt
sources:
  us:
    file: { path: us.csv }
    format: csv
    columns:
      date: { type: date, required: true }
      cases: { type: int64, required: true }
      deaths: { type: int64, required: true }
table:
  name: us
  key: [date]
  guards: off
";
