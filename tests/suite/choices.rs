//! A test's random choices, all from one seed that it prints.

use tests::cluster::say;

/// SplitMix64.
pub struct Choices(u64);

impl Choices {
    /// From the seed in this variable of the environment, else from a fresh one.
    pub fn from_env(variable: &str) -> Choices {
        let given = std::env::var(variable).ok().map(|seed| seed.parse().unwrap());
        // The milliseconds and the random bits of a fresh UUID.
        let seed = given.unwrap_or_else(|| uuid::Uuid::now_v7().as_u64_pair().1 >> 16);
        say(&format!("{variable}={seed}"));
        Choices(seed)
    }

    /// From a seed that is known, and said where something fails.
    pub fn of(seed: u64) -> Choices {
        Choices(seed)
    }

    /// Less than this.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}
