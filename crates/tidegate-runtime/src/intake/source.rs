//! Pushed rows as a source: what came since the last run is its publication.

use super::frame;
use crate::{
    error::{Result, StateError, json},
    home::Home,
};
use async_trait::async_trait;
use jiff::Timestamp;
use std::{collections::BTreeMap, path::PathBuf};
use tidegate_core::{
    Failure,
    pipeline::Format,
    seam::{Fetched, Glance, Landing, Source, Validators},
};

/// Bytes of one run; more waits for the next one.
const MOST: u64 = 256 << 20;

/// For each lane, the last segment that a run has read.
type Read = BTreeMap<String, u64>;

/// A closed segment: its lane, its number, its file.
pub(super) type Sealed = (String, u64, PathBuf);

/// The pushes to one source.
pub(crate) struct PushSource {
    home: Home,
    pipeline: String,
    source: String,
    format: Format,
    header: bool,
}

/// The closed segments that are there, in the order of lanes and numbers.
pub(super) fn sealed(home: &Home, pipeline: &str, source: &str) -> Result<Vec<Sealed>> {
    let mut found = Vec::new();
    for lane in std::fs::read_dir(home.intake(pipeline, source)).into_iter().flatten().flatten() {
        let name = lane.file_name().to_string_lossy().into_owned();
        for file in std::fs::read_dir(lane.path()).into_iter().flatten().flatten() {
            let path = file.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(number), true) = (number, path.extension().is_some_and(|ending| ending == "rows")) {
                found.push((name.clone(), number, path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The header line of a CSV body, without byte order mark and line end.
pub(super) fn header_of(body: &[u8]) -> &[u8] {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    body[..line_end(body)].trim_ascii_end()
}

fn line_end(body: &[u8]) -> usize {
    body.iter().position(|byte| *byte == b'\n').unwrap_or(body.len())
}

impl PushSource {
    pub(crate) fn new(home: &Home, pipeline: &str, source: &str, spec: &tidegate_core::pipeline::Source) -> Self {
        let header = spec.format == Format::Csv && spec.csv_options().header;
        Self { home: home.clone(), pipeline: pipeline.to_owned(), source: source.to_owned(), format: spec.format, header }
    }

    fn new_since(&self, read: &Read) -> Result<Vec<Sealed>> {
        let mut found = sealed(&self.home, &self.pipeline, &self.source)?;
        found.retain(|(lane, number, _)| read.get(lane).is_none_or(|last| number > last));
        Ok(found)
    }

    /// Hands over a segment; pushes with the same header become one file, so that a run opens few.
    async fn land(&self, bytes: &[u8], header: &mut Option<Vec<u8>>, landing: &mut dyn Landing) -> Result<()> {
        for frame in frame::read(bytes).0 {
            let body = frame.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(frame.body);
            let (head, rows) = if self.header {
                let end = (line_end(body) + 1).min(body.len());
                (body[..end].trim_ascii_end(), &body[end..])
            } else {
                (&[][..], body)
            };
            if header.as_deref() != Some(head) {
                landing.begin(if self.format == Format::Csv { "pushed.csv" } else { "pushed.jsonl" }, None).await?;
                if self.header {
                    landing.write(head).await?;
                    landing.write(b"\n").await?;
                }
                *header = Some(head.to_vec());
            }
            landing.write(rows).await?;
            if rows.last().is_some_and(|byte| *byte != b'\n') {
                landing.write(b"\n").await?;
            }
        }
        Ok(())
    }
}

fn read_of(known: &Validators) -> Result<Read> {
    known.etag.as_deref().map_or_else(|| Ok(Read::new()), |text| serde_json::from_str(text).map_err(json))
}

#[async_trait]
impl Source for PushSource {
    async fn fetch(&self, known: &Validators, landing: &mut dyn Landing) -> Result<Fetched, Failure> {
        let mut read = read_of(known)?;
        let new = self.new_since(&read)?;
        if new.is_empty() {
            return Ok(if known.etag.is_some() {
                Fetched::NotModified
            } else {
                Fetched::Missing { said: "nothing was pushed yet".to_owned() }
            });
        }
        let (mut header, mut bytes) = (None, 0);
        for (lane, number, path) in new {
            let segment = tokio::fs::read(&path).await.map_err(|source| StateError::Read { path: path.clone(), source })?;
            bytes += segment.len() as u64;
            self.land(&segment, &mut header, landing).await?;
            read.insert(lane, number);
            if bytes >= MOST {
                break;
            }
        }
        // Lanes that are gone need no entry.
        let lanes = self.home.intake(&self.pipeline, &self.source);
        read.retain(|lane, _| lanes.join(lane).is_dir());
        let etag = Some(serde_json::to_string(&read).map_err(json)?);
        Ok(Fetched::Landed { validators: Validators { etag, last_modified: None }, published_at: Some(Timestamp::now()) })
    }

    async fn glance(&self, known: &Validators) -> Result<Glance, Failure> {
        Ok(if self.new_since(&read_of(known)?)?.is_empty() { Glance::Same } else { Glance::New(Validators::default()) })
    }

    /// Removes the segments that a recorded run has read: they are in the raw store now.
    async fn taken(&self, recorded: &Validators) -> Result<(), Failure> {
        let read = read_of(recorded)?;
        for (lane, number, path) in sealed(&self.home, &self.pipeline, &self.source)? {
            if read.get(&lane).is_some_and(|last| number <= *last) {
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(())
    }
}
