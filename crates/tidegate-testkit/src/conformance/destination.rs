//! Destinations: in order, once, all or nothing.

use async_trait::async_trait;
use std::path::Path;
use tidegate_core::{
    RunId,
    seam::{Committed, Destination},
};

/// A destination under test.
#[async_trait]
pub trait DestinationCase: Send + Sync {
    /// Opens the destination, at the same place each time.
    fn open(&self) -> Box<dyn Destination>;
    /// What a reader of the destination sees, as one text a row, sorted.
    async fn rows(&self) -> Vec<String>;
}

/// Applies `changesets`, after each of which a reader must see the rows in `expected`.
pub async fn destination(case: &dyn DestinationCase, changesets: &[Committed], expected: &[Vec<String>]) {
    let name = case.open().name().to_owned();
    assert_eq!(position(case).await, None, "{name}: a place where nothing was applied has no position");
    for (i, (changeset, rows)) in changesets.iter().zip(expected).enumerate() {
        refuses_what_does_not_add_up(case, changeset).await;
        refuses_what_is_not_there(case, changeset).await;
        assert_eq!(position(case).await, i.checked_sub(1).map(|i| changesets[i].run), "{name}: a refused changeset moves nothing");
        let opened = case.open();
        apply(opened.as_ref(), changeset).await;
        assert_eq!(case.rows().await, *rows, "{name}: the rows after run {}", changeset.run);
        // INV-3: again through the same handle, and as another process would.
        apply(opened.as_ref(), changeset).await;
        apply(case.open().as_ref(), changeset).await;
        assert_eq!(case.rows().await, *rows, "{name}: run {} applied again changes nothing", changeset.run);
        assert_eq!(position(case).await, Some(changeset.run), "{name}: the position survives");
    }
    for changeset in changesets {
        apply(case.open().as_ref(), changeset).await;
    }
    assert_eq!(Some(&case.rows().await), expected.last(), "{name}: older changesets applied again change nothing");
}

async fn position(case: &dyn DestinationCase) -> Option<RunId> {
    let position = case.open().position().await;
    position.unwrap_or_else(|failure| panic!("the position cannot be told: {failure}"))
}

async fn apply(destination: &dyn Destination, changeset: &Committed) {
    if let Err(failure) = destination.apply(changeset).await {
        panic!("{}: run {} was not taken: {failure:?}", destination.name(), changeset.run);
    }
}

/// INV-1 across the seam, INV-2.
async fn refuses_what_does_not_add_up(case: &dyn DestinationCase, changeset: &Committed) {
    let before = case.rows().await;
    let wrong = Committed { rows_after: changeset.rows_after + 1, ..changeset.clone() };
    assert!(case.open().apply(&wrong).await.is_err(), "a changeset that gives another number of rows must be refused");
    assert_eq!(case.rows().await, before, "a refused changeset leaves no row behind");
}

async fn refuses_what_is_not_there(case: &dyn DestinationCase, changeset: &Committed) {
    let before = case.rows().await;
    let gone = Committed { changeset: Path::new("nowhere").join("at-all.parquet"), ..changeset.clone() };
    assert!(case.open().apply(&gone).await.is_err(), "a changeset that is not there must be refused");
    assert_eq!(case.rows().await, before, "a missing changeset leaves no row behind");
}
