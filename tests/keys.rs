//! A table keeps its key and its pipeline, or says why it cannot.

use crate::{commands::SMALL, environment::Environment};

#[test]
fn another_key_is_refused_and_another_table_is_loaded_anew() {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL);
    environment.write("in.csv", "id,n\n1,1\n2,3\n");
    environment.expect(0, &["run", "small"]);
    for changed in ["key: [n]", "mode: append", "key: [id, n]"] {
        environment.write("small/pipeline.yaml", SMALL.replace("key: [id]", changed));
        environment.write("in.csv", format!("id,n\n5,1\n2,3\n7,{}\n", changed.len()));
        let refused = environment.expect(1, &["run", "small"]);
        assert!(refused.stderr.contains("TG303") && refused.stderr.contains("has the key id"), "{}", refused.stderr);
        assert_eq!(environment.query("SELECT count(*) AS n FROM t")[0]["n"], 2);
    }
    environment.write("small/pipeline.yaml", SMALL.replace("key: [id]", "key: [n]").replace("name: t,", "name: u,"));
    assert_eq!(environment.receipt("small")["counts"]["new"], 3);
}

#[test]
fn a_table_has_one_pipeline() {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL);
    environment.write("other/pipeline.yaml", SMALL.replace("name: small", "name: other"));
    environment.write("in.csv", "id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    let refused = environment.run(&["run", "other"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("is that of pipeline `small`"), "{refused:?}");
    // Nor can it be written to, or taken away, in another way.
    for args in [&["plan", "other"][..], &["rebuild", "other"], &["backfill", "other", "in.csv"]] {
        let refused = environment.run(args);
        assert!(refused.stderr.contains("is that of pipeline `small`"), "{args:?}: {refused:?}");
    }
    environment.expect(0, &["run", "small"]);
}

#[test]
fn a_pipeline_with_a_new_name_goes_on_with_its_table() {
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", SMALL);
    environment.write("in.csv", "id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    environment.write("small/pipeline.yaml", SMALL.replace("name: small", "name: renamed"));
    environment.write("in.csv", "id,n\n1,2\n2,2\n");
    let receipt = environment.receipt("small");
    assert_eq!((crate::environment::counts(&receipt), receipt["rows_before"].as_u64()), ([1, 1, 0, 0], Some(1)), "{receipt}");
}
