//! Sources: a whole publication or none, and "not modified" only if it is true.

use async_trait::async_trait;
use tidegate_core::{
    Code, Failure,
    seam::{Fetched, Landing, Source, Validators},
};

/// A source under test and its publisher.
#[async_trait]
pub trait SourceCase: Send + Sync {
    /// The source as the next run would have it.
    fn source(&self) -> Box<dyn Source>;
    /// Publishes other bytes in place of the last.
    async fn publish(&self, bytes: &[u8]);
    /// Takes the publication away.
    async fn withdraw(&self);
}

/// Where the bytes of a fetch come to lie; takes no more than `room`.
struct Hand {
    parts: Vec<Vec<u8>>,
    room: usize,
}

#[async_trait]
impl Landing for Hand {
    async fn begin(&mut self, _: &str, _: Option<u64>) -> Result<(), Failure> {
        self.parts.push(Vec::new());
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let held: usize = self.parts.iter().map(Vec::len).sum();
        if held + bytes.len() > self.room {
            return Err(Failure::new(Code::TG205, "the hand is full"));
        }
        match self.parts.last_mut() {
            Some(part) => part.extend_from_slice(bytes),
            None => panic!("bytes came before their file"),
        }
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), Failure> {
        self.parts.clear();
        Ok(())
    }
}

async fn fetch(case: &dyn SourceCase, known: &Validators, room: usize) -> (Result<Fetched, Failure>, Vec<u8>) {
    let mut hand = Hand { parts: Vec::new(), room };
    let fetched = case.source().fetch(known, &mut hand).await;
    (fetched, hand.parts.concat())
}

async fn landed(case: &dyn SourceCase, known: &Validators, bytes: &[u8]) -> Validators {
    match fetch(case, known, usize::MAX).await {
        (Ok(Fetched::Landed { validators, .. }), got) => {
            assert_eq!(got, bytes, "the publication is handed over whole and once");
            validators
        }
        (other, _) => panic!("the publication was not handed over: {other:?}"),
    }
}

/// Goes through a publisher's life.
pub async fn source(case: &dyn SourceCase) {
    let nothing = Validators::default();
    let missing = fetch(case, &nothing, usize::MAX).await.0;
    assert!(matches!(missing, Ok(Fetched::Missing { .. })), "what was never published is missing, not an error: {missing:?}");

    let first: Vec<u8> = (0..200_000u32).flat_map(|n| format!("{n},{}\n", n.wrapping_mul(7)).into_bytes()).collect();
    case.publish(&first).await;
    let known = landed(case, &nothing, &first).await;
    landed(case, &nothing, &first).await;
    match fetch(case, &known, usize::MAX).await {
        (Ok(Fetched::NotModified), got) => assert!(got.is_empty(), "\"not modified\" comes without bytes"),
        // Who cannot tell hands the same bytes over again.
        (Ok(Fetched::Landed { .. }), got) => assert_eq!(got, first),
        (other, _) => panic!("the same publication again: {other:?}"),
    }
    let refused = fetch(case, &nothing, first.len() / 2).await.0;
    assert_eq!(refused.err().map(|failure| failure.code), Some(Code::TG205), "a landing's refusal is handed on as it is");

    case.publish(b"a,b\n1,2\n").await;
    landed(case, &known, b"a,b\n1,2\n").await;
    case.withdraw().await;
    let gone = fetch(case, &nothing, usize::MAX).await.0;
    assert!(matches!(gone, Ok(Fetched::Missing { .. })), "what was taken away is missing: {gone:?}");
}
