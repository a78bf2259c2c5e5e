use super::wait;
use async_trait::async_trait;
use std::{
    fs::File,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, SystemTime},
};
use tidegate_connectors::sources::{file::FileSource, http::HttpSource};
use tidegate_core::{
    pipeline::{self, Span},
    seam::Source,
};
use tidegate_testkit::{
    Publisher,
    conformance::{SourceCase, source},
    fakes::MemorySource,
};

struct Web(Publisher);

#[async_trait]
impl SourceCase for Web {
    fn source(&self) -> Box<dyn Source> {
        let spec = pipeline::HttpSource { url: self.0.url("/t.csv"), headers: Default::default(), timeout: Span(Duration::from_secs(10)) };
        Box::new(HttpSource::new("s", &spec, 2).unwrap())
    }

    async fn publish(&self, bytes: &[u8]) {
        self.0.publish("/t.csv", bytes);
    }

    async fn withdraw(&self) {
        self.0.withdraw("/t.csv");
    }
}

struct Files {
    path: PathBuf,
    written: Mutex<u64>,
}

#[async_trait]
impl SourceCase for Files {
    fn source(&self) -> Box<dyn Source> {
        let (folder, name) = (self.path.parent().unwrap(), self.path.file_name().unwrap().to_str().unwrap());
        Box::new(FileSource::new("s", folder, name))
    }

    async fn publish(&self, bytes: &[u8]) {
        std::fs::write(&self.path, bytes).unwrap();
        // Old enough for its time to be believed, and each one newer than the last.
        let mut written = self.written.lock().unwrap();
        *written += 1;
        let at = SystemTime::now() - Duration::from_secs(3600) + Duration::from_secs(*written);
        File::options().write(true).open(&self.path).unwrap().set_modified(at).unwrap();
    }

    async fn withdraw(&self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

struct Memory(Mutex<Option<Vec<u8>>>);

#[async_trait]
impl SourceCase for Memory {
    fn source(&self) -> Box<dyn Source> {
        Box::new(MemorySource { bytes: self.0.lock().unwrap().clone() })
    }

    async fn publish(&self, bytes: &[u8]) {
        *self.0.lock().unwrap() = Some(bytes.to_vec());
    }

    async fn withdraw(&self) {
        *self.0.lock().unwrap() = None;
    }
}

#[test]
fn http_is_a_source() {
    wait(async { source(&Web(Publisher::start().await.unwrap())).await });
}

#[test]
fn file_is_a_source() {
    let folder = tempfile::tempdir().unwrap();
    wait(source(&Files { path: folder.path().join("t.csv"), written: Mutex::new(0) }));
}

#[test]
fn memory_is_a_source() {
    wait(source(&Memory(Mutex::new(None))));
}
