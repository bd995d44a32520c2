//! JSON as the applications' own `JSON.stringify` writes it, and reading single places of it without building a tree.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// What a byte becomes inside a JSON string: 0 itself, `u` a `\u00xx` escape, anything else a backslash and that letter.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[b'\t' as usize] = b't';
    table[b'\n' as usize] = b'n';
    table[0x0c] = b'f';
    table[b'\r' as usize] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// Appends the text in quotes. Escapes what `JSON.stringify` escapes and nothing else: not `/`, DEL or U+2028.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = find(rest, needs_escape, |byte| ESCAPES[usize::from(byte)] != 0) {
        let (clean, from_there) = rest.split_at(at);
        let byte = from_there[0];
        let escape = ESCAPES[usize::from(byte)];
        out.extend_from_slice(clean);
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'0', b'0', HEX[high], HEX[low]]);
        }
        rest = &from_there[1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The same from bytes; an error where they are not UTF-8. Most are plain ASCII, for which one look at them is enough.
pub(super) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), std::str::Utf8Error> {
    let special = |byte: u8| !byte.is_ascii() || ESCAPES[usize::from(byte)] != 0;
    if find(bytes, |word| needs_escape(word) | word, special).is_some() {
        write_string(std::str::from_utf8(bytes)?, out);
        return Ok(());
    }
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    out.extend_from_slice(bytes);
    out.push(b'"');
    Ok(())
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);

/// Sets the high bit of each byte that is below 0x20, a quote or a backslash. The lowest such bit is exact; those above
/// it may owe theirs to a borrow.
fn needs_escape(word: u64) -> u64 {
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = is_zero(word ^ (ONES * u64::from(b'"')));
    let backslash = is_zero(word ^ (ONES * u64::from(b'\\')));
    control | quote | backslash
}

/// The place of the first byte looked for, eight at a time; `in_word` marks it by its high bit and `is_it` is the same for
/// one byte. The last eight are looked at together, some of them for the second time.
fn find(bytes: &[u8], in_word: impl Fn(u64) -> u64, is_it: impl Fn(u8) -> bool) -> Option<usize> {
    let in_chunk = |chunk: &[u8; 8]| {
        let found = in_word(u64::from_le_bytes(*chunk)) & (ONES << 7);
        (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
    };
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().position(|&byte| is_it(byte));
    };
    let (chunks, _) = bytes.as_chunks::<8>();
    for (i, chunk) in chunks.iter().enumerate() {
        if let Some(at) = in_chunk(chunk) {
            return Some(i * 8 + at);
        }
    }
    in_chunk(last).map(|at| bytes.len() - 8 + at)
}

/// Whether the bytes are one JSON text, in UTF-8 throughout.
pub(super) fn validate(bytes: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<&RawValue>(bytes).map(drop)
}

/// What a value says outside JSON: a string its text, `null` nothing, anything else its JSON as it is written.
pub(super) fn text_of(raw: &RawValue) -> Result<Option<Cow<'_, [u8]>>, serde_json::Error> {
    let json = raw.get();
    if json == "null" {
        return Ok(None);
    }
    let Some(inside) = json
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return Ok(Some(Cow::Borrowed(json.as_bytes())));
    };
    if !inside.contains('\\') {
        return Ok(Some(Cow::Borrowed(inside.as_bytes())));
    }
    let text: String = serde_json::from_str(json)?;
    Ok(Some(Cow::Owned(text.into_bytes())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_string(text, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn strings_are_escaped_as_json_stringify_escapes_them() {
        assert_eq!(
            written("\u{8}\t\n\u{c}\r\"\\\u{0}\u{b}\u{1f}"),
            r#""\b\t\n\f\r\"\\\u0000\u000b\u001f""#
        );
        let untouched = "/ \u{7f} \u{2028} \u{2029} é 漢 😀 '<>&";
        assert_eq!(written(untouched), format!("\"{untouched}\""));
        assert_eq!(written(""), "\"\"");
    }

    #[test]
    fn only_json_is_valid() {
        for valid in [
            "null",
            " {\"a\":[1,2.50,-0]} ",
            "\"\\ud83d\\ude00\"",
            "1e400",
        ] {
            assert!(validate(valid.as_bytes()).is_ok(), "{valid}");
        }
        for invalid in [
            &b""[..],
            b" ",
            b"{",
            b"{}{}",
            b"nul",
            b"01",
            b"\"\n\"",
            b"'a'",
            b"[1,]",
            b"NaN",
            b"\"\xff\"",
            b"\xef\xbb\xbf{}",
        ] {
            assert!(validate(invalid).is_err(), "{invalid:?}");
        }
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        assert!(validate(&deep).is_ok(), "depth costs no stack");
    }

    proptest! {
        #[test]
        fn written_strings_read_back(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).expect("parses"), text);
        }

        /// serde_json escapes the same characters in the same way.
        #[test]
        fn strings_are_written_as_serde_json_writes_them(text in "[a\"\\\\\\PC\u{0}-\u{1f}é]{0,40}") {
            let expected = serde_json::to_string(&text).expect("writes");
            prop_assert_eq!(&written(&text), &expected);
            let mut out = Vec::new();
            write_bytes(text.as_bytes(), &mut out).expect("UTF-8");
            prop_assert_eq!(out, expected.into_bytes());
        }

        #[test]
        fn bytes_that_are_no_text_are_no_string(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let written = write_bytes(&bytes, &mut Vec::new());
            prop_assert_eq!(written, std::str::from_utf8(&bytes).map(drop));
        }
    }
}
