//! The hashes by which applications place their keys. Each gives the 32 bits that its original gives; what is folded and
//! taken modulo the partitions is the business of [`partition`](super::partition).

/// MurmurHash3 x86_32.
pub(super) fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let mut rest = bytes;
    murmur3::murmur3_32(&mut rest, seed).expect("reading from memory does not fail")
}

/// MurmurHash2 as Kafka's Java clients compute it (`Utils.murmur2`), before `toPositive`.
pub(super) fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Java's length is a 32-bit int; Redis's values end at 512 MiB, far below where that would matter.
    let mut h = SEED ^ (bytes.len() as u32);
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        let mut k = u32::from_le_bytes(*block).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, &byte) in tail.iter().enumerate() {
            h ^= u32::from(byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// FNV-1a as librdkafka computes it (`rd_fnv1a`): the signed result made positive, to agree with Sarama.
pub(super) fn fnv1a(bytes: &[u8]) -> u32 {
    let h = bytes.iter().fold(0x811c_9dc5_u32, |h, &byte| {
        (h ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    h.cast_signed().unsigned_abs()
}

/// The bytes that `murmurhash-js`, `murmurhash3js` and `murmurhash` 0.x hash: the UTF-16 code units of the text, each
/// masked with 0xff.
pub(super) fn masked_units(text: &str, out: &mut Vec<u8>) {
    out.clear();
    out.extend(text.encode_utf16().map(|unit| (unit & 0xff) as u8));
}

/// MurmurHash3 as the JavaScript package `imurmurhash` 0.1 computes it: four UTF-16 code units make a block, and what is
/// wider than a byte runs over into the units beside it. A last, short block that is negative as a signed number is left
/// out, as the package does.
pub(super) fn imurmurhash(text: &str, seed: u32) -> u32 {
    let scramble = |k: u32| {
        let k = k.wrapping_mul(0xcc9e_2d51).rotate_left(15);
        k.wrapping_mul(0x1b87_3593)
    };
    let (mut h, mut block, mut length) = (seed, 0_u32, 0_u32);
    for unit in text.encode_utf16().map(u32::from) {
        match length % 4 {
            0 => block = unit,
            1 => block ^= unit << 8,
            2 => block ^= unit << 16,
            _ => {
                block ^= (unit << 24) ^ (unit >> 8);
                h = (h ^ scramble(block)).rotate_left(13);
                h = h.wrapping_mul(5).wrapping_add(0xe654_6b64);
                block = 0;
            }
        }
        length = length.wrapping_add(1);
    }
    if block.cast_signed() > 0 {
        h ^= scramble(block);
    }
    h ^= length;
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Vectors {
        vectors: Vec<Vector>,
    }

    #[derive(serde::Deserialize)]
    struct Vector {
        key: String,
        seed: u32,
        hash_unsigned: u32,
    }

    fn check(json: &str, count: usize, hash: impl Fn(&str, u32) -> u32) {
        let Vectors { vectors } = serde_json::from_str(json).expect("the vectors read");
        assert_eq!(vectors.len(), count);
        for Vector {
            key,
            seed,
            hash_unsigned,
        } in vectors
        {
            assert_eq!(hash(&key, seed), hash_unsigned, "{key:?} seed {seed}");
        }
    }

    #[test]
    fn imurmurhash_gives_what_the_package_gave() {
        let vectors = include_str!("../../tests/vectors/murmur3-legacy-js.json");
        check(vectors, 116, imurmurhash);
        // Short last blocks that are negative as a signed number, measured with imurmurhash 0.1.4.
        for (key, hash) in [
            ("\u{ffff}", 4_084_805_820),
            ("ab\u{8000}", 2_247_144_487),
            ("abcdef\u{8000}", 2_447_583_035),
        ] {
            assert_eq!(imurmurhash(key, 0), hash, "{key:?}");
        }
    }

    #[test]
    fn murmur3_over_masked_units_gives_what_the_other_packages_gave() {
        let vectors = include_str!("../../tests/vectors/murmur3-masked-js.json");
        check(vectors, 118, |key, seed| {
            let mut bytes = Vec::new();
            masked_units(key, &mut bytes);
            murmur3(&bytes, seed)
        });
    }

    proptest::proptest! {
        #[test]
        fn all_readings_agree_on_ascii(key in "[ -~]{0,40}", seed: u32) {
            let mut bytes = Vec::new();
            masked_units(&key, &mut bytes);
            let hash = murmur3(key.as_bytes(), seed);
            proptest::prop_assert_eq!(murmur3(&bytes, seed), hash);
            proptest::prop_assert_eq!(imurmurhash(&key, seed), hash);
        }
    }

    #[test]
    fn murmur2_gives_what_kafkas_own_tests_expect() {
        // From UtilsTest.testMurmur2 of Apache Kafka.
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
