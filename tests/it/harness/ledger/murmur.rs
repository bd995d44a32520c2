//! MurmurHash3 x86_32, written down from its definition: the ledger's own, so that a mistake in Lockgate's cannot hide.

/// The hash of `bytes` under `seed`.
pub fn murmur3_x86_32(bytes: &[u8], seed: u32) -> u32 {
    let mut hash = seed;
    let mut blocks = bytes.chunks_exact(4);
    for block in &mut blocks {
        let word = u32::from(block[0])
            | u32::from(block[1]) << 8
            | u32::from(block[2]) << 16
            | u32::from(block[3]) << 24;
        hash ^= scramble(word);
        hash = hash.rotate_left(13);
        hash = hash.wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let mut tail = 0;
    for (place, &byte) in blocks.remainder().iter().enumerate() {
        tail |= u32::from(byte) << (8 * place);
    }
    if !blocks.remainder().is_empty() {
        hash ^= scramble(tail);
    }
    hash ^= u32::try_from(bytes.len()).expect("a key shorter than 4 GiB");
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

fn scramble(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51)
        .rotate_left(15)
        .wrapping_mul(0x1b87_3593)
}

/// `Math.abs(hash | 0) % count`, as the messaging platform's JavaScript places a conversation.
pub fn placed_by_abs(key: &[u8], count: u32) -> u32 {
    let signed = murmur3_x86_32(key, 0).cast_signed();
    signed.unsigned_abs() % count
}

#[test]
fn known_hashes_come_out() {
    let known: [(&str, u32, u32); 6] = [
        ("", 0, 0),
        ("", 1, 0x514e_28b7),
        ("aaaa", 0x9747_b28c, 0x5a97_808a),
        ("abc", 0x9747_b28c, 0xc84a_62dd),
        ("Hello, world!", 0x9747_b28c, 0x2488_4cba),
        ("ab", 0, 2_613_040_991),
    ];
    for (text, seed, hash) in known {
        assert_eq!(murmur3_x86_32(text.as_bytes(), seed), hash, "{text:?}");
    }
}

#[test]
fn conversations_lie_where_the_platform_puts_them() {
    let known = [
        ("conv_001", 0),
        ("conv_002", 9),
        ("test_conv_001", 2),
        ("😀", 6),
        ("é", 7),
        ("漢字", 11),
    ];
    for (conversation, index) in known {
        assert_eq!(
            placed_by_abs(conversation.as_bytes(), 16),
            index,
            "{conversation}"
        );
    }
}
