//! From key to partition, as the application's own partitioner places it.
//!
//! | hash | of a key | no key | empty key |
//! |---|---|---|---|
//! | murmur3 | fold(hash) mod partitions | by the entry's id | hashed |
//! | murmur2 | (hash & 0x7fffffff) mod partitions | by the entry's id | hashed |
//! | crc32 | hash mod partitions | by the entry's id | by the entry's id |
//! | fnv1a | abs(hash) mod partitions | as the empty key | hashed |
//! | stream-index | the number that ends the stream's name | | |
//! | none | by the entry's id | by the entry's id | by the entry's id |
//!
//! Where the originals choose at random, the entry's id chooses: its text `<ms>-<seq>` is placed as a key of Kafka's Java
//! clients would be. A second run, and the one that verifies, then come to the same partition.

use crate::config::{Fold, Hash, Partitioner, Reading};
use crate::entry::EntryId;
use crate::placement::Partition;

use super::hash::{fnv1a, imurmurhash, masked_units, murmur2, murmur3};

/// A partitioner for a topic of so many partitions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placer {
    partitioner: Partitioner,
    /// At least 1 and at most `i32::MAX`.
    partitions: u32,
}

/// Why an entry has no partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unplaceable {
    /// The legacy reading is of text, and the key is none.
    KeyNotText,
    /// The stream's name ends in no number below the partitions.
    NoStreamIndex,
}

impl Placer {
    pub(super) fn new(partitioner: Partitioner, partitions: u32) -> Self {
        debug_assert!((1..=i32::MAX as u32).contains(&partitions));
        Self {
            partitioner,
            partitions,
        }
    }

    /// `index` is the stream's, see [`stream_index`]. `scratch` is overwritten.
    pub(super) fn place(
        &self,
        key: Option<&[u8]>,
        index: Option<u32>,
        id: EntryId,
        scratch: &mut Vec<u8>,
    ) -> Result<Partition, Unplaceable> {
        let number = match (self.partitioner.hash, key) {
            (Hash::StreamIndex, _) => index
                .filter(|index| *index < self.partitions)
                .ok_or(Unplaceable::NoStreamIndex)?,
            _ if self.partitions == 1 => 0,
            (Hash::Fnv1a, None) => fnv1a(b""),
            (Hash::Crc32, Some(b"")) => of_id(id, scratch),
            (Hash::Murmur3 | Hash::Murmur2 | Hash::Crc32, None) | (Hash::None, _) => {
                of_id(id, scratch)
            }
            (_, Some(key)) => {
                number_of_key(&self.partitioner, key, scratch).ok_or(Unplaceable::KeyNotText)?
            }
        };
        let partition = i32::try_from(number % self.partitions);
        Ok(Partition(
            partition.expect("a topic has at most i32::MAX partitions"),
        ))
    }
}

/// What the partitioner takes modulo the partitions; `None` where it reads text and the key is none, or where it does
/// not look at keys.
pub(super) fn number_of_key(
    partitioner: &Partitioner,
    key: &[u8],
    scratch: &mut Vec<u8>,
) -> Option<u32> {
    match partitioner.hash {
        Hash::Murmur3 => {
            let seed = partitioner.seed;
            let hash = match partitioner.reading {
                Reading::LegacyJs if !key.is_ascii() => {
                    masked_units(std::str::from_utf8(key).ok()?, scratch);
                    murmur3(scratch, seed)
                }
                Reading::Imurmurhash if !key.is_ascii() => {
                    imurmurhash(std::str::from_utf8(key).ok()?, seed)
                }
                Reading::Utf8 | Reading::LegacyJs | Reading::Imurmurhash => murmur3(key, seed),
            };
            Some(fold(hash, partitioner.fold))
        }
        Hash::Murmur2 => Some(fold(murmur2(key), Fold::Mask31)),
        Hash::Crc32 => Some(crc32fast::hash(key)),
        Hash::Fnv1a => Some(fnv1a(key)),
        Hash::StreamIndex | Hash::None => None,
    }
}

/// A hash as a number that is not negative. `Math.abs(-2147483648)` is 2147483648 in JavaScript, so here too.
pub(super) fn fold(hash: u32, fold: Fold) -> u32 {
    match fold {
        Fold::Abs => hash.cast_signed().unsigned_abs(),
        Fold::Unsigned => hash,
        Fold::Mask31 => hash & 0x7fff_ffff,
    }
}

/// The number in decimal that ends a stream's name, leading zeros allowed; `None` where there is none.
pub(super) fn stream_index(name: &[u8]) -> Option<u32> {
    let digits = name.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let digits = std::str::from_utf8(&name[name.len() - digits..]).ok()?;
    digits.parse().ok()
}

/// Spreads entries without a key, the same way each time.
fn of_id(id: EntryId, scratch: &mut Vec<u8>) -> u32 {
    scratch.clear();
    write_decimal(id.ms, scratch);
    scratch.push(b'-');
    write_decimal(id.seq, scratch);
    fold(murmur2(scratch), Fold::Mask31)
}

