//! People are told, once; what fails to be told is told later.

use crate::commands::SMALL;
use crate::environment::{Environment, TestPublisher};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
    thread,
    time::Duration,
};

/// A server on a free port that hands on whatever is POSTed and answers with `status`.
fn receiver(answers: Vec<u16>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        for status in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut bytes = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let n = stream.read(&mut buffer).unwrap_or(0);
                bytes.extend_from_slice(&buffer[..n]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head
                        .lines()
                        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse::<usize>().ok()))
                        .unwrap_or(0);
                    if body.len() >= length {
                        let _ = send.send(text.clone());
                        break;
                    }
                }
                if n == 0 {
                    break;
                }
            }
            let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (url, receive)
}

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

/// A mail server that takes one mail, as RFC 5321 has it, and hands on what it got.
fn mail_server() -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        let mut mail = String::new();
        let mut in_data = false;
        writer.write_all(b"220 test\r\n").unwrap();
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 0 {
            let answer = match line.trim_end() {
                "." if in_data => {
                    in_data = false;
                    let _ = send.send(std::mem::take(&mut mail));
                    "250 taken"
                }
                _ if in_data => {
                    mail.push_str(&line);
                    ""
                }
                "DATA" => {
                    in_data = true;
                    "354 go on"
                }
                text if text.starts_with("QUIT") => "221 bye",
                text => {
                    mail.push_str(text);
                    mail.push('\n');
                    "250 ok"
                }
            };
            if !answer.is_empty() {
                writer.write_all(format!("{answer}\r\n").as_bytes()).unwrap();
            }
            line.clear();
        }
    });
    (port, receive)
}

#[test]
fn e_mail_has_text_and_html() {
    let (port, received) = mail_server();
    let environment = Environment::new();
    environment.write(
        "small/pipeline.yaml",
        format!(
            "{SMALL}notify:\n  - email: {{ to: [ops@example.org, ''], from: t@example.org, host: 127.0.0.1, port: {port}, tls: none }}\n"
        ),
    );
    environment.write("in.csv", "id,n\n1,1\n");
    environment.expect(0, &["run", "small"]);
    let mail = received.recv_timeout(Duration::from_secs(10)).unwrap();
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
