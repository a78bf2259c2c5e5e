//! Publishers that fall silent, or give old content: told once, and once when it is over.

use crate::{
    commands::SMALL,
    environment::{Environment, TestPublisher},
    serving::Serving,
};
use tidegate_testkit::publisher::Mood;

/// Runs at this moment, and gives what was said on stderr.
fn run_at(environment: &mut Environment, now: &str) -> String {
    environment.set("TIDEGATE_NOW", now);
    environment.expect(0, &["run", "small"]).stderr
}

fn silent_after(silence: &str) -> Environment {
    let environment = Environment::new();
    let file = SMALL
        .replace("    format: csv", &format!("    silence: {silence}\n    format: csv"))
        .replace("n: { type: int64 }", "n: { type: int64 }\n      day: { type: date, optional: true }");
    environment.write("small/pipeline.yaml", file + "notify:\n  - console: {}\n");
    environment
}

fn events(environment: &Environment, kind: &str) -> usize {
    environment.expect(0, &["events", "--kind", kind, "-o", "json"]).receipts().len()
}

#[test]
fn nothing_new_for_too_long_is_told_once_and_its_end_too() {
    let mut environment = silent_after("{ after: 2d }");
    environment.write("in.csv", "id,n\n1,1\n");
    run_at(&mut environment, "2020-05-01T12:00:00Z");
    let told = run_at(&mut environment, "2020-05-03T11:00:00Z");
    assert!(!told.contains("silent"), "{told}");
    let told = run_at(&mut environment, "2020-05-03T13:00:00Z");
    assert!(told.contains("silent: source s has had nothing newer than 2020-05-01T12:00:00Z for 2d"), "{told}");
    let told = run_at(&mut environment, "2020-05-04T13:00:00Z");
    assert!(!told.contains("silent:"), "people know: {told}");
    let doctor = environment.run(&["doctor"]);
    assert!(doctor.stdout.contains("source `s` is silent"), "{doctor:?}");
    environment.write("in.csv", "id,n\n1,2\n");
    let told = run_at(&mut environment, "2020-05-05T12:00:00Z");
    assert!(told.contains("recovered, source s has something new"), "{told}");
    assert_eq!((events(&environment, "tidegate.source.silent"), events(&environment, "tidegate.source.heard")), (1, 1));
    environment.expect(0, &["doctor"]);
}

#[test]
fn new_bytes_with_old_content_are_silence_too() {
    let mut environment = silent_after("{ after: 2d, column: day }");
    environment.write("in.csv", "id,n,day\n1,1,2020-05-01\n");
    run_at(&mut environment, "2020-05-02T12:00:00Z");
    // Other bytes each day, and the same newest day.
    environment.write("in.csv", "id,n,day\n1,2,2020-05-01\n");
    let told = run_at(&mut environment, "2020-05-03T12:00:00Z");
    assert!(!told.contains("silent"), "{told}");
    environment.write("in.csv", "id,n,day\n1,3,2020-05-01\n");
    let told = run_at(&mut environment, "2020-05-04T12:00:00Z");
    assert!(told.contains("nothing newer than 2020-05-02T00:00:00Z for 2d"), "{told}");
    environment.write("in.csv", "id,n,day\n1,3,2020-05-01\n2,1,2020-05-04\n");
    let told = run_at(&mut environment, "2020-05-04T13:00:00Z");
    assert!(told.contains("recovered"), "{told}");
}

#[test]
fn who_gives_an_old_publication_again_is_told_of() {
    let mut environment = silent_after("{ after: 9d }");
    for (day, n) in [(1, 1), (2, 2)] {
        environment.write("in.csv", format!("id,n\n1,{n}\n"));
        run_at(&mut environment, &format!("2020-05-0{day}T12:00:00Z"));
    }
    environment.write("in.csv", "id,n\n1,1\n");
    let told = run_at(&mut environment, "2020-05-03T12:00:00Z");
    assert!(told.contains("source `s` gives again what it gave on 2020-05-01 12:00 UTC"), "{told}");
    assert_eq!(events(&environment, "tidegate.source.reverted"), 1);
}

#[test]
fn a_service_tells_of_silence_and_of_a_publisher_that_answers_again() {
    let publisher = TestPublisher::start();
    publisher.publisher.publish("/t.csv", "id,n\n1,1\n");
    let environment = Environment::new();
    let file = SMALL.replace(
        "file: { path: ../in.csv }",
        &format!("http: {{ url: {:?} }}\n    silence: {{ after: 1s }}", publisher.publisher.url("/t.csv")),
    );
    environment.write(
        "small/pipeline.yaml",
        file + "retry: { tries: 1, fetch_tries: 1 }\ntriggers: { source_change: { every: 100ms } }\nnotify:\n  - console: {}\n",
    );
    let serving = Serving::start(&environment, &["small"]);
    assert_eq!(serving.receipt()["outcome"], "published");
    serving.wait_for("silent: source s has had nothing newer");
    publisher.publisher.mood("/t.csv", Mood::Status(500, 1000, None));
    assert_eq!(serving.receipt()["outcome"], "failed");
    publisher.publisher.mood("/t.csv", Mood::Status(304, 1, None));
    // The publisher says "not modified", and people hear that the trouble is over all the same.
    serving.wait_for("recovered, unchanged");
    assert_eq!(serving.stop(), Some(0));
}
