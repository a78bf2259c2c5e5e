//! A hermetic place to run the real command line in: its own folder, no environment but what a test gives.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;
use tidegate_testkit::Publisher;

/// A folder, its home, and the environment of commands run there.
pub struct Environment {
    folder: TempDir,
    env: BTreeMap<String, String>,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Environment {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), env: BTreeMap::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn home(&self) -> PathBuf {
        self.path(".tidegate")
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.to_owned(), value.into());
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A command with this environment and nothing of the outer one.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(args).current_dir(self.folder.path()).env_clear().envs(&self.env).env("NO_COLOR", "1").env("COLUMNS", "100");
        // A crash on purpose must not fill the disk with cores or the test log with traces.
        command.env("RUST_BACKTRACE", "0");
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    /// Runs a command that must end with this code.
    #[track_caller]
    pub fn expect(&self, code: i32, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(code), "tidegate {}\nstdout: {}\nstderr: {}", args.join(" "), ran.stdout, ran.stderr);
        ran
    }

    /// Runs the pipeline and gives its last receipt.
    pub fn receipt(&self, pipeline: &str) -> Value {
        let ran = self.run(&["run", pipeline, "-o", "json"]);
        ran.receipts().pop().unwrap_or_else(|| panic!("no receipt\nstderr: {}", ran.stderr))
    }

    /// What a query answers, a JSON object a row.
    pub fn query(&self, sql: &str) -> Vec<Value> {
        self.expect(0, &["query", sql, "-o", "json"]).receipts()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// The JSON lines of stdout.
    pub fn receipts(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
    }
}

/// The folder of the project.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The folder of a shipped pipeline.
pub fn shipped(name: &str) -> String {
    project().join("pipelines").join(name).display().to_string()
}

/// A publisher with a runtime of its own, for tests that are not asynchronous.
pub struct TestPublisher {
    pub publisher: Publisher,
    _runtime: tokio::runtime::Runtime,
}

impl TestPublisher {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let publisher = runtime.block_on(Publisher::start()).unwrap();
        Self { publisher, _runtime: runtime }
    }
}

/// The counts of a receipt that expectation files give: new, updated, removed, unchanged.
pub fn counts(receipt: &Value) -> [u64; 4] {
    ["new", "updated", "removed", "unchanged"].map(|name| receipt["counts"][name].as_u64().unwrap())
}

/// INV-1, from the outside: the numbers of a receipt add up.
#[track_caller]
pub fn adds_up(receipt: &Value) {
    let n = |path: &str| receipt.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    for (name, source) in receipt["sources"].as_object().unwrap() {
        assert_eq!(
            source["read"].as_u64(),
            Some(source["accepted"].as_u64().unwrap() + source["rejected"].as_u64().unwrap()),
            "{name} of {receipt}"
        );
    }
    if matches!(receipt["outcome"].as_str(), Some("published" | "unchanged")) {
        assert_eq!(n("/rows_after"), n("/rows_before") + n("/counts/new") - n("/counts/removed"), "{receipt}");
        assert_eq!(
            n("/rows_before"),
            n("/counts/updated") + n("/counts/unchanged") + n("/counts/removed") + n("/counts/kept"),
            "{receipt}"
        );
    } else {
        assert_eq!(n("/rows_after"), n("/rows_before"), "{receipt}");
    }
}
