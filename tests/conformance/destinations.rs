use super::wait;
use crate::{commands::SMALL, environment::Environment};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tidegate_core::{
    Code, Failure, RunId,
    seam::{Committed, Destination},
};
use tidegate_engine::{DeltaDestination, Tables};
use tidegate_testkit::conformance::{DestinationCase, destination};

/// Changesets of real runs (new, changed and gone rows, then a new column), and the rows after each.
fn published() -> (Environment, Vec<Committed>, Vec<Vec<String>>) {
    let environment = Environment::new();
    let versions = ["id,n\n1,10\n2,20\n3,30\n", "id,n\n1,10\n2,21\n4,40\n", "id,n,m\n0,5,a\n2,21,b\n4,40,c\n9,90,d\n"];
    let mut committed = Vec::new();
    let mut rows = Vec::new();
    for (i, version) in versions.iter().enumerate() {
        let wider = if version.contains('m') { "\n      m: { type: string }" } else { "" };
        let file =
            SMALL.replace("n: { type: int64 }", &format!("n: {{ type: int64 }}{wider}")).replace("key: [id]", "key: [id], guards: off");
        environment.write("small/pipeline.yaml", file);
        environment.write("in.csv", version);
        let receipt = environment.receipt("small");
        let run = i + 1;
        committed.push(Committed {
            run: RunId(i64::try_from(run).unwrap()),
            changeset: environment.home().join(format!("changesets/small/{run:08}-1.parquet")),
            key: vec!["id".to_owned()],
            rows_after: receipt["rows_after"].as_u64().unwrap(),
        });
        rows.push(version.lines().skip(1).map(str::to_owned).collect());
    }
    (environment, committed, rows)
}

/// Rows as the CSV they came from.
fn line(row: &[serde_json::Value]) -> String {
    row.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect::<Vec<_>>().join(",")
}

struct Delta(PathBuf);

#[async_trait]
impl DestinationCase for Delta {
    fn open(&self) -> Box<dyn Destination> {
        Box::new(DeltaDestination::new(&self.0.join("t"), &self.0.join("t__history"), 2))
    }

    async fn rows(&self) -> Vec<String> {
        if !self.0.join("t").join("_delta_log").is_dir() {
            return Vec::new();
        }
        let tables = Tables::new(&self.0, &self.0.join("scratch"), 2);
        let mut rows = Vec::new();
        let mut take = |answer: tidegate_engine::Answer| {
            rows.extend(answer.rows.iter().map(|row| line(row)));
            true
        };
        tables.query("SELECT * FROM t ORDER BY id", None, &|_| Vec::new(), &mut take).await.unwrap();
        rows
    }
}

/// Position and rows of a table in memory.
type Held = Arc<Mutex<(Option<RunId>, BTreeMap<String, String>)>>;

/// The plainest destination there is: a map, changed only once all is known to be well.
struct Map {
    tables: Arc<Tables>,
    state: Held,
}

#[async_trait]
impl Destination for Map {
    fn name(&self) -> &str {
        "map"
    }

    async fn position(&self) -> Result<Option<RunId>, Failure> {
        Ok(self.state.lock().unwrap().0)
    }

    async fn apply(&self, committed: &Committed) -> Result<(), Failure> {
        if self.state.lock().unwrap().0.is_some_and(|at| at >= committed.run) {
            return Ok(());
        }
        let mut rows = self.state.lock().unwrap().1.clone();
        for change in self.tables.changes(&committed.changeset, usize::MAX, &tidegate_engine::Veil::default()).map_err(Failure::from)? {
            let key = line(&change.key.values().cloned().collect::<Vec<_>>());
            match change.after {
                Some(after) => rows.insert(key, line(&after.values().cloned().collect::<Vec<_>>())),
                None => rows.remove(&key),
            };
        }
        if rows.len() as u64 != committed.rows_after {
            return Err(Failure::new(Code::TG502, "another number of rows"));
        }
        *self.state.lock().unwrap() = (Some(committed.run), rows);
        Ok(())
    }
}

struct Memory(Arc<Tables>, Held);

#[async_trait]
impl DestinationCase for Memory {
    fn open(&self) -> Box<dyn Destination> {
        Box::new(Map { tables: Arc::clone(&self.0), state: Arc::clone(&self.1) })
    }

    async fn rows(&self) -> Vec<String> {
        self.1.lock().unwrap().1.values().cloned().collect()
    }
}

#[test]
fn delta_is_a_destination() {
    let (_kept, committed, rows) = published();
    let folder = tempfile::tempdir().unwrap();
    wait(destination(&Delta(folder.path().to_owned()), &committed, &rows));
}

#[test]
fn memory_is_a_destination() {
    let (_kept, committed, rows) = published();
    let tables = Arc::new(Tables::new(&PathBuf::new(), &PathBuf::new(), 1));
    wait(destination(&Memory(tables, Arc::default()), &committed, &rows));
}
