//! A running `tidegate serve`, and how to look at it.

use crate::environment::Environment;
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

/// Longest wait for anything.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits until it is so, and says how it is if it does not come to that.
pub fn until(mut is_so: impl FnMut() -> bool, how_it_is: impl Fn() -> String) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "{}", how_it_is());
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process that serves. Killed when it is dropped.
pub struct Serving {
    child: Child,
    receipts: Receiver<Value>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Serving {
    /// `tidegate serve ARGS -o json`
    pub fn start(environment: &Environment, args: &[&str]) -> Self {
        Self::start_on(environment, args, "127.0.0.1:0")
    }

    /// The same on an address.
    pub fn start_on(environment: &Environment, args: &[&str], listen: &str) -> Self {
        let all: Vec<&str> = ["serve"].into_iter().chain(args.iter().copied()).chain(["--listen", listen, "-o", "json"]).collect();
        let mut child = environment.command(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, receipts) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = send.send(serde_json::from_str(&line).unwrap_or(Value::Null));
            }
        });
        let told = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&told));
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line)));
        let serving = Self { child, receipts, told };
        serving.wait_for("serving ");
        serving
    }

    /// What it wrote to stderr so far.
    pub fn told(&self) -> String {
        self.told.lock().unwrap().join("\n")
    }

    /// Waits until it has written this to stderr, and gives the line.
    pub fn wait_for(&self, text: &str) -> String {
        let line = || self.told.lock().unwrap().iter().find(|line| line.contains(text)).cloned();
        until(|| line().is_some(), || format!("`{text}` was not written:\n{}", self.told()));
        line().unwrap()
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.wait_for("listening on http://").split("http://").nth(1).unwrap().to_owned()
    }

    /// Sends a request and gives status and body.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        request(&self.address(), method, path, headers, body)
    }

    /// The next receipt.
    pub fn receipt(&self) -> Value {
        self.receipts.recv_timeout(LONG).unwrap_or_else(|_| panic!("no receipt came:\n{}", self.told()))
    }

    /// Whether no receipt comes for a while.
    pub fn is_quiet(&self, for_so_long: Duration) -> bool {
        self.receipts.recv_timeout(for_so_long).is_err()
    }

    /// Asks it to stop, and gives its exit code.
    pub fn stop(self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.ended()
    }

    /// Waits until it has ended, and gives its exit code.
    pub fn ended(mut self) -> Option<i32> {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it did not end:\n{}", self.told());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it as a power failure of the process would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One request on a connection of its own; status and body.
pub fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    try_request(address, method, path, headers, body).unwrap()
}

/// The same where nobody may be listening, or hang up half way.
pub fn try_request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LONG))?;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    // A server that refuses a body may hang up before it has all of it.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), body.to_owned()))
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
