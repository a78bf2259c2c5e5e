//! The commands, as people meet them.

use crate::environment::{Environment, TestPublisher, adds_up, counts};
use std::io::Write as _;
use tidegate_testkit::publisher::Mood;

/// A small pipeline over one file.
pub const SMALL: &str = r#"
version: 1
name: small
sources:
  s:
    file: { path: ../in.csv }
    format: csv
    columns:
      id: { type: int64, required: true }
      n: { type: int64 }
table: { name: t, key: [id] }
"#;

fn small(csv: &str) -> Environment {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL);
    environment.write("in.csv", csv);
    environment
}

fn many(rows: std::ops::Range<u32>) -> String {
    let mut csv = String::from("id,n\n");
    rows.for_each(|id| csv.push_str(&format!("{id},{}\n", id * 10)));
    csv
}

#[test]
fn a_receipt_reads_well_and_is_stable_json() {
    let environment = small(&many(0..20));
    insta::assert_snapshot!(environment.expect(0, &["run", "small"]).stdout, @r"
    run  1  published  t  +20 ~0 −0 =0 ✗0  0 → 20 rows
            s  20 read, 20 accepted
    ");
    environment.write("in.csv", many(1..22).replace("5,50", "5,55").replace("7,70", "7,x"));
    let receipt = environment.receipt("small");
    adds_up(&receipt);
    let mut names: Vec<&String> = receipt.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "counts",
            "error",
            "finished_at",
            "held",
            "outcome",
            "pipeline",
            "rows_after",
            "rows_before",
            "run",
            "sources",
            "started_at",
            "table"
        ]
    );
    // 15,150 holds the text 5,50 too: two rows are updated; the bad row keeps what the table said before.
    assert_eq!(
        receipt["counts"],
        serde_json::json!({ "new": 2, "updated": 1, "removed": 1, "unchanged": 17, "duplicate": 0, "rejected": 0, "kept": 1 })
    );
}

#[test]
fn nothing_new_writes_nothing() {
    let publisher = TestPublisher::start();
    publisher.publisher.publish("/t.csv", "id,n\n1,1\n");
    let environment = Environment::new();
    environment.write(
        "small/pipeline.yaml",
        SMALL.replace("file: { path: ../in.csv }", &format!("http: {{ url: {:?} }}", publisher.publisher.url("/t.csv"))),
    );
    environment.expect(0, &["run", "small"]);
    let files = || {
        let mut files = Vec::new();
        let mut folders = vec![environment.home()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    folders.push(entry.path());
                }
                files.push((entry.path(), metadata.len(), metadata.modified().unwrap()));
            }
        }
        files.sort();
        files
    };
    let before = files();
    let receipt = environment.receipt("small");
    assert_eq!(receipt["outcome"], "unchanged");
    assert_eq!(files(), before);
    assert_eq!(publisher.publisher.requests().last().unwrap().1, 304);
}

#[test]
fn a_held_run_can_be_seen_approved_or_discarded() {
    let environment = small(&many(0..20));
    environment.expect(0, &["run", "small"]);
    environment.write("in.csv", many(0..10));
    let held = environment.expect(3, &["run", "small"]);
    assert!(held.stderr.contains("would remove 10 of 20 rows, 50.0 % (max_removed: 10%)"), "{}", held.stderr);
    assert!(environment.expect(0, &["diff", "2"]).stdout.contains("− id=19  n 190"));
    assert_eq!(environment.query("SELECT count(*) AS n FROM t")[0]["n"], 20);
    // Nothing new: the hold stands, and is not told again.
    assert!(environment.expect(3, &["run", "small"]).stderr.contains("run 2 is held"));
    environment.expect(0, &["approve", "2"]);
    assert_eq!(environment.query("SELECT count(*) AS n FROM t")[0]["n"], 10);
    let again = environment.expect(2, &["approve", "2"]);
    assert!(again.stderr.contains("error[TG405]"), "{}", again.stderr);

    environment.write("in.csv", many(0..3));
    environment.expect(3, &["run", "small"]);
    environment.expect(0, &["discard", "3"]);
    assert_eq!(environment.receipt("small")["outcome"], "unchanged");
    assert_eq!(environment.query("SELECT count(*) AS n FROM t")[0]["n"], 10);
}

