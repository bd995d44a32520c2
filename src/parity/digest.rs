//! A digest of many records that needs none of them in memory, and is the same in whatever order they come.
//!
//! Each record, or the record that an entry should become, gives one 128-bit hash over everything that parity compares
//! (identity, partition, key, value, headers), with a seed drawn for the run; a [`Sum`] is the number of hashes and
//! their sum modulo 2^128. Two stretches whose sums are equal hold the same multiset of records but for a collision: with
//! sums of independent uniform hashes two different multisets agree with probability 2^-128 for each pair compared. A repeat
//! cannot hide either: one record twice and another never changes the sum, and a sum of equal hashes vanishes only after
//! 2^128 of them, which the count excludes.
//!
//! That is an argument about accidents. The hash is XXH3, fast and not cryptographic: whoever may write records can make others
//! of the same sum if he knows the seed, and that a seed is drawn for each run keeps nobody from it for certain. A report prints its
//! seed, and `--against` uses it again: against one who rewrites both stores with the report in hand its digests prove nothing.
//!
//! What the sum does not see is order. Beside it goes a flag that falls when the ids of one stream do not ascend strictly
//! within a partition. While it stands, the records of every key (a key lives in one partition) come in the order of their
//! ids, which is the order of Redis; when it falls nothing is proven either way, and the window is looked at entry by entry.
//!
//! The bytes that are hashed begin each part with its length, so that no two different records share them.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::entry::EntryId;
use crate::placement::Partition;

/// How many records, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub count: u64,
    #[serde(with = "hexadecimal")]
    pub digest: u128,
}

impl Sum {
    pub fn add(&mut self, hash: u128) {
        self.count += 1;
        self.digest = self.digest.wrapping_add(hash);
    }

    pub fn join(&mut self, other: Self) {
        self.count += other.count;
        self.digest = self.digest.wrapping_add(other.digest);
    }
}

/// 32 hexadecimal digits.
pub mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[must_use]
    pub fn text(digest: u128) -> String {
        format!("{digest:032x}")
    }

    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(digest: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(*digest))
    }

    /// # Errors
    /// Not a hexadecimal number of 128 bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// What a record is compared by, entry by entry: a hash of each part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub key: u64,
    pub value: u64,
    pub headers: u64,
}

/// Turns records into hashes, in buffers that are filled anew for each.
#[derive(Debug)]
pub struct Digester {
    seed: u64,
    headers: Vec<u8>,
    bytes: Vec<u8>,
}

impl Digester {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            headers: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Forgets the record before.
    pub fn begin(&mut self) {
        self.headers.clear();
    }

    /// The next header in order, but for those that give the identity.
    pub fn header(&mut self, name: &str, value: Option<&[u8]>) {
        part(Some(name.as_bytes()), &mut self.headers);
        part(value, &mut self.headers);
    }