fn write_decimal(mut number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out[start..].reverse();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partitioner(hash: Hash) -> Partitioner {
        Partitioner {
            hash,
            ..Partitioner::default()
        }
    }

    fn place(partitioner: Partitioner, partitions: u32, key: &[u8]) -> i32 {
        let placed = Placer::new(partitioner, partitions).place(
            Some(key),
            None,
            EntryId::ZERO,
            &mut Vec::new(),
        );
        placed.expect("placeable").0
    }

    #[test]
    fn every_partitioner_places_as_measured() {
        #[derive(serde::Deserialize)]
        struct File {
            keys: Vec<serde_json::Map<String, serde_json::Value>>,
        }
        let file: File =
            serde_json::from_str(include_str!("../../tests/vectors/partitioners.json"))
                .expect("the vectors read");
        assert_eq!(file.keys.len(), 29);
        for vector in &file.keys {
            let key = vector["key"].as_str().expect("text").as_bytes();
            assert_eq!(u64::from(murmur3(key, 0)), vector["murmur3_unsigned"]);
            let folded = |fold| Partitioner {
                fold,
                ..partitioner(Hash::Murmur3)
            };
            for (partitioner, partitions, column) in [
                (folded(Fold::Abs), 16, "p16_abs"),
                (folded(Fold::Unsigned), 16, "p16_unsigned"),
                (folded(Fold::Mask31), 16, "p16_mask31"),
                (folded(Fold::Abs), 4, "p4_abs"),
                (folded(Fold::Abs), 12, "p12_abs"),
                (folded(Fold::Unsigned), 12, "p12_unsigned"),
                (folded(Fold::Mask31), 12, "p12_mask31"),
                (partitioner(Hash::Murmur2), 16, "p16_kafka_murmur2"),
                (partitioner(Hash::Crc32), 16, "p16_crc32"),
                (partitioner(Hash::Fnv1a), 16, "p16_fnv1a"),
            ] {
                if partitioner.hash == Hash::Crc32 && key.is_empty() {
                    continue; // measured with `consistent`; `consistent_random` has the id choose
                }
                let placed = place(partitioner, partitions, key);
                assert_eq!(
                    i64::from(placed),
                    vector[column],
                    "{column} of {:?}",
                    vector["key"]
                );
            }
        }
    }

    #[test]
    fn the_messaging_platforms_conversations_go_where_its_streams_had_them() {
        for (key, partition) in [
            ("conv_001", 0),
            ("conv_002", 9),
            ("test_conv_001", 2),
            ("😀", 6),
            ("é", 7),
            ("漢字", 11),
        ] {
            assert_eq!(
                place(partitioner(Hash::Murmur3), 16, key.as_bytes()),
                partition,
                "{key}"
            );
        }
    }

    #[test]
    fn abs_of_the_most_negative_hash_is_two_to_the_31st() {
        assert_eq!(fold(i32::MIN.cast_unsigned(), Fold::Abs), 1 << 31);
        assert_eq!(fold(i32::MIN.cast_unsigned(), Fold::Mask31), 0);
    }

    #[test]
    fn where_librdkafka_chooses_at_random_the_id_chooses() {
        let mut scratch = Vec::new();
        let id = EntryId::new(1_741_356_110_123, 7);
        let by_id = Placer::new(partitioner(Hash::None), 16).place(None, None, id, &mut scratch);
        assert_eq!(
            by_id,
            Ok(Partition(place(
                partitioner(Hash::Murmur2),
                16,
                b"1741356110123-7"
            )))
        );
        let mut crc32 =
            |key| Placer::new(partitioner(Hash::Crc32), 16).place(key, None, id, &mut scratch);
        assert_eq!(crc32(None), by_id);
        assert_eq!(crc32(Some(b"")), by_id);
        assert_ne!(crc32(Some(b"ab")), by_id);
    }

    #[test]
    fn entries_without_a_key_spread_evenly() {
        let placer = Placer::new(partitioner(Hash::None), 8);
        let mut counts = [0_u32; 8];
        for n in 0..8_000 {
            let id = EntryId::new(1_741_356_110_000 + n / 3, n % 3);
            let placed = placer.place(None, None, id, &mut Vec::new());
            counts[placed.expect("placeable").0 as usize] += 1;
        }
        assert!(
            counts.iter().all(|n| (800..1_200).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_streams_index_is_the_number_that_ends_its_name() {
        for (name, index) in [
            ("msg:stream:15", Some(15)),
            ("s007", Some(7)),
            ("4", Some(4)),
            ("stream", None),
            ("", None),
            ("s4294967296", None),
        ] {
            assert_eq!(stream_index(name.as_bytes()), index, "{name}");
        }
        let placer = Placer::new(partitioner(Hash::StreamIndex), 4);
        let place = |index| placer.place(None, index, EntryId::ZERO, &mut Vec::new());
        assert_eq!(place(Some(3)), Ok(Partition(3)));
        assert_eq!(place(Some(4)), Err(Unplaceable::NoStreamIndex));
        assert_eq!(place(None), Err(Unplaceable::NoStreamIndex));
    }

    #[test]
    fn the_legacy_readings_need_text_and_differ_beyond_it() {
        let mut scratch = Vec::new();
        let mut place = |reading, key| {
            let partitioner = Partitioner {
                reading,
                ..partitioner(Hash::Murmur3)
            };
            let placed = Placer::new(partitioner, 1 << 20).place(
                Some(key),
                None,
                EntryId::ZERO,
                &mut scratch,
            );
            placed.map(|partition| partition.0)
        };
        for reading in [Reading::LegacyJs, Reading::Imurmurhash] {
            assert_eq!(place(reading, b"\xff"), Err(Unplaceable::KeyNotText));
        }
        let mut hanzi = |reading| place(reading, "漢字".as_bytes());
        assert_ne!(hanzi(Reading::Utf8), hanzi(Reading::LegacyJs));
        assert_ne!(hanzi(Reading::LegacyJs), hanzi(Reading::Imurmurhash));
    }

    proptest! {
        #[test]
        fn decimals_are_written_as_people_write_them(number: u64) {
            let mut out = Vec::new();
            write_decimal(number, &mut out);
            prop_assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