#[test]
fn quarantine_fills_heals_and_is_not_counted_twice() {
    let environment = small(&many(0..50).replace("7,70\n", "7,x\n"));
    environment.expect(0, &["run", "small"]);
    let list = environment.expect(0, &["quarantine", "list"]).stdout;
    assert!(list.contains("`x` is not a whole number") && list.contains(" 9 "), "{list}");
    // Still bad, and another one.
    environment.write("in.csv", many(0..51).replace("7,70\n", "7,x\n").replace("\n9,90\n", "\n9,90,1\n"));
    environment.expect(0, &["run", "small"]);
    let rows = environment.expect(0, &["quarantine", "export"]).receipts();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0]["first_run"].as_i64(), rows[0]["seen"].as_u64()), (Some(1), Some(2)));
    // Mended by the publisher.
    environment.write("in.csv", many(0..52).replace("\n9,90\n", "\n9,90,1\n"));
    environment.expect(0, &["run", "small"]);
    assert_eq!(environment.expect(0, &["quarantine", "export"]).receipts().len(), 1);
    let resolved = environment.expect(0, &["quarantine", "list", "--status", "resolved", "-o", "json"]).receipts();
    assert_eq!(resolved[0]["closed_because"], "the row is good now");
    // Mended by the user: the type is widened, and the row comes back by itself.
    environment.write("in.csv", many(0..52).replace("7,70\n", "7,x\n"));
    environment.expect(0, &["run", "small"]);
    environment.write("small/pipeline.yaml", SMALL.replace("n: { type: int64 }", "n: { type: int64 }\n    csv: { nulls: [x] }"));
    assert_eq!(environment.receipt("small")["outcome"], "published");
    assert_eq!(environment.expect(0, &["quarantine", "export"]).receipts().len(), 0);
}

