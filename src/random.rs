//! Random numbers for jitter. With a seed they can be repeated; without one, no two calls share a sequence.

use fastrand::Rng;

#[derive(Clone, Debug)]
pub(crate) struct Random(Rng);

impl Random {
    /// A sequence of its own.
    pub(crate) fn fresh() -> Self {
        Self(Rng::new())
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    /// From 0 to `most`, both included, each as likely.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        self.0.u64(0..=most)
    }

    /// At least 0, and less than 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.0.f64()
    }
}

/// A seed that is drawn anew each time.
pub(crate) fn fresh_seed() -> u64 {
    fastrand::u64(..)
}

/// The `n`-th of the seeds that follow from `seed`. It depends on these two numbers alone.
pub(crate) fn nth_seed(seed: u64, n: u64) -> u64 {
    seed ^ scramble(n)
}

/// Spreads neighbouring numbers over all of `u64`, so that their sequences have nothing in common: the output
/// function of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn scramble(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_sequence_of_a_seed_depends_on_these_two_alone() {
        let draw = |seed, n| {
            let mut random = Random::seeded(nth_seed(seed, n));
            [random.up_to(u64::MAX), random.up_to(u64::MAX)]
        };
        assert_eq!(draw(7, 3), draw(7, 3));
        assert_ne!(draw(7, 3), draw(7, 4));
        assert_ne!(draw(7, 3), draw(8, 3));
    }

    #[test]
    fn the_seeds_are_those_of_split_mix_64() {
        // The first two that its authors' generator yields from a state of zero.
        assert_eq!(nth_seed(0, 0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(nth_seed(0, 0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(nth_seed(u64::MAX, 0), !0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn fresh_sequences_differ() {
        let draws: Vec<_> = (0..100).map(|_| Random::fresh().up_to(u64::MAX)).collect();
        let distinct: std::collections::HashSet<_> = draws.iter().collect();
        assert_eq!(distinct.len(), draws.len());
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut random = Random::seeded(1);
        assert_eq!(random.up_to(0), 0);
        assert!((0..1000).all(|_| random.up_to(3) <= 3));
        let shares: Vec<_> = (0..1000).map(|_| random.fraction()).collect();
        assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
        assert!(shares.iter().any(|share| *share < 0.1) && shares.iter().any(|share| *share > 0.9));
    }
}
