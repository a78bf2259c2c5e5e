//! Sources of other kinds than one CSV file.

use crate::{commands::SMALL, environment::Environment};

#[test]
fn a_pattern_is_one_publication_of_several_files() {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL.replace("../in.csv", "../in/*.csv"));
    environment.write("in/a.csv", "id,n\n1,1\n2,x\n");
    environment.write("in/b.csv", "n,id\n30,3\n,y\n");
    let receipt = environment.receipt("small");
    assert_eq!((receipt["outcome"].as_str(), receipt["sources"]["s"]["read"].as_u64()), (Some("held"), Some(4)), "{receipt}");
    environment.expect(0, &["approve", "1"]);
    let rows = environment.expect(0, &["quarantine", "export"]).receipts();
    let places: Vec<(&str, u64)> = rows.iter().map(|row| (row["part"].as_str().unwrap(), row["line"].as_u64().unwrap())).collect();
    assert_eq!(places, [("a.csv", 3), ("b.csv", 3)]);
    // One more file is another publication.
    environment.write("in/c.csv", "id,n\n4,4\n5,5\n");
    environment.write("small/pipeline.yaml", SMALL.replace("../in.csv", "../in/*.csv").replace("key: [id]", "key: [id], guards: off"));
    let receipt = environment.receipt("small");
    assert_eq!((receipt["counts"]["new"].as_u64(), receipt["rows_after"].as_u64()), (Some(2), Some(4)), "{receipt}");
}

#[test]
fn json_lines_and_parquet_are_read_like_csv() {
    let environment = Environment::new();
    environment.write(
        "lines/pipeline.yaml",
        SMALL.replace("name: small", "name: lines").replace("format: csv", "format: jsonl").replace("../in.csv", "../in.jsonl"),
    );
    environment.write("in.jsonl", "{\"id\": 1, \"n\": 10}\n{\"id\": \"2\"}\n{\"id\": 3, \"n\": 30}\n");
    assert_eq!(environment.receipt("lines")["counts"]["new"], 3);
    // A table's own file is as good a Parquet file as any.
    let table = environment.home().join("tables/t");
    let file = std::fs::read_dir(table)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "parquet"))
        .unwrap();
    std::fs::copy(file, environment.path("in.parquet")).unwrap();
    environment.write(
        "columns/pipeline.yaml",
        SMALL
            .replace("name: small", "name: columns")
            .replace("format: csv", "format: parquet")
            .replace("../in.csv", "../in.parquet")
            .replace("name: t,", "name: u,")
            .replace("n: { type: int64 }", "n: { type: int64, check: \"n < 30\" }")
            .replace("key: [id]", "key: [id], guards: off"),
    );
    let receipt = environment.receipt("columns");
    assert_eq!((receipt["counts"]["new"].as_u64(), receipt["sources"]["s"]["rejected"].as_u64()), (Some(2), Some(1)), "{receipt}");
    assert_eq!(environment.query("SELECT sum(n) AS s FROM u")[0]["s"], 10);
}

#[test]
fn inv_7_no_secrets_out() {
    let environment = Environment::new();
    environment.write(
        "small/pipeline.yaml",
        SMALL
            .replace("n: { type: int64 }", "n: { type: int64, sensitive: true }")
            .replace("key: [id]", "key: [id], guards: off, checks: [{ name: c, sql: SELECT n FROM t, severity: warn }]"),
    );
    environment.write("in.csv", "id,n\n1,4711\n2,secret\n");
    let ran = environment.expect(0, &["run", "small"]);
    environment.write("in.csv", "id,n\n1,4712\n2,secret\n");
    let again = environment.expect(0, &["run", "small"]);
    let mut said = ran.stdout + &ran.stderr + &again.stdout + &again.stderr;
    for args in
        [vec!["diff", "2"], vec!["show", "2"], vec!["history", "t", "1"], vec!["quarantine", "export"], vec!["events", "-o", "json"]]
    {
        said += &environment.expect(0, &args).stdout;
    }
    assert!(said.contains("***") && said.contains("masked"), "{said}");
    for value in ["4711", "4712", "secret"] {
        assert!(!said.contains(value), "{value} came out: {said}");
    }
    assert_eq!(environment.query("SELECT n FROM t")[0]["n"], 4712);
}
