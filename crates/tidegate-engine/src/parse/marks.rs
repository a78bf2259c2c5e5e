//! Where the delimiters and line ends of a block are: 64 bytes are looked at at once, and remembered as bits.

/// Bytes that are looked at at once.
const WIDTH: usize = 64;

/// The places of two bytes, one after the other.
pub(super) struct Marks<'a> {
    bytes: &'a [u8],
    wanted: [u8; 2],
    /// Where the bytes begin that `bits` are about.
    base: usize,
    /// What was found there and not given yet.
    bits: u64,
}

impl<'a> Marks<'a> {
    pub(super) fn new(bytes: &'a [u8], wanted: [u8; 2]) -> Self {
        let mut marks = Self { bytes, wanted, base: 0, bits: 0 };
        marks.look(0);
        marks
    }

    /// The next place at or after `from`. What was given, or lies before `from`, does not come again, unless [`Marks::go_to`]
    /// goes back.
    #[inline]
    pub(super) fn next(&mut self, from: usize) -> Option<usize> {
        if from >= self.base + WIDTH {
            self.go_to(from);
        }
        if let Some(passed @ 1..) = from.checked_sub(self.base) {
            self.bits &= u64::MAX << passed;
        }
        while self.bits == 0 {
            if self.base + WIDTH >= self.bytes.len() {
                return None;
            }
            self.look(self.base + WIDTH);
        }
        let at = self.base + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(at)
    }

    /// Begins anew there.
    pub(super) fn go_to(&mut self, at: usize) {
        self.look(at - at % WIDTH);
    }

    fn look(&mut self, base: usize) {
        self.base = base;
        let rest = self.bytes.get(base..).unwrap_or_default();
        self.bits = match rest.first_chunk() {
            Some(whole) => bits(whole, self.wanted),
            None => {
                let mut padded = [0; WIDTH];
                padded[..rest.len()].copy_from_slice(rest);
                // The padding may be what is wanted.
                bits(&padded, self.wanted) & !(u64::MAX << rest.len())
            }
        };
    }
}

/// A bit for each byte that is one of two. Written so that the compiler compares many at once.
fn bits(bytes: &[u8; WIDTH], wanted: [u8; 2]) -> u64 {
    let is_wanted = bytes.map(|byte| u8::from(byte == wanted[0]) | u8::from(byte == wanted[1]));
    let eights = is_wanted.chunks_exact(8).map(|eight| eight.try_into().map_or(0, u64::from_le_bytes));
    // The product's top byte has the lowest bit of each of the eight bytes.
    eights.rev().fold(0, |bits, eight| bits << 8 | eight.wrapping_mul(0x0102_0408_1020_4080) >> 56)
}

#[cfg(test)]
mod tests {
    use super::Marks;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_place_is_found_wherever_one_goes_on(
            bytes in prop::collection::vec(prop::sample::select(b"ab,\n\0\xff".to_vec()), 0..300),
            steps in prop::collection::vec(0usize..90, 0..300),
            wanted in prop::sample::select(vec![*b",\n", [0, b'\n'], [0xff, 0]]),
        ) {
            let mut marks = Marks::new(&bytes, wanted);
            let mut from = 0;
            for step in steps {
                let found = marks.next(from);
                prop_assert_eq!(found, (from..bytes.len()).find(|at| wanted.contains(&bytes[*at])));
                let Some(at) = found else { break };
                from = at + 1 + if step > 60 { step } else { 0 };
            }
        }
    }
}
