//! The pipelines that ship: valid, and their own tests pass.

use crate::environment::{Environment, project};

#[test]
fn every_shipped_pipeline_is_valid_and_passes_its_tests() {
    let environment = Environment::new();
    let mut pipelines = 0;
    for entry in std::fs::read_dir(project().join("pipelines")).unwrap() {
        let folder = entry.unwrap().path();
        let folder = folder.to_str().unwrap();
        environment.expect(0, &["validate", folder]);
        let ran = environment.expect(0, &["test", folder]);
        assert!(ran.stderr.contains(" passed, 0 failed"), "{}", ran.stderr);
        pipelines += 1;
    }
    assert!(pipelines > 0);
}

#[test]
fn a_failing_test_shows_what_differs() {
    let environment = Environment::new();
    environment.write("p/pipeline.yaml", crate::commands::SMALL);
    environment.write(
        "p/tests/t.yaml",
        "tests:\n  - name: wrong on purpose\n    steps:\n      - publish: { s: { text: \"id,n\\n1,2\\n\" } }\n        expect:\n          outcome: held\n          counts: { new: 2 }\n          rows: [{ id: 1, n: 3 }]\n",
    );
    let ran = environment.expect(1, &["test", "p"]);
    insta::assert_snapshot!(ran.stdout, @r#"
    FAILED t.yaml: wrong on purpose
        step 1: outcome: expected held, got published
        step 1: new: expected 2, got 1
        step 1: row 1:
          - {"id":1,"n":3}
          + {"id":1,"n":2}
    "#);
}