    /// The record whose headers were given.
    pub fn record(
        &mut self,
        id: EntryId,
        partition: Partition,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> u128 {
        self.identity(b'R', id);
        self.bytes.extend_from_slice(&partition.0.to_le_bytes());
        part(key, &mut self.bytes);
        part(value, &mut self.bytes);
        self.bytes.extend_from_slice(&self.headers);
        xxh3_128_with_seed(&self.bytes, self.seed)
    }

    /// A dead letter, by the raw fields that it keeps.
    pub fn letter(&mut self, id: EntryId, fields: &[u8]) -> u128 {
        self.identity(b'L', id);
        self.bytes.extend_from_slice(fields);
        xxh3_128_with_seed(&self.bytes, self.seed)
    }

    /// The parts of the record whose headers were given.
    #[must_use]
    pub fn parts(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Parts {
        Parts {
            key: self.key(key),
            value: self.one(value),
            headers: xxh3_64_with_seed(&self.headers, self.seed),
        }
    }

    /// What stands for a key; no key is one too.
    #[must_use]
    pub fn key(&mut self, key: Option<&[u8]>) -> u64 {
        self.one(key)
    }

    #[must_use]
    pub fn fields(&self, fields: &[u8]) -> u64 {
        xxh3_64_with_seed(fields, self.seed)
    }

    /// A number that decides whether an entry is in a sample: uniform, the same for both sides, and of its own for each
    /// stream, so that entries of several streams under one id are not drawn together.
    #[must_use]
    pub fn lot(&mut self, stream: &[u8], id: EntryId) -> u64 {
        self.identity(b'S', id);
        self.bytes.extend_from_slice(stream);
        xxh3_64_with_seed(&self.bytes, self.seed)
    }

    fn identity(&mut self, kind: u8, id: EntryId) {
        self.bytes.clear();
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&id.ms.to_le_bytes());
        self.bytes.extend_from_slice(&id.seq.to_le_bytes());
    }

    fn one(&mut self, bytes: Option<&[u8]>) -> u64 {
        self.bytes.clear();
        part(bytes, &mut self.bytes);
        xxh3_64_with_seed(&self.bytes, self.seed)
    }
}

fn part(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            out.push(1);
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Plain = (
        u64,
        i32,
        Option<Vec<u8>>,
        Option<Vec<u8>>,
        Vec<(String, Option<Vec<u8>>)>,
    );

    fn hash(digester: &mut Digester, record: &Plain) -> u128 {
        let (ms, partition, key, value, headers) = record;
        digester.begin();
        for (name, value) in headers {
            digester.header(name, value.as_deref());
        }
        digester.record(
            EntryId::new(*ms, 0),
            Partition(*partition),
            key.as_deref(),
            value.as_deref(),
        )
    }

    fn plain() -> impl Strategy<Value = Plain> {
        let bytes = || prop::option::of(prop::collection::vec(0..3u8, 0..3));
        (
            0..3u64,
            0..3i32,
            bytes(),
            bytes(),
            prop::collection::vec(("[ab]{0,2}", bytes()), 0..3),
        )
    }

    proptest! {
        #[test]
        fn two_records_share_a_hash_only_if_they_are_the_same(one in plain(), other in plain()) {
            let mut digester = Digester::new(7);
            let (a, b) = (hash(&mut digester, &one), hash(&mut digester, &other));
            prop_assert_eq!(a == b, one == other);
        }

        #[test]
        fn a_sum_forgets_the_order_and_nothing_else(records in prop::collection::vec(plain(), 0..6), twice in any::<prop::sample::Index>()) {
            let mut digester = Digester::new(7);
            let hashes: Vec<u128> = records.iter().map(|record| hash(&mut digester, record)).collect();
            let sum = |hashes: &mut dyn Iterator<Item = &u128>| {
                let mut sum = Sum::default();
                hashes.for_each(|hash| sum.add(*hash));
                sum
            };
            let whole = sum(&mut hashes.iter());
            prop_assert_eq!(whole, sum(&mut hashes.iter().rev()));
            if !hashes.is_empty() {
                let again = twice.get(&hashes);
                prop_assert_ne!(whole, sum(&mut hashes.iter().chain([again])));
            }
        }
    }

    #[test]
    fn entries_of_two_streams_under_one_id_are_not_drawn_together() {
        let mut digester = Digester::new(7);
        let half = u64::MAX / 2;
        let mut drawn = |stream: &[u8], n| digester.lot(stream, EntryId::new(n, 0)) <= half;
        let together = (0..1_000)
            .filter(|&n| drawn(b"a", n) == drawn(b"b", n))
            .count();
        // Five standard deviations about a half.
        assert!((420..580).contains(&together), "{together}");
    }

    #[test]
    fn a_letter_is_no_record() {
        let mut digester = Digester::new(1);
        digester.begin();
        let record = digester.record(EntryId::ZERO, Partition(0), None, None);
        assert_ne!(record, digester.letter(EntryId::ZERO, &[0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn a_sum_reads_back_as_it_was_written() {
        let sum = Sum {
            count: 3,
            digest: u128::MAX - 1,
        };
        let text = serde_json::to_string(&sum).expect("plain");
        assert_eq!(serde_json::from_str::<Sum>(&text).expect("as written"), sum);
    }
}
