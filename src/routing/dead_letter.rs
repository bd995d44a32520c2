//! A dead letter's value: the raw fields of the entry, byte for byte, in their order.
//!
//! ```text
//! version   1 byte, 1
//! count     4 bytes, big endian: how many fields follow
//! count times:
//!   name    4 bytes, big endian: its length; then its bytes
//!   value   4 bytes, big endian: its length; then its bytes
//! ```
//!
//! Nothing is interpreted, so that whatever XADD took can be put back as it was. Nothing follows the last field.

use crate::entry::{Field, Fields};

const VERSION: u8 = 1;

/// Not a dead letter's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the dead letter ends in the middle of a field")]
    Truncated,
    #[error("version {0} of the dead letter form is not known; a newer Lockgate wrote it")]
    Version(u8),
    #[error("{0} bytes follow the last field of the dead letter")]
    Trailing(usize),
}

/// Appends the fields.
pub fn encode(fields: &Fields, out: &mut Vec<u8>) {
    out.reserve(5 + 8 * fields.len() + fields.bytes());
    out.push(VERSION);
    write_number(fields.len(), out);
    for field in fields.iter() {
        for part in [field.name, field.value] {
            write_number(part.len(), out);
            out.extend_from_slice(part);
        }
    }
}

fn write_number(number: usize, out: &mut Vec<u8>) {
    let number = u32::try_from(number).expect("Redis takes no argument list or value of 4 GiB");
    out.extend_from_slice(&number.to_be_bytes());
}

/// The fields that [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Vec<Field>, DecodeError> {
    let (version, mut rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
    if *version != VERSION {
        return Err(DecodeError::Version(*version));
    }
    let count = read_number(&mut rest)?;
    // A field takes 8 bytes at least: a broken count asks for no more memory than the letter itself takes.
    let mut fields = Vec::with_capacity(count.min(rest.len() / 8));
    for _ in 0..count {
        fields.push(Field {
            name: read_bytes(&mut rest)?,
            value: read_bytes(&mut rest)?,
        });
    }
    if rest.is_empty() {
        Ok(fields)
    } else {
        Err(DecodeError::Trailing(rest.len()))
    }
}

fn read_number(rest: &mut &[u8]) -> Result<usize, DecodeError> {
    let (number, tail) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
    *rest = tail;
    Ok(u32::from_be_bytes(*number) as usize)
}

fn read_bytes(rest: &mut &[u8]) -> Result<Vec<u8>, DecodeError> {
    let length = read_number(rest)?;
    let (bytes, tail) = rest
        .split_at_checked(length)
        .ok_or(DecodeError::Truncated)?;
    *rest = tail;
    Ok(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letter(pairs: &[(Vec<u8>, Vec<u8>)]) -> (Vec<Field>, Vec<u8>) {
        let fields: Vec<Field> = pairs
            .iter()
            .map(|(name, value)| Field {
                name: name.clone(),
                value: value.clone(),
            })
            .collect();
        let mut out = Vec::new();
        encode(&fields.iter().cloned().collect(), &mut out);
        (fields, out)
    }

    #[test]
    fn the_form_is_the_one_described() {
        let (_, out) = letter(&[(b"ab".to_vec(), b"\xff".to_vec()), (vec![], vec![])]);
        assert_eq!(
            out,
            b"\x01\0\0\0\x02\0\0\0\x02ab\0\0\0\x01\xff\0\0\0\0\0\0\0\0"
        );
    }

    #[test]
    fn a_letter_of_another_form_is_refused() {
        assert_eq!(decode(b""), Err(DecodeError::Truncated));
        assert_eq!(decode(b"\x02\0\0\0\0"), Err(DecodeError::Version(2)));
        assert_eq!(decode(b"\x01\0\0\0\0x"), Err(DecodeError::Trailing(1)));
        assert_eq!(decode(b"\x01\xff\xff\xff\xff"), Err(DecodeError::Truncated));
    }

    proptest! {
        #[test]
        fn any_fields_come_back(pairs in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..6)) {
            let (fields, out) = letter(&pairs);
            prop_assert_eq!(decode(&out), Ok(fields));
        }

        #[test]
        fn a_letter_cut_anywhere_is_refused(
            pairs in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let (_, out) = letter(&pairs);
            prop_assert_eq!(decode(&out[..cut.index(out.len())]), Err(DecodeError::Truncated));
        }
    }
}
