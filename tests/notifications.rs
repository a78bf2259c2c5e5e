//! People are told, once; what fails to be told is told later.

use crate::{
    commands::SMALL,
    environment::{Environment, TestPublisher},
    receivers::{MailServer, receiver},
};
use std::time::Duration;

#[test]
fn a_webhook_that_fails_is_told_later_with_the_same_id() {
    let (url, received) = receiver(vec![500, 200]);
    let environment = Environment::new();
    environment.write("small/pipeline.yaml", format!("{SMALL}notify:\n  - webhook: {{ url: {url:?}, secret: s3cret }}\n"));
    environment.write("in.csv", "id,n\n1,1\n");
    // The run is published all the same, and the command says that somebody was not told.
    let ran = environment.expect(1, &["run", "small"]);
    assert!(ran.stdout.contains("published") && ran.stderr.contains("error[TG601]"), "{}{}", ran.stdout, ran.stderr);
    assert!(!ran.stderr.contains(&url), "the address of a webhook is a secret");
    let first = received.recv_timeout(Duration::from_secs(10)).unwrap();
    environment.expect(0, &["run", "small"]);
    let second = received.recv_timeout(Duration::from_secs(10)).unwrap();
    let header = |text: &str, name: &str| {
        text.lines().find_map(|line| line.to_lowercase().strip_prefix(&format!("{name}: ")).map(str::to_owned)).unwrap()
    };
    assert_eq!(header(&first, "tidegate-delivery"), header(&second, "tidegate-delivery"));
    assert!(header(&second, "tidegate-signature").starts_with("t="));
    assert!(second.contains("\"outcome\":\"published\""));
}

#[test]
fn once_per_incident_plus_recovery() {
    let publisher = TestPublisher::start();
    let (url, received) = receiver(vec![200; 8]);
    let environment = Environment::new();
    let source = format!("http: {{ url: {:?} }}", publisher.publisher.url("/t.csv"));
    environment.write(
        "small/pipeline.yaml",
        format!(
            "{}notify:\n  - slack: {{ url: {url:?} }}\n    when: {{ outcome: [failed, held] }}\n",
            SMALL.replace("file: { path: ../in.csv }", &source)
        ),
    );
    publisher.publisher.publish("/t.csv", "id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    for bad in ["id,m\n1,1\n", "id,k\n1,1\n", "id,l\n1,1\n"] {
        publisher.publisher.publish("/t.csv", bad);
        environment.expect(1, &["run", "small"]);
    }
    publisher.publisher.publish("/t.csv", "id,n\n1,2\n");
    environment.expect(0, &["run", "small"]);
    let told: Vec<String> = received.try_iter().map(|text| text.split_once("\r\n\r\n").unwrap().1.to_owned()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("failed: TG204") && told[1].contains("recovered, published"), "{told:?}");
}

#[test]
fn e_mail_has_text_and_html() {
    let server = MailServer::start();
    let environment = Environment::new();
    environment.write(
        "small/pipeline.yaml",
        format!(
            "{SMALL}notify:\n  - email: {{ to: [ops@example.org, ''], from: t@example.org, host: 127.0.0.1, port: {}, tls: none }}\n",
            server.port
        ),
    );
    environment.write("in.csv", "id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    let mail = server.received.recv_timeout(Duration::from_secs(10)).unwrap();
    for part in [
        "RCPT TO:<ops@example.org>",
        "Message-ID: <small.1.published.0@tidegate>",
        "Content-Type: text/plain",
        "Content-Type: text/html",
        "multipart/alternative",
    ] {
        assert!(mail.contains(part), "{part} is not in {mail}");
    }
}
