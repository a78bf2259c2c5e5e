//! What somebody broke is found, told, and mended by the command the error names.

use crate::{commands::SMALL, environment::Environment};

fn begun() -> Environment {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL);
    environment.write("in.csv", "id,n\n1,1\n2,2\n");
    environment.expect(0, &["run", "small"]);
    environment
}

/// What another Delta writer leaves: a commit that takes a file of the table away.
fn foreign_commit(environment: &Environment) {
    let log = environment.home().join("tables/t/_delta_log");
    let ours = std::fs::read_to_string(log.join(format!("{:020}.json", 1))).unwrap();
    let add: serde_json::Value = ours
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find_map(|action| action.get("add").cloned())
        .unwrap();
    let remove = serde_json::json!({ "remove": { "path": add["path"], "dataChange": true, "deletionTimestamp": 1, "size": add["size"] } });
    let info = serde_json::json!({ "commitInfo": { "operation": "DELETE", "timestamp": 1 } });
    std::fs::write(log.join(format!("{:020}.json", 2)), format!("{info}\n{remove}\n")).unwrap();
}

#[test]
fn a_foreign_write_is_told_and_mended_by_a_rebuild() {
    let environment = begun();
    foreign_commit(&environment);
    // Even if nothing is new.
    let ran = environment.expect(1, &["run", "small"]);
    assert!(ran.stderr.contains("error[TG502]") && ran.stderr.contains("version 2 of its log is a DELETE"), "{}", ran.stderr);
    environment.write("in.csv", "id,n\n1,1\n2,3\n");
    for _ in 0..4 {
        let ran = environment.expect(1, &["run", "small"]);
        assert!(ran.stderr.contains("tidegate rebuild"), "{}", ran.stderr);
    }
    environment.expect(0, &["rebuild", "small"]);
    // The publication that came meanwhile was not forgotten, though it had been given up.
    let ran = environment.expect(0, &["run", "small"]);
    assert!(ran.stdout.contains("published"), "{}", ran.stdout);
    assert_eq!(environment.query("SELECT sum(n) AS n FROM t")[0]["n"], 4);
    environment.expect(0, &["doctor", "--deep"]);
}

#[test]
fn doctor_reads_the_tables_when_asked_to() {
    let environment = begun();
    let folder = environment.home().join("tables/t");
    let file = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_file()).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, [&bytes[..4], &[0; 40], &bytes[44..]].concat()).unwrap();
    environment.expect(0, &["doctor"]);
    let ran = environment.expect(1, &["doctor", "--deep"]);
    assert!(ran.stdout.contains("t is not whole") && ran.stdout.contains("tidegate rebuild"), "{}", ran.stdout);
    environment.expect(0, &["rebuild", "small"]);
    environment.expect(0, &["doctor", "--deep"]);
}

#[test]
fn the_last_good_version_stays_however_the_file_spells_its_key() {
    let environment = Environment::new();
    environment.write(
        "p/pipeline.yaml",
        "
version: 1
name: p
sources:
  s:
    file: { path: ../in.csv }
    format: csv
    columns:
      day: { type: date, formats: ['%m/%d/%Y'] }
      id: { type: int64 }
      n: { type: int64, sensitive: true }
table: { name: t, key: [day, id], guards: off }
",
    );
    environment.write("in.csv", "day,id,n\n05/01/2020,1.0,1\n05/01/2020,2.0,2\n05/01/2020,3.0,3\n");
    environment.expect(0, &["run", "p"]);
    environment.write("in.csv", "day,id,n\n05/01/2020,1.0,1\n05/01/2020,2.0,bad\n");
    let receipt = environment.receipt("p");
    assert_eq!((&receipt["counts"]["removed"], &receipt["counts"]["kept"]), (&1.into(), &1.into()), "{receipt}");
    assert_eq!(environment.query("SELECT count(*) AS n FROM t WHERE id = 2")[0]["n"], 1);
    let quarantine = environment.expect(0, &["quarantine", "list", "-o", "json"]).stdout;
    assert!(!quarantine.contains("\"key\""), "{quarantine}");
}