#[test]
fn history_diff_and_time_travel_agree() {
    let environment = small("id,n\n1,1\n2,2\n3,3\n4,4\n5,5\n6,6\n7,7\n8,8\n9,9\n10,10\n");
    environment.expect(0, &["run", "small"]);
    environment.write("in.csv", "id,n\n1,1\n2,20\n3,3\n4,4\n5,5\n6,6\n7,7\n8,8\n9,9\n11,11\n");
    environment.expect(0, &["run", "small"]);
    insta::assert_snapshot!(environment.expect(0, &["diff", "2"]).stdout, @r"
    ~ id=2  n 2 → 20
    − id=10  n 10
    + id=11  n 11
    ");
    insta::assert_snapshot!(environment.expect(0, &["diff", "2", "-o", "csv"]).stdout, @r"
    op,id,n,before.n
    update,2,20,2
    delete,10,10,
    insert,11,11,
    ");
    // Compared as numbers: as texts 10 would come before 2.
    let shown = environment.expect(0, &["runs", "-o", "json"]).stdout;
    assert!(environment.expect(0, &["show", "2", "-o", "json"]).stdout.contains(r#""oldest":"2","newest":"10""#), "{shown}");
    let csv = environment.expect(0, &["history", "t", "2", "-o", "csv"]).stdout;
    assert!(csv.starts_with("run,published_at,op,id,n,before.n\n1,") && csv.trim_end().ends_with(",update,2,20,2"), "{csv}");
    let csv = environment.expect(0, &["events", "-o", "csv"]).stdout;
    assert!(csv.starts_with("sequence,time,type,source,subject,id,data\n1,"), "{csv}");
    let history = environment.expect(0, &["history", "t", "2", "-o", "json"]).receipts();
    assert_eq!(history.len(), 2);
    assert_eq!((&history[1]["before"]["n"], &history[1]["after"]["n"]), (&2.into(), &20.into()));
    let then = environment.expect(0, &["query", "SELECT sum(n) AS s, count(*) AS c FROM t", "--as-of", "run:1", "-o", "json"]).receipts();
    assert_eq!((then[0]["s"].as_i64(), then[0]["c"].as_i64()), (Some(55), Some(10)));
    // A rebuilt table is the same table.
    let before = environment.query("SELECT * FROM t ORDER BY id");
    environment.expect(0, &["rebuild", "small"]);
    assert_eq!(environment.query("SELECT * FROM t ORDER BY id"), before);
    environment.expect(0, &["doctor", "--deep"]);
}

#[test]
fn modes_do_what_they_say() {
    for (mode, key, after, counts) in [
        ("mirror", "key: [id], ", "1,2,4", [1, 1, 1]),
        ("merge", "key: [id], ", "1,2,3,4", [1, 1, 0]),
        ("append", "key: [id], ", "1,2,3,4", [1, 0, 0]),
        ("append", "", "1,1,2,2,3,4", [3, 0, 0]),
        ("replace", "", "1,2,4", [2, 0, 2]),
    ] {
        let environment = small("id,n\n1,1\n2,2\n3,3\n");
        environment.write("small/pipeline.yaml", SMALL.replace("key: [id]", &format!("{key}mode: {mode}, guards: off")));
        environment.expect(0, &["run", "small"]);
        environment.write("in.csv", "id,n\n1,1\n2,20\n4,4\n4,4\n");
        let receipt = environment.receipt("small");
        adds_up(&receipt);
        let got = ["new", "updated", "removed"].map(|name| receipt["counts"][name].as_u64().unwrap());
        let expected = if mode == "append" && key.is_empty() { [4, 0, 0] } else { counts };
        assert_eq!(got, expected, "{mode} {key} {receipt}");
        let ids: Vec<String> = environment.query("SELECT id FROM t ORDER BY id").iter().map(|row| row["id"].to_string()).collect();
        let after = if mode == "append" && key.is_empty() { "1,1,2,2,3,4,4" } else { after };
        assert_eq!(ids.join(","), after, "{mode} {key}");
        // INV-3: the same publication again changes nothing.
        assert_eq!(environment.receipt("small")["outcome"], "unchanged", "{mode} {key}");
    }
}

#[test]
fn contradicting_rows_are_all_rejected_and_repetitions_collapse() {
    let environment = small("id,n\n1,1\n2,2\n2,2\n3,3\n3,4\n4,4\n");
    let held = environment.expect(3, &["run", "small"]);
    assert!(held.stderr.contains("2 rows of 6, 33.3 % contradict each other"), "{}", held.stderr);
    let receipt = environment.expect(0, &["approve", "1", "-o", "json"]).receipts().remove(0);
    assert_eq!(receipt["outcome"], "published", "{receipt}");
    environment.write("small/pipeline.yaml", SMALL.replace("key: [id]", "key: [id], guards: off"));
    assert_eq!(
        (receipt["counts"]["new"].as_u64(), receipt["counts"]["duplicate"].as_u64(), receipt["counts"]["rejected"].as_u64()),
        (Some(3), Some(1), Some(2))
    );
    assert!(environment.expect(0, &["quarantine", "list"]).stdout.contains("several rows have this key and different values"));
    // What the table said of a key stays until the publisher says one thing again.
    environment.write("in.csv", "id,n\n1,1\n1,7\n2,2\n3,3\n");
    let receipt = environment.receipt("small");
    adds_up(&receipt);
    assert_eq!((counts(&receipt), receipt["counts"]["kept"].as_u64()), ([1, 0, 1, 1], Some(1)), "{receipt}");
    assert_eq!(environment.query("SELECT n FROM t WHERE id = 1")[0]["n"], 1);
    environment.write("in.csv", "id,n\n1,7\n2,2\n3,3\n");
    assert_eq!(counts(&environment.receipt("small")), [0, 1, 0, 2]);
    assert_eq!(environment.expect(0, &["quarantine", "list", "-o", "json"]).stdout, "");
}

#[test]
fn errors_say_what_where_why_and_what_to_do() {
    let environment = small("id,n\n1,1\n");
    environment.write("small/pipeline.yaml", SMALL.replace("table: {", "transform: t.sql\ntable: {"));
    environment.write("small/t.sql", "SELECT id,\n       m AS n\nFROM s\n");
    let ran = environment.expect(2, &["validate", "small"]);
    insta::assert_snapshot!(ran.stderr, @r"
    error[TG301]: column 'm' not found (small/t.sql:2:8)
    ");
    environment.write("small/t.sql", "SELECT id n\nFROM s WHERE\n");
    assert!(environment.expect(2, &["validate", "small"]).stderr.contains("(small/t.sql:2:13)"));
    environment.write("small/t.sql", "DROP TABLE s");
    assert!(environment.expect(2, &["validate", "small"]).stderr.contains("only a SELECT can stand here"));
    let ran = environment.expect(2, &["run", "nowhere"]);
    insta::assert_snapshot!(ran.stderr, @r"
    error[TG104]: there is no pipeline at nowhere
      there are: small
    ");
    let ran = environment.expect(2, &["show", "99"]);
    assert!(ran.stderr.contains("error[TG404]: there is no run 99"), "{}", ran.stderr);
}

#[test]
fn a_publisher_in_trouble_is_asked_again() {
    let publisher = TestPublisher::start();
    publisher.publisher.publish("/t.csv", many(0..1000));
    let environment = Environment::new();
    environment.write(
        "small/pipeline.yaml",
        SMALL.replace("file: { path: ../in.csv }", &format!("http: {{ url: {:?} }}", publisher.publisher.url("/t.csv")))
            + "notify:\n  - console: {}\n",
    );
    publisher.publisher.mood("/t.csv", Mood::Status(503, 1, Some(0)));
    assert_eq!(environment.receipt("small")["outcome"], "published");
    // A transfer that breaks off is never taken for a publication.
    publisher.publisher.publish("/t.csv", many(0..1001));
    publisher.publisher.mood("/t.csv", Mood::BreakOff(1));
    let receipt = environment.receipt("small");
    assert_eq!((receipt["outcome"].as_str(), receipt["rows_after"].as_u64()), (Some("published"), Some(1001)));
    // Gone after it was there: an error, and the table keeps what it has.
    publisher.publisher.withdraw("/t.csv");
    let ran = environment.expect(1, &["run", "small"]);
    assert!(ran.stderr.contains("error[TG209]"), "{}", ran.stderr);
    assert!(ran.stderr.contains("✉ [small] failed: TG209"), "people are told now, not with the next run: {}", ran.stderr);
    assert_eq!(environment.query("SELECT count(*) AS n FROM t")[0]["n"], 1001);
}

#[test]
fn init_writes_a_pipeline_that_runs() {
    let environment = Environment::new();
    environment.write("prices.csv", "Day;Shop ID;Price;Note\n2020-01-01;007;1.5;a\n2020-01-02;007;2.5;\n2020-01-02;008;2.0;b\n");
    environment.expect(0, &["init", "prices.csv"]);
    let written = std::fs::read_to_string(environment.path("pipelines/prices/pipeline.yaml")).unwrap();
    assert!(written.contains("day: { type: date, from: \"Day\", required: true }"), "{written}");
    assert!(written.contains("shop_id: { type: string, from: \"Shop ID\", required: true }"), "{written}");
    assert!(written.contains("key: [day, shop_id]") && written.contains("delimiter: \";\""), "{written}");
    environment.expect(0, &["plan", "prices"]);
    assert_eq!(environment.receipt("pipelines/prices")["counts"]["new"], 3);
}

#[test]
fn init_unpacks_and_leaves_nothing_behind_that_is_no_pipeline() {
    let environment = Environment::new();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(many(0..200_000).as_bytes()).unwrap();
    environment.write("numbers.csv.gz", packed.finish().unwrap());
    environment.expect(0, &["init", "numbers.csv.gz"]);
    assert_eq!(environment.receipt("pipelines/numbers")["counts"]["new"], 200_000);
    environment.write("page.html", "<!doctype html><html><body>Not found</body></html>");
    assert!(environment.expect(1, &["init", "page.html"]).stderr.contains("TG203"));
    assert!(environment.expect(2, &["init", "numbers.csv.gz", "--name", "Numbers 1"]).stderr.contains("cannot be the name"));
    environment.expect(2, &["init", "numbers.csv.gz", "--name", "changes"]);
    let pipelines = std::fs::read_dir(environment.path("pipelines")).unwrap().count();
    assert_eq!(pipelines, 1);
}

#[test]
fn a_page_is_no_publication_even_if_every_column_may_be_missing() {
    let environment = small("id,n\n1,1\n");
    let optional = SMALL.replace("required: true", "optional: true").replace("n: { type: int64 }", "n: { type: int64, optional: true }");
    environment.write("small/pipeline.yaml", optional);
    environment.expect(0, &["run", "small"]);
    environment.write("in.csv", "<!doctype html>\n<html>\n");
    assert!(environment.expect(1, &["run", "small"]).stderr.contains("gave an HTML page where CSV was promised"));
    environment.write("in.csv", "id;n\n1;1\n");
    let failed = environment.expect(1, &["run", "small"]).stderr;
    assert!(failed.contains("TG204") && failed.contains("csv: { delimiter: \";\" }"), "{failed}");
}

#[test]
fn a_mirror_stands_for_the_web() {
    let environment = Environment::new();
    environment.write("m/example.org/data/t.csv", "id,n\n1,1\n");
    environment
        .write("small/pipeline.yaml", SMALL.replace("file: { path: ../in.csv }", "http: { url: \"https://example.org/data/t.csv\" }"));
    environment.expect(0, &["run", "small", "--mirror", "m"]);
    assert_eq!(environment.query("SELECT count(*) AS n FROM t")[0]["n"], 1);
}

#[test]
fn help_and_schema_are_there_for_everything() {
    let environment = Environment::new();
    let help = environment.expect(0, &["--help"]).stdout;
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    let schema = environment.expect(0, &["schema"]).stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert!(environment.expect(0, &["completions", "bash"]).stdout.contains("_tidegate"));
}

#[test]
fn two_processes_do_not_run_one_pipeline_at_once() {
    let environment = small("id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    let lock = std::fs::OpenOptions::new().write(true).open(environment.home().join("locks/small.lock")).unwrap();
    lock.lock().unwrap();
    let ran = environment.expect(1, &["run", "small"]);
    assert!(ran.stderr.contains("error[TG402]"), "{}", ran.stderr);
}

#[test]
fn the_demo_works_without_anything() {
    let environment = Environment::new();
    let ran = environment.expect(0, &["demo", "-o", "json"]);
    let receipts = ran.receipts();
    receipts.iter().for_each(adds_up);
    for outcome in ["published", "unchanged", "held", "failed", "waiting"] {
        assert!(receipts.iter().any(|receipt| receipt["outcome"] == outcome), "{outcome}");
    }
    assert!(receipts.iter().any(|receipt| receipt["sources"]["nyt"]["rejected"] == 1));
}

#[test]
fn init_reads_json_lines_and_parquet_too() {
    let environment = Environment::new();
    environment.write(
        "rates.jsonl",
        "{\"day\":\"2020-01-01\",\"code\":\"0101\",\"rate\":1.5,\"open\":true}\n{\"day\":\"2020-01-02\",\"code\":\"0101\",\"rate\":2,\"open\":null}\n",
    );
    environment.expect(0, &["init", "rates.jsonl"]);
    let written = std::fs::read_to_string(environment.path("pipelines/rates/pipeline.yaml")).unwrap();
    for line in [
        "format: jsonl",
        "day: { type: date, required: true }",
        "code: { type: string }",
        "rate: { type: float64, required: true }",
        "open: { type: bool }",
        "key: [day]",
    ] {
        assert!(written.contains(line), "{line} is not in\n{written}");
    }
    environment.expect(0, &["run", "pipelines/rates"]);
    // The table just made is a Parquet file, and a pipeline for it makes the same table.
    let folder = environment.home().join("tables/rates");
    let data = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_file()).unwrap();
    environment.expect(0, &["init", &data.display().to_string(), "--name", "copied"]);
    environment.expect(0, &["run", "pipelines/copied"]);
    let rows = |table: &str| environment.query(&format!("SELECT * FROM {table} ORDER BY day"));
    assert_eq!(rows("copied"), rows("rates"));
}
