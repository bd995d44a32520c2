//! What a route's `streams` say: names, ranges and globs, read once and spread out into names and globs.
//!
//! ```text
//! orders                a name
//! msg:stream:{0..15}    sixteen names; {00..15} pads with zeros to the width written; several ranges multiply
//! laddr:tasks:*         a glob; each * is a capture: $1, $2, ... from the left
//! {user}:events         braces without `..` are themselves (hash tags of a cluster)
//! a\*b                  a backslash takes the meaning from the character that follows
//! ```

use crate::entry::StreamName;

use super::glob::Glob;

/// More names than this in one pattern are taken for a slip of the pen.
const MAX_NAMES: u64 = 65_536;
/// The same for globs: each costs a SCAN of the whole database at every discovery.
const MAX_GLOBS: u64 = 64;

/// One pattern, spread out: names if it has no star, otherwise globs (several where it has ranges too).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) names: Vec<StreamName>,
    pub(super) globs: Vec<Glob>,
    /// Number of stars.
    pub(super) captures: usize,
}

/// Why a pattern cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidPattern {
    #[error("the pattern is empty; give a stream's name, a range or a glob")]
    Empty,
    #[error("`**` captures nothing that `*` does not; write one `*`")]
    DoubleStar,
    #[error("`\\` at the end escapes nothing; write `\\\\` for a backslash as such")]
    DanglingEscape,
    #[error(
        "`{{{0}}}` is no range; write {{first..last}} with whole numbers, or `\\{{` for a brace as such"
    )]
    NoRange(String),
    #[error("the range {{{0}}} runs backwards; write the smaller number first")]
    Backwards(String),
    #[error(
        "the range {{{0}}} pads with zeros but its ends differ in width; write both equally wide, for example {{00..15}}"
    )]
    Width(String),
    #[error("it stands for {count} {what}, more than {max}; split it over routes or use a glob")]
    TooMany {
        count: u64,
        what: &'static str,
        max: u64,
    },
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Text(Vec<u8>),
    Range { first: u64, last: u64, width: usize },
    Star,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let tokens = tokens(text)?;
        if tokens.is_empty() {
            return Err(InvalidPattern::Empty);
        }
        let captures = tokens.iter().filter(|t| **t == Token::Star).count();
        let (what, max) = if captures == 0 {
            ("names", MAX_NAMES)
        } else {
            ("globs", MAX_GLOBS)
        };
        let count = size(&tokens);
        if count > max {
            return Err(InvalidPattern::TooMany { count, what, max });
        }
        let spread = spread(&tokens);
        Ok(if captures == 0 {
            Self {
                names: spread
                    .into_iter()
                    .map(|parts| parts.concat().into())
                    .collect(),
                ..Self::default()
            }
        } else {
            Self {
                globs: spread.into_iter().map(Glob::new).collect(),
                captures,
                ..Self::default()
            }
        })
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, InvalidPattern> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        match c {
            '*' if tokens.last() == Some(&Token::Star) => return Err(InvalidPattern::DoubleStar),
            '*' => {
                tokens.push(Token::Star);
                rest = tail;
            }
            '\\' => {
                let escaped = tail.chars().next().ok_or(InvalidPattern::DanglingEscape)?;
                push_text(&mut tokens, &tail[..escaped.len_utf8()]);
                rest = &tail[escaped.len_utf8()..];
            }
            '{' => match tail.split_once('}') {
                Some((inside, after)) if inside.contains("..") => {
                    tokens.push(range(inside)?);
                    rest = after;
                }
                _ => {
                    push_text(&mut tokens, "{");
                    rest = tail;
                }
            },
            _ => {
                push_text(&mut tokens, &rest[..c.len_utf8()]);
                rest = tail;
            }
        }
    }
    Ok(tokens)
}

fn push_text(tokens: &mut Vec<Token>, text: &str) {
    if let Some(Token::Text(bytes)) = tokens.last_mut() {
        bytes.extend_from_slice(text.as_bytes());
    } else {
        tokens.push(Token::Text(text.into()));
    }
}

