//! A route's `topic`: a name, or a name with captures (`laddr.tasks.$1`, `${1}` where a digit follows).

use crate::placement::Topic;

use super::glob::Glob;

/// Topics and streams of Lockgate's own begin with its name; a route writes to none of them.
pub(super) const OWN_TOPICS: &str = "lockgate.";

/// A topic's name with places for captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Counted from 1.
    Capture(usize),
}

/// Why a topic's name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidTemplate {
    #[error(
        "`{0}` is no topic name; Kafka takes 1 to 249 of a-z A-Z 0-9 . _ -, and neither `.` nor `..`"
    )]
    Name(String),
    #[error("topics that begin with `{OWN_TOPICS}` are Lockgate's own; choose another name")]
    Own,
    #[error("`$` must be followed by the number of a capture: $1, or ${{1}} where a digit follows")]
    Capture,
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let mut pieces = Vec::new();
        let mut chunks = text.split('$');
        let first = chunks.next().unwrap_or_default();
        push_text(&mut pieces, first);
        for chunk in chunks {
            let (number, after) = match chunk.strip_prefix('{') {
                Some(braced) => braced.split_once('}').ok_or(InvalidTemplate::Capture)?,
                None => {
                    let digits = chunk.bytes().take_while(u8::is_ascii_digit).count();
                    chunk.split_at(digits)
                }
            };
            match number.parse() {
                Ok(n) if n > 0 => pieces.push(Piece::Capture(n)),
                _ => return Err(InvalidTemplate::Capture),
            }
            push_text(&mut pieces, after);
        }
        let template = Self { pieces };
        // Any valid name stands in for a capture, so that what is around it is judged.
        let sample = template.fill_with(|_| "0");
        if !Topic::is_valid(&sample) {
            return Err(InvalidTemplate::Name(text.to_owned()));
        }
        if text.starts_with(OWN_TOPICS) {
            return Err(InvalidTemplate::Own);
        }
        Ok(template)
    }

    /// The greatest number of a capture that it asks for; 0 if none.
    pub(super) fn captures(&self) -> usize {
        let asked = self.pieces.iter().map(|piece| match piece {
            Piece::Text(_) => 0,
            Piece::Capture(n) => *n,
        });
        asked.max().unwrap_or(0)
    }

    /// The topic for these captures, and what is wrong with its name where a capture spoils it.
    pub(super) fn fill(&self, captures: &[&[u8]]) -> (Topic, Result<(), InvalidTemplate>) {
        let texts: Vec<_> = captures
            .iter()
            .map(|c| String::from_utf8_lossy(c))
            .collect();
        let name = self.fill_with(|n| texts.get(n - 1).map_or("", |text| text));
        let verdict = if !Topic::is_valid(&name) {
            Err(InvalidTemplate::Name(name.escape_debug().to_string()))
        } else if name.starts_with(OWN_TOPICS) {
            Err(InvalidTemplate::Own)
        } else {
            Ok(())
        };
        (Topic::from(name), verdict)
    }

    fn fill_with<'a>(&'a self, capture: impl Fn(usize) -> &'a str) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Capture(n) => capture(*n),
            })
            .collect()
    }

    /// Whether two routes' topics can be the same one.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.glob().overlaps(&other.glob())
    }

    fn glob(&self) -> Glob {
        let mut parts = vec![Vec::new()];
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => {
                    if let Some(last) = parts.last_mut() {
                        last.extend_from_slice(text.as_bytes());
                    }
                }
                Piece::Capture(_) => parts.push(Vec::new()),
            }
        }
        Glob::new(parts)
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_stand_where_they_are_asked_for() {
        let template = Template::parse("laddr.$2.${1}0").expect("reads");
        assert_eq!(template.captures(), 2);
        let (topic, verdict) = template.fill(&[b"one", b"two"]);
        assert_eq!((topic.as_str(), verdict), ("laddr.two.one0", Ok(())));
    }

    #[test]
    fn a_capture_that_spoils_the_name_is_told() {
        let template = Template::parse("$1").expect("reads");
        for (capture, ok) in [
            (&b"fine"[..], true),
            (b"my agent", false),
            (b"", false),
            (b"\xff", false),
            (b"lockgate.m.checkpoints", false),
        ] {
            assert_eq!(template.fill(&[capture]).1.is_ok(), ok, "{capture:?}");
        }
    }

    #[test]
    fn what_kafka_would_refuse_is_refused_first() {
        let refused = |text| Template::parse(text).expect_err(text);
        assert_eq!(refused(""), InvalidTemplate::Name(String::new()));
        assert_eq!(refused("a b"), InvalidTemplate::Name("a b".into()));
        assert_eq!(refused("lockgate.x"), InvalidTemplate::Own);
        for text in ["a$", "a$x", "$0", "${1", "${x}"] {
            assert_eq!(refused(text), InvalidTemplate::Capture, "{text}");
        }
    }

    #[test]
    fn topics_with_captures_meet_what_they_can_become() {
        let overlap = |a, b| {
            let (a, b) = (Template::parse(a).expect(a), Template::parse(b).expect(b));
            a.overlaps(&b)
        };
        assert!(overlap("a.v1", "a.v1"));
        assert!(!overlap("a.v1", "a.v2"));
        assert!(overlap("laddr.tasks.$1", "laddr.tasks.planner"));
        assert!(!overlap("laddr.tasks.$1", "laddr.responses"));
        assert!(overlap("$1.v1", "orders.$1"));
    }
}
