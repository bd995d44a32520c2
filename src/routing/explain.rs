//! Which hash settings explain where an application put its keys: for `lockgate check`, from keys and the stream index
//! that each was seen at.
//!
//! Every candidate is tried on every distinct sample. Few samples prove little: a wrong candidate agrees with one in
//! `partitions` of them by chance, and candidates that differ on some keys only (the readings on ASCII, the folds on
//! hashes below 2^31) agree where no such key was seen. So all candidates are returned with their counts, best first,
//! and of equals the plainest first.

use std::collections::BTreeSet;

use crate::config::{Fold, Hash, Partitioner, Reading};

use super::partition::number_of_key;

/// Seeds that packages and applications are seen to use; 0 is most packages' own.
const SEEDS: [u32; 6] = [0, 42, 1, 1234, 0x9747_b28c, 0xdead_beef];

/// How many of the samples these settings put where they were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub partitioner: Partitioner,
    pub agreeing: usize,
    /// Distinct samples.
    pub total: usize,
}

impl Explanation {
    /// Whether the settings explain every sample, of which there is one at least.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.total > 0 && self.agreeing == self.total
    }
}

/// Every candidate with the number of `samples` (key, index seen) that it explains, best first. `partitions` is the
/// number of streams the application spreads over. Empty keys say nothing and are left out.
#[must_use]
pub fn explain(samples: &[(Vec<u8>, u32)], partitions: u32) -> Vec<Explanation> {
    let distinct: BTreeSet<(&[u8], u32)> = samples
        .iter()
        .map(|(key, index)| (key.as_slice(), *index))
        .filter(|(key, _)| !key.is_empty())
        .collect();
    let mut scratch = Vec::new();
    let mut explanations: Vec<Explanation> = candidates()
        .map(|partitioner| {
            let mut agrees = |key: &[u8], index| {
                let number = number_of_key(&partitioner, key, &mut scratch);
                number.and_then(|number| number.checked_rem(partitions)) == Some(index)
            };
            Explanation {
                partitioner,
                agreeing: distinct
                    .iter()
                    .filter(|(key, index)| agrees(key, *index))
                    .count(),
                total: distinct.len(),
            }
        })
        .collect();
    // Stable: of equals the earlier candidate stays first.
    explanations.sort_by_key(|explanation| std::cmp::Reverse(explanation.agreeing));
    explanations
}

/// Plainest first.
fn candidates() -> impl Iterator<Item = Partitioner> {
    let murmur3 = SEEDS.into_iter().flat_map(|seed| {
        [Reading::Utf8, Reading::LegacyJs, Reading::Imurmurhash]
            .into_iter()
            .flat_map(move |reading| {
                [Fold::Abs, Fold::Unsigned, Fold::Mask31].map(|fold| Partitioner {
                    hash: Hash::Murmur3,
                    fold,
                    seed,
                    reading,
                })
            })
    });
    let plain = [Hash::Murmur2, Hash::Crc32, Hash::Fnv1a].map(|hash| Partitioner {
        hash,
        ..Partitioner::default()
    });
    murmur3.chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of a messaging application, some beyond ASCII, at the index that `partitioner` gives them.
    fn placed(partitioner: Partitioner, partitions: u32) -> Vec<(Vec<u8>, u32)> {
        (0..200)
            .map(|n| {
                let key = if n % 4 == 0 {
                    format!("größe_漢_{n}")
                } else {
                    format!("conv_{n:03}")
                };
                let number = number_of_key(&partitioner, key.as_bytes(), &mut Vec::new());
                (key.into_bytes(), number.expect("text") % partitions)
            })
            .collect()
    }

    #[test]
    fn every_candidate_explains_its_own_placement_and_no_other_does() {
        for partitioner in candidates() {
            // 12 is no power of two, so that mask31 and unsigned differ.
            let explanations = explain(&placed(partitioner, 12), 12);
            assert_eq!(explanations[0].partitioner, partitioner);
            assert!(explanations[0].is_complete());
            assert!(!explanations[1].is_complete(), "{:?}", explanations[1]);
        }
    }

    #[test]
    fn of_settings_that_cannot_be_told_apart_the_plainest_comes_first() {
        let samples = [
            (b"conv_001".to_vec(), 0),
            (b"conv_002".to_vec(), 9),
            (b"test_conv_001".to_vec(), 2),
        ];
        let explanations = explain(&samples, 16);
        assert_eq!(
            explanations[0],
            Explanation {
                partitioner: Partitioner {
                    hash: Hash::Murmur3,
                    ..Partitioner::default()
                },
                agreeing: 3,
                total: 3
            }
        );
    }

    #[test]
    fn repeated_and_empty_keys_are_no_evidence() {
        let samples = vec![
            (b"conv_002".to_vec(), 9),
            (b"conv_002".to_vec(), 9),
            (Vec::new(), 0),
        ];
        assert_eq!(explain(&samples, 16)[0].total, 1);
        assert!(!explain(&[], 16)[0].is_complete());
        assert_eq!(explain(&samples, 0)[0].agreeing, 0);
    }
}
