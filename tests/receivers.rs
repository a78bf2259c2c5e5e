//! Whoever is told: servers on free ports that hand on what they got.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// A server on a free port that hands on whatever is POSTed and answers with `status`.
pub fn receiver(answers: Vec<u16>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        for status in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            if let Some(request) = request_on(&mut stream) {
                let _ = send.send(request);
            }
            let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (url, receive)
}

/// One whole request, head and body; none if the other end hangs up before.
fn request_on(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 1 << 16];
    loop {
        let n = stream.read(&mut buffer).unwrap_or(0);
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse::<usize>().ok()))
                .unwrap_or(0);
            if body.len() >= length {
                return Some(text.into_owned());
            }
        }
        if n == 0 {
            return None;
        }
    }
}

/// A server that answers every POST, one in three of them with an error, and keeps the bodies it took, in order.
pub fn flaky_receiver(seed: u64) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&taken);
    thread::spawn(move || {
        let mut turn = seed;
        for mut stream in listener.incoming().map_while(Result::ok) {
            turn += 1;
            let Some(request) = request_on(&mut stream) else { continue };
            let status = if turn.is_multiple_of(3) { 503 } else { 200 };
            if status == 200 {
                keep.lock().unwrap().push(request.split_once("\r\n\r\n").unwrap().1.to_owned());
            }
            let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (url, taken)
}

/// A mail server, as RFC 5321 has it, that hands on the mails it got, each with its envelope.
pub struct MailServer {
    pub port: u16,
    pub received: mpsc::Receiver<String>,
    /// Whether it refuses every receiver from now on.
    pub refuses: Arc<AtomicBool>,
}

impl MailServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (send, received) = mpsc::channel();
        let refuses = Arc::new(AtomicBool::new(false));
        let refusing = Arc::clone(&refuses);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (send, refusing) = (send.clone(), Arc::clone(&refusing));
                thread::spawn(move || converse(stream, &send, &refusing));
            }
        });
        Self { port, received, refuses }
    }
}

fn converse(stream: TcpStream, send: &mpsc::Sender<String>, refuses: &AtomicBool) {
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
            text if text.starts_with("RCPT") && refuses.load(Ordering::Relaxed) => "450 not now",
            text => {
                mail.push_str(text);
                mail.push('\n');
                "250 ok"
            }
        };
        if !answer.is_empty() && writer.write_all(format!("{answer}\r\n").as_bytes()).is_err() {
            return;
        }
        line.clear();
    }
}
