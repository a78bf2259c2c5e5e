//! Tables are read by others: Python's `deltalake`, Polars and DuckDB, where they are installed.

use crate::{commands::SMALL, environment::Environment};
use std::process::Command;

const SCRIPT: &str = r#"
import sys, deltalake, polars, duckdb
home = sys.argv[1]
for name, rows in (("t", 3), ("t__history", 6)):
    path = f"{home}/tables/{name}"
    a = deltalake.DeltaTable(path).to_pyarrow_table().num_rows
    b = polars.read_delta(path).height
    files = deltalake.DeltaTable(path).file_uris()
    c = duckdb.sql(f"SELECT count(*) FROM read_parquet({files})").fetchall()[0][0]
    assert (a, b, c) == (rows, rows, rows), (name, a, b, c)
print(polars.read_delta(f"{home}/tables/t").sort("id").rows())
"#;

#[test]
fn python_polars_and_duckdb_read_both_tables() {
    let python = std::env::var("TIDEGATE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python)
        .args(["-c", "import deltalake, polars, duckdb, pyarrow"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        assert!(std::env::var_os("TIDEGATE_CI").is_none(), "CI must have the readers installed");
        eprintln!("skipped: {python} has no deltalake, polars, duckdb and pyarrow; .ci/run installs them");
        return;
    }
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL.replace("key: [id]", "key: [id], guards: off"));
    environment.write("in.csv", "id,n\n1,1\n2,2\n3,3\n");
    environment.expect(0, &["run", "small"]);
    environment.write("in.csv", "id,n\n1,1\n2,\n4,4\n");
    // Three inserts, then an update, a delete and an insert; the history has six entries.
    environment.expect(0, &["run", "small"]);
    let output = Command::new(&python).args(["-c", SCRIPT, environment.home().to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "[(1, 1), (2, None), (4, 4)]");
}
