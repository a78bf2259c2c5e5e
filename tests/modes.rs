//! What each mode does to rows, seen from the outside.

use crate::environment::{Environment, adds_up};

fn pipeline(columns: &str, table: &str) -> String {
    format!(
        "\nversion: 1\nname: p\nsources:\n  s:\n    file: {{ path: ../in.csv }}\n    format: csv\n    columns: {{ {columns} }}\ntable: {{ name: t, {table} }}\n"
    )
}

#[test]
fn an_append_only_table_without_a_key_takes_every_row_and_new_columns() {
    let environment = Environment::new();
    environment.write("p/pipeline.yaml", pipeline("a: { type: int64 }", "mode: append"));
    for (n, csv) in ["a\n1\n1\n2\n", "a\n2\n3\n"].iter().enumerate() {
        environment.write("in.csv", csv);
        let receipt = environment.receipt("p");
        adds_up(&receipt);
        assert_eq!(receipt["counts"]["kept"].as_u64().unwrap_or(0), 3 * n as u64, "{receipt}");
    }
    environment.write("p/pipeline.yaml", pipeline("a: { type: int64 }, b: { type: string }", "mode: append"));
    environment.write("in.csv", "a,b\n4,x\n");
    adds_up(&environment.receipt("p"));
    let rows = environment.expect(0, &["query", "SELECT * FROM t ORDER BY a", "-o", "csv"]).stdout;
    assert_eq!(rows, "a,b\n1,\n1,\n2,\n2,\n3,\n4,x\n");
    environment.expect(0, &["doctor", "--deep"]);
}

#[test]
fn a_merged_table_keeps_what_is_no_longer_published() {
    let environment = Environment::new();
    environment.write("p/pipeline.yaml", pipeline("a: { type: int64 }, b: { type: int64 }", "key: [a], mode: merge"));
    environment.write("in.csv", "a,b\n1,1\n2,2\n");
    environment.receipt("p");
    environment.write("in.csv", "a,b\n2,3\n5,5\n");
    let receipt = environment.receipt("p");
    adds_up(&receipt);
    assert_eq!(receipt["counts"]["kept"], 1, "{receipt}");
    assert_eq!(environment.expect(0, &["query", "SELECT * FROM t", "-o", "csv"]).stdout, "a,b\n1,1\n2,3\n5,5\n");
}
