//! Values of sensitive columns: sealed wherever they leave the table, and opened by whoever has the key (INV-7).

use crate::environment::Environment;
use serde_json::Value;
use std::{
    io::Write as _,
    process::{Output, Stdio},
};

const PIPELINE: &str = r#"
version: 1
name: people
sources:
  s:
    file: { path: ../in.csv }
    format: csv
    columns:
      id: { type: int64, required: true }
      email: { type: string, sensitive: true }
      born: { type: date, sensitive: true }
table:
  name: people
  key: [id, email]
  guards: off
  checks:
    - { name: nobody is from the future, severity: warn, sql: "SELECT * FROM people WHERE born > DATE '2021-01-01'" }
notify:
  - console: {}
"#;

/// Whatever of these values is found outside the table is a leak.
const SECRETS: [&str; 5] = ["ann@example.org", "bob@example.org", "eve@example.org", "1970-02-03", "2199-01-01"];

fn reveal(environment: &Environment, args: &[&str], text: &str) -> Output {
    let mut child = environment.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs twice over good, bad, contradicting and violating rows, and gives all that was said outside the table.
fn said(environment: &Environment) -> String {
    environment.write("people/pipeline.yaml", PIPELINE);
    environment.write("in.csv", "id,email,born\n1,ann@example.org,1970-02-03\n2,bob@example.org,not a day\n3,eve@example.org,2199-01-01\n");
    let mut said = String::new();
    let mut say = |args: &[&str]| {
        let ran = environment.run(args);
        said += &format!("{}{}", ran.stdout, ran.stderr);
    };
    say(&["run", "people"]);
    environment.write(
        "in.csv",
        "id,email,born\n1,ann@example.org,1971-01-01\n2,bob@example.org,not a day\n3,eve@example.org,1999-01-01\n3,eve@example.org,1999-01-02\nx,bob@example.org,1970-02-03\n",
    );
    say(&["run", "people", "-o", "json"]);
    for format in ["text", "json"] {
        for command in
            [&["quarantine", "list"][..], &["quarantine", "show", "1"], &["show", "1"], &["show", "2"], &["diff", "2"], &["events"]]
        {
            say(&[command, &["-o", format]].concat());
        }
    }
    say(&["history", "people", "1", "ann@example.org"]);
    // The ledger file itself, as far as it is text.
    said + &String::from_utf8_lossy(&std::fs::read(environment.home().join("ledger.db")).unwrap())
}

fn hides_the_secrets(said: &str) {
    for secret in SECRETS {
        let around = said.find(secret).map(|at| {
            let before: Vec<char> = said[..at + secret.len()].chars().rev().take(600).collect();
            before.into_iter().rev().collect::<String>()
        });
        assert_eq!(around, None, "`{secret}` came out");
    }
}

#[test]
fn inv_7_sealed_values_are_read_with_the_key_only() {
    let mut environment = Environment::new();
    let key = environment.expect(0, &["key"]).stdout;
    environment.set("TIDEGATE_KEY_FILE", environment.write("key", &key).display().to_string());
    let said = said(&environment);
    hides_the_secrets(&said);
    assert!(said.contains("tg1."), "{said}");
    // Nothing is lost: whoever has the key reads the row as it was published.
    let bad = environment.expect(0, &["quarantine", "list", "-o", "json"]).stdout;
    let opened = reveal(&environment, &["reveal", "-o", "json"], &bad);
    let rows: Vec<Value> = String::from_utf8(opened.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.iter().any(|row| row["raw"] == "2,bob@example.org,not a day"), "{rows:?}");
    let sample = environment.expect(0, &["show", "1", "-o", "json"]).stdout;
    let opened = String::from_utf8(reveal(&environment, &["reveal"], &sample).stdout).unwrap();
    assert!(opened.contains("ann@example.org") && opened.contains("1970-02-03"), "{opened}");
    // A row that was bad is recognised, though nobody can read it.
    environment
        .write("in.csv", "id,email,born\n1,ann@example.org,1971-01-01\n2,bob@example.org,1980-01-01\n3,eve@example.org,1999-01-01\n");
    environment.receipt("people");
    assert_eq!(environment.expect(0, &["quarantine", "list", "-o", "json"]).stdout, "");
}

#[test]
fn inv_7_without_a_key_values_are_masked() {
    let environment = Environment::new();
    let said = said(&environment);
    hides_the_secrets(&said);
    assert!(said.contains("***"), "{said}");
}

#[test]
fn a_key_that_is_none_is_told_and_not_shown() {
    let mut environment = Environment::new();
    // Where the variable is set already, a key can be made all the same; set to nothing it is not set.
    environment.set("TIDEGATE_KEY_FILE", "to-be-made.key");
    assert_eq!(environment.expect(0, &["key"]).stdout.trim().len(), 64);
    environment.set("TIDEGATE_KEY_FILE", "");
    environment.expect(0, &["status"]);
    environment.set("TIDEGATE_KEY", "0123secret");
    let ran = environment.expect(2, &["status"]);
    assert!(ran.stderr.contains("TG106") && ran.stderr.contains("line 1") && !ran.stderr.contains("0123secret"), "{}", ran.stderr);
    let without = Environment::new();
    assert_eq!(reveal(&without, &["reveal"], "x").status.code(), Some(2));
}

#[test]
fn inv_7_errors_of_the_sql_repeat_no_value() {
    let environment = Environment::new();
    environment.write("people/pipeline.yaml", PIPELINE.replace("table:", "transform: t.sql\ntable:").replace("key: [id, email]", "key: [id]").replace("  checks:\n    - { name: nobody is from the future, severity: warn, sql: \"SELECT * FROM people WHERE born > DATE '2021-01-01'\" }\n", ""));
    environment.write("people/t.sql", "SELECT id, CAST(email AS bigint) AS email FROM s");
    environment.write("in.csv", "id,email,born\n1,ann@example.org,1970-02-03\n");
    let ran = environment.expect(1, &["run", "people"]);
    let said = format!("{}{}{}", ran.stdout, ran.stderr, environment.run(&["events", "-o", "json"]).stdout);
    assert!(said.contains("TG302") && !said.contains("ann@example.org"), "{said}");
}

#[test]
fn inv_7_what_was_sensitive_is_hidden_also_when_its_file_is_gone() {
    let environment = Environment::new();
    environment.write("people/pipeline.yaml", PIPELINE);
    environment.write("in.csv", "id,email,born\n1,ann@example.org,1970-02-03\n");
    environment.expect(0, &["run", "people"]);
    std::fs::rename(environment.path("people"), environment.path("moved")).unwrap();
    let said = environment.expect(0, &["diff", "1"]).stdout + &environment.expect(0, &["history", "people", "1", "ann@example.org"]).stdout;
    assert!(said.contains("***") && !said.contains("1970-02-03"), "{said}");
}
