//! Accidents that really happened, and what the shipped pipeline makes of them.

use crate::{
    environment::{TestPublisher, adds_up, shipped},
    real_data::real_data,
    replays::published_by,
};
use tidegate_testkit::covid::{JHU, NYT};

/// The table's rows as text, to see that nothing touched them.
fn table(environment: &crate::environment::Environment) -> String {
    environment.expect(0, &["query", "SELECT * FROM us_daily ORDER BY date", "-o", "csv"]).stdout
}

#[test]
fn a_missing_column_fails_cleanly_and_touches_nothing() {
    let Some(data) = real_data("covid19/jhu-combined") else { return };
    let publisher = TestPublisher::start();
    let environment = published_by(&publisher);
    let publish = |name: &str| publisher.publisher.publish(JHU, std::fs::read(data.join(name)).unwrap());
    publisher.publisher.publish(NYT, std::fs::read(data.join("../nyt-us/2020-04-15_33782775e.csv")).unwrap());
    publish("2020-03-26_3e531107d.csv");
    assert_eq!(environment.receipt(&shipped("covid19"))["outcome"], "published");
    let before = table(&environment);

    publish("2020-03-26_b0f4726a2.csv");
    let ran = environment.expect(1, &["run", &shipped("covid19")]);
    assert!(ran.stderr.contains("error[TG204]: source `jhu` no longer has the column `Recovered`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("pipeline.yaml:") && ran.stderr.contains("got: Date, Country/Region"), "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing was written; the table still holds run 1"), "{}", ran.stderr);
    assert_eq!(table(&environment), before);

    // The column is back: the failed publication blocks nobody.
    publish("2020-03-28_09297c4d3.csv");
    let receipt = environment.receipt(&shipped("covid19"));
    assert_eq!(receipt["outcome"], "published");
    adds_up(&receipt);
}

#[test]
fn counts_written_as_floats_load() {
    let Some(data) = real_data("covid19/jhu-combined") else { return };
    let publisher = TestPublisher::start();
    let environment = published_by(&publisher);
    publisher.publisher.publish(NYT, std::fs::read(data.join("../nyt-us/2020-09-30_afd3841de.csv")).unwrap());
    publisher.publisher.publish(JHU, std::fs::read(data.join("2020-10-29_82527a0fc.csv")).unwrap());
    let receipt = environment.receipt(&shipped("covid19"));
    assert_eq!(receipt["outcome"], "published", "{receipt}");
    assert_eq!(receipt["sources"]["jhu"]["rejected"], 0);
    let floats = environment.query("SELECT count(*) AS n FROM us_daily WHERE recovered > 0");
    assert!(floats[0]["n"].as_u64().unwrap() > 100);
}

#[test]
fn zero_is_not_missing() {
    let Some(data) = real_data("covid19/jhu-combined") else { return };
    let publisher = TestPublisher::start();
    let environment = published_by(&publisher);
    publisher.publisher.publish(NYT, "date,cases,deaths\n2020-01-22,1,0\n2020-01-23,1,0\n2020-01-25,3,0");
    publisher.publisher.publish(JHU, std::fs::read(data.join("2020-12-14_2d989d956.csv")).unwrap());
    assert_eq!(environment.receipt(&shipped("covid19"))["outcome"], "published");
    let rows = environment.query("SELECT date, recovered, recovered_new FROM us_daily ORDER BY date");
    // Nobody had recovered, and that is a number; what happened since a day that is missing is not known.
    let differences: Vec<&serde_json::Value> = rows.iter().map(|row| &row["recovered_new"]).collect();
    assert!(rows.iter().all(|row| row["recovered"] == 0), "{rows:?}");
    assert_eq!(differences, [&serde_json::Value::Null, &serde_json::json!(0), &serde_json::Value::Null]);
}

#[test]
fn an_html_page_where_csv_was_promised_is_named_as_such() {
    let publisher = TestPublisher::start();
    let environment = published_by(&publisher);
    publisher.publisher.publish(NYT, "<!DOCTYPE html><html><body>Sorry</body></html>");
    publisher.publisher.publish(JHU, "Date,Country/Region,Province/State,Recovered\n2020-03-01,US,,1");
    let ran = environment.expect(1, &["run", &shipped("covid19")]);
    assert!(ran.stderr.contains("error[TG203]: source `nyt` gave an HTML page where CSV was promised"), "{}", ran.stderr);
}
