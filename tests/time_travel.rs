//! What had been said by then.

use crate::{commands::SMALL, environment::Environment};
use std::{
    fs::File,
    time::{Duration, SystemTime},
};

/// Seconds since 1970 of 2020-01-`day`, noon.
fn noon(day: u64) -> u64 {
    1_577_836_800 + (day - 1) * 86_400 + 43_200
}

/// Publishes to `file` as on a day of January 2020.
fn publish(environment: &Environment, file: &str, day: u64, csv: &str) {
    let path = environment.write(file, csv);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(noon(day));
    File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
}

fn as_of(environment: &Environment, table: &str, when: &str) -> String {
    let ran = environment.expect(0, &["query", &format!("SELECT id, n FROM {table} ORDER BY id"), "--as-of", when, "-o", "csv"]);
    ran.stdout.lines().skip(1).collect::<Vec<_>>().join(" ")
}

fn three_days() -> Environment {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL.replace("key: [id]", "key: [id], guards: off"));
    for (day, csv) in [(1, "id,n\n1,1\n"), (2, "id,n\n1,2\n2,2\n"), (3, "id,n\n2,3\n")] {
        publish(&environment, "in.csv", day, csv);
        environment.expect(0, &["run", "small"]);
    }
    environment
}

#[test]
fn each_day_says_what_had_been_published_by_then() {
    let environment = three_days();
    let days = ["2020-01-01", "2020-01-02", "2020-01-03", "2019-12-31", "run:2"].map(|day| as_of(&environment, "t", day));
    assert_eq!(days, ["1,1", "1,2 2,2", "2,3", "", "1,2 2,2"]);
    let early = environment.expect(0, &["query", "SELECT * FROM t", "--as-of", "2019-12-31"]);
    assert!(early.stderr.contains("nothing had been published by then"), "{}", early.stderr);
    environment.expect(2, &["query", "SELECT * FROM t", "--as-of", "run:77"]);
}

#[test]
fn a_replay_does_not_change_what_had_been_said() {
    let environment = three_days();
    environment.expect(0, &["replay", "1"]);
    assert_eq!(as_of(&environment, "t", "run:4"), "1,1");
    let days = ["2020-01-01", "2020-01-02", "2020-01-03"].map(|day| as_of(&environment, "t", day));
    assert_eq!(days, ["1,1", "1,2 2,2", "2,3"]);
}

#[test]
fn tables_do_not_know_each_others_times() {
    let environment = three_days();
    environment.write(
        "other/pipeline.yaml",
        SMALL.replace("name: small", "name: other").replace("name: t,", "name: u,").replace("in.csv", "other.csv"),
    );
    publish(&environment, "other.csv", 1, "id,n\n9,9\n");
    environment.expect(0, &["run", "other"]);
    assert_eq!(as_of(&environment, "t", "2020-01-01"), "1,1");
    assert_eq!(as_of(&environment, "u", "2019-12-31"), "");
}
