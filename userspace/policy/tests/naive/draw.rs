//! Pseudo-random choices, the same for the same seed and case.

/// A sequence of choices (`SplitMix64`).
pub struct Draw(u64);

impl Draw {
    /// The choices of one case of a seed.
    pub fn new(seed: u64, case: u64) -> Self {
        let mut draw = Self(seed);
        let start = draw.next().wrapping_add(case.wrapping_mul(0xd134_2543_de82_ef95));
        Self(start)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below a bound, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// True in so many of a hundred draws.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// One of these texts.
    pub fn text(&mut self, of: &[&str]) -> String {
        (*self.one(of)).to_owned()
    }

    /// From `least` to `most` values.
    pub fn many<T>(
        &mut self,
        least: usize,
        most: usize,
        mut make: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        let count = least + self.below(most - least + 1);
        (0..count).map(|_| make(self)).collect()
    }
}
