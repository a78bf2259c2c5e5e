//! Invariants that no other test is named after (`docs/INVARIANTS.md` lists them all).

use crate::{commands::SMALL, environment::Environment};

fn small(csv: &str) -> Environment {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL.replace("key: [id]", "key: [id], guards: off"));
    environment.write("in.csv", csv);
    environment
}

#[test]
fn inv_4_nothing_lost() {
    let environment = small("id,n\n1,1\n2,x\n3\n");
    environment.expect(0, &["run", "small"]);
    // What was fetched is kept as it was, by its hash.
    let shown = &environment.expect(0, &["show", "1", "-o", "json"]).receipts()[0];
    let sha256 = shown["publications"][0]["sha256"].as_str().unwrap();
    let kept = environment.home().join("raw").join(&sha256[..2]).join(sha256);
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "id,n\n1,1\n2,x\n3\n");
    // Rejected rows are there with their text, whatever the publisher does afterwards.
    environment.write("in.csv", "id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    let rows = environment.expect(0, &["quarantine", "export", "--status", "all"]).receipts();
    let raw: Vec<&str> = rows.iter().map(|row| row["raw"].as_str().unwrap()).collect();
    assert_eq!(raw, ["2,x", "3"]);
    assert!(rows.iter().all(|row| row["closed_because"] == "the row is no longer published"), "{rows:?}");
    // And a run can be repeated on the bytes it had.
    let replayed = environment.expect(0, &["replay", "1", "-o", "json"]).receipts();
    assert_eq!(replayed[0]["sources"]["s"]["rejected"], 2);
}

#[test]
fn inv_5_order_repair_comes_before_new_work() {
    let environment = small("id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    // The destination breaks: a file lies where the table's log was.
    let log = environment.home().join("tables/t/_delta_log");
    let aside = environment.path("log-aside");
    std::fs::rename(&log, &aside).unwrap();
    std::fs::write(&log, "").unwrap();
    environment.write("in.csv", "id,n\n1,2\n");
    let broken = environment.run(&["run", "small"]);
    assert_eq!(broken.code, Some(1), "{}{}", broken.stdout, broken.stderr);
    environment.write("in.csv", "id,n\n1,3\n");
    environment.run(&["run", "small"]);
    // It is mended: what was left over comes first, in its order.
    std::fs::remove_file(&log).unwrap();
    std::fs::rename(&aside, &log).unwrap();
    environment.write("in.csv", "id,n\n1,4\n");
    environment.expect(0, &["run", "small"]);
    assert_eq!(environment.query("SELECT n FROM t")[0]["n"], 4);
    let said: Vec<String> = environment.query("SELECT n FROM t__history ORDER BY _run").iter().map(|row| row["n"].to_string()).collect();
    let mut in_order = said.clone();
    in_order.sort();
    assert_eq!(said, in_order);
    assert_eq!(said.last().map(String::as_str), Some("4"));
    environment.expect(0, &["doctor"]);
}

#[test]
fn inv_8_bounded() {
    let environment = small(&format!("id,n\n{}", "1,x\n".repeat(2000)));
    let limits = |text: &str| format!("{}limits: {text}\n", SMALL.replace("key: [id]", "key: [id], guards: off"));
    environment.write("small/pipeline.yaml", limits("{ max_bytes: 1KiB }"));
    let ran = environment.expect(1, &["run", "small"]);
    assert!(ran.stderr.contains("error[TG205]: source `s` is larger than 1KiB"), "{}", ran.stderr);
    environment.write("small/pipeline.yaml", limits("{ max_quarantine: 1000 }"));
    let ran = environment.expect(1, &["run", "small"]);
    assert!(ran.stderr.contains("error[TG208]: more than 1000 rows were rejected"), "{}", ran.stderr);
    // Sorting and joining go to disk when they do not fit.
    let mut csv = String::from("id,n\n");
    (0..120_000u64).for_each(|i| csv.push_str(&format!("{},{i}\n", i.wrapping_mul(7_919) % 1_000_003)));
    environment.write("in.csv", csv);
    environment.write("small/pipeline.yaml", limits("{ memory: 16MiB }"));
    assert_eq!(environment.receipt("small")["counts"]["new"], 120_000);
}

#[test]
fn a_source_added_after_a_failure_wedges_nothing() {
    let environment = small("id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    environment.write("in.csv", "id,m\n1,1\n");
    environment.expect(1, &["run", "small"]);
    let two = SMALL.replace(
        "table:",
        "  other:\n    file: { path: ../in.csv }\n    format: csv\n    columns: { id: { type: int64 } }\ntransform: t.sql\ntable:",
    );
    environment.write("small/pipeline.yaml", two);
    environment.write("small/t.sql", "SELECT s.id, s.n FROM s JOIN other ON other.id = s.id");
    environment.write("in.csv", "id,n\n1,2\n");
    environment.expect(0, &["run", "small"]);
    assert_eq!(environment.query("SELECT n FROM t")[0]["n"], 2);
}

#[test]
fn after_a_replay_the_newest_publication_comes_back() {
    let environment = small("id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    environment.write("in.csv", "id,n\n1,2\n");
    environment.expect(0, &["run", "small"]);
    environment.expect(0, &["replay", "1"]);
    assert_eq!(environment.query("SELECT n FROM t")[0]["n"], 1);
    environment.expect(0, &["run", "small"]);
    assert_eq!(environment.query("SELECT n FROM t")[0]["n"], 2);
    assert_eq!(environment.receipt("small")["run"], serde_json::Value::Null);
    // A rebuild takes nothing away that it cannot make again.
    std::fs::remove_file(environment.home().join("changesets/small/00000002-1.parquet")).unwrap();
    assert!(environment.run(&["rebuild", "small"]).stderr.contains("error[TG407]"));
    assert_eq!(environment.query("SELECT n FROM t")[0]["n"], 2);
}
