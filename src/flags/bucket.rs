//! The 1024 fixed slices of the key space, and how many of them a percentage is.

/// How many there are, for good: a key never changes its bucket.
pub const BUCKETS: u32 = 1024;

/// One slice of the key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket of this number, where there is one.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        u16::try_from(number)
            .ok()
            .filter(|n| u32::from(*n) < BUCKETS)
            .map(Self)
    }

    /// The bucket of a key, by murmur3.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Self {
        let mut rest = key;
        Self::of_hash(murmur3::murmur3_32(&mut rest, 0).expect("reading from memory does not fail"))
    }

    /// The bucket of a key whose route has a hash of its own. It is mixed again: not every hash is even in its upper bits, and
    /// the lower ones have chosen the partition, of which a step is to take a part and not all.
    #[must_use]
    pub fn of_hash(hash: u32) -> Self {
        let mut h = hash;
        h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
        h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
        h ^= h >> 16;
        // The upper ten bits.
        Self((h >> 22) as u16)
    }

    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// How many of `whole` a percentage is, rounded up: more than nothing is at least one. What is below it at one percentage is
/// below it at every greater one.
#[must_use]
pub fn below(percent: u8, whole: u32) -> u32 {
    let share = (u64::from(whole) * u64::from(percent.min(100))).div_ceil(100);
    u32::try_from(share).unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentages_nest_and_reach_from_nothing_to_all() {
        for whole in [1, 3, 16, 1024] {
            let counts: Vec<u32> = (0..=100).map(|percent| below(percent, whole)).collect();
            assert!(counts.is_sorted());
            assert_eq!((counts[0], counts[100]), (0, whole));
            assert!(counts[1] >= 1);
        }
        assert_eq!(below(5, 16), 1);
        assert_eq!(below(10, 1024), 103);
    }

    #[test]
    fn keys_spread_evenly_whatever_their_hash_leaves_out() {
        for hash in [
            |n: u32| n,
            |n: u32| n & 0x7fff_ffff,
            |n: u32| n.wrapping_mul(16),
        ] {
            let mut counts = vec![0_u32; 1024];
            for n in 0..102_400_u32 {
                counts[usize::from(Bucket::of_hash(hash(n)).number())] += 1;
            }
            let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
            assert!(least > Some(50) && most < Some(160), "{least:?} {most:?}");
        }
    }

    #[test]
    fn a_keys_bucket_is_for_good() {
        assert_eq!(Bucket::of_key(b"conversation-1").number(), CONVERSATION_1);
        assert_eq!(Bucket::new(1023).map(Bucket::number), Some(1023));
        assert_eq!(Bucket::new(1024), None);
    }

    /// Written down once: a release under which it changed would move keys between the stores.
    const CONVERSATION_1: u16 = 270;

    proptest! {
        #[test]
        fn every_key_has_a_bucket(key: Vec<u8>) {
            prop_assert!(u32::from(Bucket::of_key(&key).number()) < BUCKETS);
        }
    }
}
