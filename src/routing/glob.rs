//! A pattern of literal parts with a `*` between each two: matching, captures, and whether two of them can meet.
//!
//! `*` stands for any bytes, none included, as in Redis. Captures are the shortest that match, from the left; the last
//! one takes what remains. With parts between stars found leftmost first, a match is found whenever there is one: an
//! earlier occurrence never leaves less room for the parts that follow.

use memchr::memmem;

/// A pattern over bytes. One part alone (no star) matches exactly itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    /// The literals between the stars; the first and the last are anchored to the ends of the name.
    parts: Vec<Vec<u8>>,
    scan_pattern: Vec<u8>,
}

impl Glob {
    /// `parts` as they stand between the stars: `a*b` is `["a", "b"]`, `*` is `["", ""]`.
    pub(super) fn new(parts: Vec<Vec<u8>>) -> Self {
        debug_assert!(!parts.is_empty(), "a pattern has at least one part");
        let escaped: Vec<Vec<u8>> = parts.iter().map(|part| escape(part)).collect();
        Self {
            scan_pattern: escaped.join(&b"*"[..]),
            parts,
        }
    }

    /// The same pattern for `SCAN ... MATCH`.
    #[must_use]
    pub fn scan_pattern(&self) -> &[u8] {
        &self.scan_pattern
    }

    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        self.captures(name).is_some()
    }

    /// What each `*` stands for in `name`; `None` where the name does not match.
    #[must_use]
    pub fn captures<'n>(&self, name: &'n [u8]) -> Option<Vec<&'n [u8]>> {
        let [prefix, middle @ .., suffix] = self.parts.as_slice() else {
            return (self.parts[0] == name).then(Vec::new);
        };
        let mut rest = name.strip_prefix(prefix.as_slice())?;
        rest = rest.strip_suffix(suffix.as_slice())?;
        let mut captures = Vec::with_capacity(self.parts.len() - 1);
        for part in middle {
            let at = memmem::find(rest, part)?;
            captures.push(&rest[..at]);
            rest = &rest[at + part.len()..];
        }
        captures.push(rest);
        Some(captures)
    }

    /// Whether some name matches both. Exact: with a star in each, two patterns meet if and only if their beginnings
    /// agree as far as the shorter one goes, and likewise their ends; the longer beginning, all parts between the stars
    /// of the one and then of the other, and the longer end make such a name.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.parts.as_slice(), other.parts.as_slice()) {
            ([name], _) => other.matches(name),
            (_, [name]) => self.matches(name),
            ([prefix_a, .., suffix_a], [prefix_b, .., suffix_b]) => {
                (prefix_a.starts_with(prefix_b) || prefix_b.starts_with(prefix_a))
                    && (suffix_a.ends_with(suffix_b) || suffix_b.ends_with(suffix_a))
            }
            ([], _) | (_, []) => false,
        }
    }
}

/// Redis's own special bytes lose their meaning behind a backslash.
fn escape(part: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(part.len());
    for &byte in part {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::new(text.split('*').map(|part| part.into()).collect())
    }

    /// By trying every length for every star.
    fn matches_by_force(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|n| matches_by_force(rest, &name[n..])),
            Some((byte, rest)) => name.first() == Some(byte) && matches_by_force(rest, &name[1..]),
        }
    }

    #[test]
    fn captures_are_the_shortest_from_the_left() {
        let captures = |pattern: &str, name: &'static str| {
            glob(pattern).captures(name.as_bytes()).map(|captures| {
                captures
                    .into_iter()
                    .map(|c| String::from_utf8(c.to_vec()).expect("UTF-8"))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(
            captures("laddr:tasks:*", "laddr:tasks:planner"),
            Some(vec!["planner".to_owned()])
        );
        assert_eq!(
            captures("a:*:b:*", "a:1:b:2:b:3"),
            Some(vec!["1".to_owned(), "2:b:3".to_owned()])
        );
        assert_eq!(captures("a*", "a"), Some(vec![String::new()]));
        assert_eq!(captures("a*a", "a"), None, "the ends may not share a byte");
        assert_eq!(captures("name", "name"), Some(vec![]));
        assert_eq!(captures("name", "names"), None);
    }

    #[test]
    fn the_scan_pattern_takes_no_byte_for_more_than_itself() {
        assert_eq!(
            glob("a?[b]\\:*:{c}").scan_pattern(),
            b"a\\?\\[b\\]\\\\:*:{c}"
        );
    }

    proptest! {
        #[test]
        fn matching_agrees_with_trying_everything(pattern in "[ab*]{0,7}", name in "[ab]{0,9}") {
            prop_assert_eq!(
                glob(&pattern).matches(name.as_bytes()),
                matches_by_force(pattern.as_bytes(), name.as_bytes())
            );
        }

        /// Two patterns of at most five bytes that meet do so in a name of at most ten.
        #[test]
        fn overlap_agrees_with_trying_every_name(a in "[ab*]{0,5}", b in "[ab*]{0,5}") {
            let (glob_a, glob_b) = (glob(&a), glob(&b));
            let met = (0..=10_u32).any(|length| (0..1_u32 << length).any(|bits| {
                let name: Vec<u8> = (0..length).map(|i| if bits >> i & 1 == 0 { b'a' } else { b'b' }).collect();
                glob_a.matches(&name) && glob_b.matches(&name)
            }));
            prop_assert_eq!(glob_a.overlaps(&glob_b), met, "{} and {}", a, b);
            prop_assert_eq!(glob_b.overlaps(&glob_a), met);
        }
    }
}
