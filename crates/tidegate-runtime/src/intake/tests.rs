use super::frame;
use proptest::prelude::*;

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