fn range(inside: &str) -> Result<Token, InvalidPattern> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let ends = inside.split_once("..");
    let Some((from, to, first, last)) =
        ends.and_then(|(from, to)| Some((from, to, number(from)?, number(to)?)))
    else {
        return Err(InvalidPattern::NoRange(inside.to_owned()));
    };
    let padded = [from, to].iter().any(|n| n.len() > 1 && n.starts_with('0'));
    if padded && from.len() != to.len() {
        return Err(InvalidPattern::Width(inside.to_owned()));
    }
    if first > last {
        return Err(InvalidPattern::Backwards(inside.to_owned()));
    }
    let width = if padded { from.len() } else { 0 };
    Ok(Token::Range { first, last, width })
}

/// How many names or globs the tokens stand for.
fn size(tokens: &[Token]) -> u64 {
    tokens
        .iter()
        .map(|token| match token {
            Token::Range { first, last, .. } => (last - first).saturating_add(1),
            Token::Text(_) | Token::Star => 1,
        })
        .fold(1, u64::saturating_mul)
}

/// Every combination of the ranges' numbers, each as the literals between its stars; the last range turns fastest.
fn spread(tokens: &[Token]) -> Vec<Vec<Vec<u8>>> {
    let mut all = vec![vec![Vec::new()]];
    for token in tokens {
        match token {
            Token::Text(text) => {
                for parts in &mut all {
                    append(parts, text);
                }
            }
            Token::Star => {
                for parts in &mut all {
                    parts.push(Vec::new());
                }
            }
            Token::Range { first, last, width } => {
                all = all
                    .into_iter()
                    .flat_map(|parts| {
                        (*first..=*last).map(move |n| {
                            let mut parts = parts.clone();
                            append(&mut parts, format!("{n:0width$}").as_bytes());
                            parts
                        })
                    })
                    .collect();
            }
        }
    }
    all
}

fn append(parts: &mut [Vec<u8>], text: &[u8]) {
    if let Some(last) = parts.last_mut() {
        last.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let pattern = Pattern::parse(text).expect(text);
        assert!(pattern.globs.is_empty());
        pattern.names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_multiply_and_the_last_turns_fastest() {
        assert_eq!(
            names("msg:stream:{0..2}"),
            ["msg:stream:0", "msg:stream:1", "msg:stream:2"]
        );
        assert_eq!(names("{0..1}-{8..9}!"), ["0-8!", "0-9!", "1-8!", "1-9!"]);
        assert_eq!(names("s{08..10}"), ["s08", "s09", "s10"]);
        assert_eq!(names("s{7..7}"), ["s7"]);
        assert_eq!(names("s{0..1}").len(), 2);
    }

    #[test]
    fn braces_and_backslashes_can_be_themselves() {
        assert_eq!(names("{user}:events"), ["{user}:events"]);
        assert_eq!(names("open{"), ["open{"]);
        assert_eq!(names("a\\*b\\{0..1}\\\\"), ["a*b{0..1}\\"]);
        assert_eq!(names("größe"), ["größe"]);
    }

    #[test]
    fn a_glob_may_hold_ranges_too() {
        let pattern = Pattern::parse("a:{0..1}:*").expect("reads");
        assert_eq!(pattern.captures, 1);
        let scans: Vec<_> = pattern.globs.iter().map(Glob::scan_pattern).collect();
        assert_eq!(scans, [b"a:0:*", b"a:1:*"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, refusal) in [
            ("", InvalidPattern::Empty),
            ("a**", InvalidPattern::DoubleStar),
            ("a\\", InvalidPattern::DanglingEscape),
            ("{0..}", InvalidPattern::NoRange("0..".into())),
            ("{0...5}", InvalidPattern::NoRange("0...5".into())),
            ("{a..f}", InvalidPattern::NoRange("a..f".into())),
            ("{-1..5}", InvalidPattern::NoRange("-1..5".into())),
            ("{5..1}", InvalidPattern::Backwards("5..1".into())),
            ("{00..5}", InvalidPattern::Width("00..5".into())),
        ] {
            assert_eq!(Pattern::parse(text), Err(refusal), "{text:?}");
        }
        for text in [
            "{0..65536}",
            "{0..999}{0..999}",
            "{0..18446744073709551615}",
            "{0..64}*",
        ] {
            assert!(
                matches!(Pattern::parse(text), Err(InvalidPattern::TooMany { .. })),
                "{text:?}"
            );
        }
        assert_eq!(
            Pattern::parse("{0..65535}").expect("fits").names.len(),
            65_536
        );
    }
}