#[test]
fn decisions_can_be_made_from_any_folder() {
    let environment = begun();
    environment.write("in.csv", "id,n\n");
    environment.expect(3, &["run", "small"]);
    let elsewhere = environment.path("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let home = environment.home().display().to_string();
    let output = environment.command(&["--home", &home, "approve", "2"]).current_dir(elsewhere).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn wrong_sql_in_a_query_is_wrong_use() {
    let environment = begun();
    environment.expect(2, &["query", "SELEC 1"]);
    environment.expect(2, &["query", "SELECT nothing FROM t"]);
}

#[test]
fn a_publication_that_fails_again_is_shown_once() {
    let environment = begun();
    environment.write("in.csv", "id,m\n1,1\n");
    environment.expect(1, &["run", "small"]);
    // Another definition, so it is tried again, and fails again.
    environment.write("small/pipeline.yaml", SMALL.replace("n: {", "k: {"));
    let ran = environment.run(&["run", "small", "-o", "json"]);
    assert_eq!((ran.code, ran.receipts().len()), (Some(1), 1), "{}\n{}", ran.stdout, ran.stderr);
}

#[test]
fn what_dead_processes_and_old_versions_left_is_tidied_up() {
    let environment = begun();
    let folder = environment.home().join("tables/t");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 24 * 3600);
    for name in ["run-00000001-00009-0-dead.parquet", "_run-00000001-00009-0-dead.parquet.part"] {
        std::fs::write(folder.join(name), "left").unwrap();
        std::fs::File::options().write(true).open(folder.join(name)).unwrap().set_modified(long_ago).unwrap();
    }
    let files: Vec<String> =
        (0..20).map(|n| environment.write(&format!("old/{n:02}.csv"), format!("id,n\n1,1\n2,{n}\n")).display().to_string()).collect();
    let mut args = vec!["backfill", "small"];
    args.extend(files.iter().map(String::as_str));
    environment.expect(0, &args);
    let left: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("dead"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    environment.expect(0, &["doctor", "--deep"]);
    environment.expect(0, &["run", "small"]);
}

#[test]
fn missing_publications_are_found_before_they_are_needed() {
    let environment = begun();
    for folder in std::fs::read_dir(environment.home().join("raw")).unwrap() {
        std::fs::remove_dir_all(folder.unwrap().path()).unwrap();
    }
    let ran = environment.expect(1, &["doctor"]);
    assert!(ran.stdout.contains("the bytes of snapshot 1 are missing"), "{}", ran.stdout);
    let ran = environment.expect(1, &["replay", "1"]);
    assert!(ran.stderr.contains("error[TG407]"), "{}", ran.stderr);
}

#[test]
fn a_held_run_shows_what_it_would_reject_until_a_person_says_that_it_does_not_matter() {
    let environment = begun();
    environment.write("in.csv", "id,n\n1,1\n2,x\n");
    environment.expect(3, &["run", "small"]);
    let shown = environment.expect(0, &["show", "2"]).stdout;
    assert!(shown.contains("rejects s line 3, n: `x` is not a whole number"), "{shown}");
    // Held is held, also for a run that finds nothing new.
    environment.expect(3, &["run", "small"]);
    environment.expect(0, &["approve", "2"]);
    environment.expect(0, &["quarantine", "discard", "1"]);
    environment.write("in.csv", "id,n\n1,5\n2,x\n");
    let ran = environment.expect(0, &["run", "small"]);
    assert!(ran.stdout.contains("(1 kept)"), "{}", ran.stdout);
}

#[test]
fn what_is_not_there_is_said_not_to_be_there() {
    let environment = begun();
    for args in [&["runs", "nope"][..], &["events", "nope"], &["quarantine", "list", "nope"], &["pause", "nope"]] {
        let ran = environment.expect(2, args);
        assert!(ran.stderr.contains("the ledger knows no pipeline `nope`") && ran.stderr.contains("it knows: small"), "{}", ran.stderr);
    }
    let ran = environment.expect(2, &["history", "t", "colour=red"]);
    assert!(ran.stderr.contains("`colour` is not in the key of t"), "{}", ran.stderr);
    let runs = environment.expect(0, &["runs", "-o", "csv"]).stdout;
    assert!(runs.starts_with("RUN,AT (UTC),PIPELINE,STATE,COUNTS,ROWS,NOTE\n1,"), "{runs}");
    environment.write("empty.csv", "");
    assert!(environment.expect(1, &["init", "empty.csv"]).stderr.contains("empty.csv is empty"));
}

#[test]
fn history_is_not_told_again_from_altered_bytes() {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL);
    environment.write("in.csv", "id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    let folder = std::fs::read_dir(environment.home().join("raw")).unwrap().map(|entry| entry.unwrap().path());
    let folder = folder.into_iter().find(|path| !path.ends_with("incoming")).unwrap();
    let kept = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&kept, "id,n\n1,2\n").unwrap();
    let ran = environment.expect(1, &["replay", "1"]);
    assert!(ran.stderr.contains("TG407") && ran.stderr.contains("was altered"), "{}", ran.stderr);
    assert_eq!(environment.query("SELECT n FROM t")[0]["n"], 1);
    assert!(environment.expect(1, &["doctor", "--deep"]).stdout.contains("were altered"));
}

#[test]
fn doctor_sees_without_reading_that_files_of_a_table_are_gone() {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL);
    environment.write("in.csv", "id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    let tables = environment.home().join("tables");
    for entry in std::fs::read_dir(tables.join("t")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        std::fs::remove_file(entry).unwrap();
    }
    std::fs::remove_dir_all(tables.join("t__history")).unwrap();
    let found = environment.expect(1, &["doctor"]).stdout;
    assert!(found.contains("t is not whole") && found.contains("t__history is not whole"), "{found}");
    environment.expect(0, &["rebuild", "small"]);
    environment.expect(0, &["doctor", "--deep"]);
}

#[test]
fn raw_bytes_are_kept_for_their_time_and_as_long_as_they_are_needed() {
    let mut environment = Environment::new();
    environment.write("small/pipeline.yaml", format!("{SMALL}limits: {{ keep_raw: 1d }}\n"));
    let kept = |environment: &Environment| -> usize {
        let folders = std::fs::read_dir(environment.home().join("raw")).unwrap().map(|folder| folder.unwrap().path());
        folders.filter(|folder| !folder.ends_with("incoming")).map(|folder| std::fs::read_dir(folder).unwrap().count()).sum()
    };
    let mut on = |day: u32, n: u32| {
        environment.set("TIDEGATE_NOW", format!("2020-05-0{day}T12:00:00Z"));
        environment.write("in.csv", format!("id,n\n1,{n}\n"));
        environment.expect(0, &["run", "small"]);
        kept(&environment)
    };
    assert_eq!([on(1, 1), on(2, 2), on(4, 3), on(4, 4)], [1, 2, 1, 2]);
    // What was said before comes again, and its bytes too; what the table is built from is kept however old it is.
    assert_eq!([on(5, 1), on(8, 1)], [3, 1]);
    environment.expect(0, &["doctor"]);
    assert_eq!(environment.run(&["replay", "2"]).code, Some(1), "its bytes are gone");
}
