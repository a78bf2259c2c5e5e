//! Random mutation of sample inputs, for fuzzing without a special compiler. Every input follows from its seed.

use std::time::{Duration, Instant};

/// A source of random numbers (xorshift64*), the same for the same seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed; 0 is as good as any other.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `n` (which must not be 0).
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap_or(0) % n
    }

    /// One of `items` (which must not be empty).
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// A mutation of one of `samples`, with pieces of `words` put in.
pub fn mutate(random: &mut Random, samples: &[&[u8]], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = random.pick(samples).to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() + 1);
        let to = (at + random.below(24)).min(bytes.len());
        match random.below(7) {
            0 => drop(bytes.splice(at..at, random.pick(words).iter().copied())),
            1 => drop(bytes.splice(at..to, random.pick(words).iter().copied())),
            2 => drop(bytes.drain(at..to)),
            3 => {
                let piece = bytes[at..to].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            4 => {
                let other = random.pick(samples);
                let from = random.below(other.len() + 1);
                drop(bytes.splice(at.., other[from..].iter().copied()));
            }
            5 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap_or(0),
            _ if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    bytes
}

/// Tries mutations: a fixed number of them, or as many as fit into `$TIDEGATE_FUZZ_SECONDS`. Says how many there were.
pub fn fuzz(number: u64, samples: &[&[u8]], words: &[&[u8]], mut one: impl FnMut(u64, &[u8])) -> u64 {
    let seconds = std::env::var("TIDEGATE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let start = Instant::now();
    let base = if seconds.is_some() { jiff::Timestamp::now().as_microsecond().unsigned_abs() } else { 0 };
    let mut tried = 0;
    while seconds.map_or(tried < number, |seconds| start.elapsed() < seconds) {
        let seed = base.wrapping_add(tried);
        one(seed, &mutate(&mut Random::new(seed), samples, words));
        tried += 1;
    }
    tried
}
