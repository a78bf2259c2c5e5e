use super::{frame, lane::Lane};
use crate::{home::Home, ledger::Ledger};
use proptest::prelude::*;
use std::{fs::File, time::Duration};

proptest! {
    /// Whatever was written whole is read again, and a torn tail is left out, wherever it was torn.
    #[test]
    fn frames_survive_a_torn_tail(bodies in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200)), 1..8), cut in 0usize..400) {
        let mut segment = Vec::new();
        let mut ends = vec![0];
        for (keyed, body) in &bodies {
            frame::write(&mut segment, keyed.then(|| frame::digest("key")), body);
            ends.push(segment.len());
        }
        let torn = &segment[..segment.len().saturating_sub(cut)];
        let (frames, whole) = frame::read(torn);
        let expected = ends.iter().rposition(|end| *end <= torn.len()).unwrap();
        prop_assert_eq!((frames.len(), whole), (expected, ends[expected]));
        for (frame, (keyed, body)) in frames.iter().zip(&bodies) {
            prop_assert_eq!((frame.key.is_some(), frame.body), (*keyed, body.as_slice()));
        }
    }
}

/// A push that is repeated after a crash is known again, also while somebody else is just taking over what the crash left.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_push_waits_for_whoever_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    let ledger = Ledger::open(&home).await.unwrap();
    let (key, body) = (frame::digest("key"), b"id\n1\n".to_vec());
    let dead = home.intake("p", "s").join("dead");
    std::fs::create_dir_all(&dead).unwrap();
    let mut segment = Vec::new();
    frame::write(&mut segment, Some(key), &body);
    std::fs::write(dead.join("0000000001.open"), &segment).unwrap();
    // Somebody has begun to take it over.
    let (turn, _) = home.intake_lock("p", "s").unwrap();
    let lane = File::create(dead.join("lock")).unwrap();
    [&turn, &lane].into_iter().for_each(|file| fs4::FileExt::lock(file).unwrap());
    let pushed = tokio::spawn({
        let (home, ledger, body) = (home.clone(), ledger.clone(), body.clone());
        async move {
            let name = ("p".to_owned(), "s".to_owned());
            Lane::open(&home, &ledger, "alive", &name, tidegate_core::pipeline::Push::default()).await.unwrap().push(body, Some(key)).await
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!pushed.is_finished());
    drop((lane, turn));
    assert!(pushed.await.unwrap().unwrap().duplicate);
}
