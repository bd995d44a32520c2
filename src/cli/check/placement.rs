//! Which hash settings explain where the application put its keys: streams whose names end in numbers are its partitions.

use std::collections::BTreeMap;

use serde::Serialize;

use super::finding::{Findings, Level};
use crate::config::{Fold, Hash, Partitioner, Reading};
use crate::entry::StreamName;
use crate::routing::Route;
use crate::routing::explain::{Explanation, explain};

/// Fewer distinct keys than this prove too little to call a setting right.
const ENOUGH_KEYS: usize = 8;
const SHOWN: usize = 3;

/// Keys of one family of streams (`msg:stream:` 0 to 15), each at the number of its stream.
#[derive(Debug, Default)]
pub struct Family {
    samples: Vec<(Vec<u8>, u32)>,
    /// Keys whose record goes to the partition of their stream's number, of all.
    in_place: usize,
    highest: u32,
    streams: usize,
}

/// Families of a route by the name before the number.
pub type Families = BTreeMap<Vec<u8>, Family>;

#[derive(Clone, Debug, Serialize)]
pub struct Placement {
    pub route: String,
    pub streams: String,
    pub over: u32,
    pub distinct_keys: usize,
    pub configured: Option<Explained>,
    pub best: Vec<Explained>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    pub settings: String,
    pub agreeing: usize,
}

/// Takes in a stream of the route: `keys` with the partitions that the configured settings give.
pub fn take(families: &mut Families, name: &StreamName, keys: &[(Vec<u8>, u32)]) {
    let Some((prefix, number)) = numbered(name.as_bytes()) else {
        return;
    };
    let family = families.entry(prefix.to_vec()).or_default();
    family.streams += 1;
    family.highest = family.highest.max(number);
    for (key, partition) in keys {
        family.in_place += usize::from(*partition == number);
        family.samples.push((key.clone(), number));
    }
}

/// `msg:stream:7` is `msg:stream:` and 7. A number with a leading zero is a name.
fn numbered(name: &[u8]) -> Option<(&[u8], u32)> {
    let digits = name
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (prefix, digits) = name.split_at(name.len() - digits);
    let plain = digits.len() == 1 || digits.first().is_some_and(|first| *first != b'0');
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (plain && !prefix.is_empty()).then_some((prefix, number))
}

/// Judges each family of a route that has more than one stream and some keys.
pub fn judge(route: &Route, families: &Families, findings: &mut Findings) -> Vec<Placement> {
    let worth = families
        .iter()
        .filter(|(_, family)| family.highest > 0 && !family.samples.is_empty());
    worth
        .map(|(prefix, family)| {
            judge_family(route, &String::from_utf8_lossy(prefix), family, findings)
        })
        .collect()
}

fn judge_family(
    route: &Route,
    prefix: &str,
    family: &Family,
    findings: &mut Findings,
) -> Placement {
    let over = family.highest + 1;
    let explanations = explain(&family.samples, over);
    let total = explanations.first().map_or(0, |best| best.total);
    let settings = route.config().partition;
    let configured = explanations
        .iter()
        .find(|explanation| explanation.partitioner == settings)
        .copied();
    let in_place = Explanation {
        partitioner: settings,
        agreeing: family.in_place,
        total: family.samples.len(),
    };
    let configured_agrees = match configured {
        Some(explanation) => explanation.is_complete(),
        // A seed that is not among the candidates: what the route itself did with the keys tells, over as many partitions.
        None => over == route.partitions() && in_place.is_complete(),
    };
    let place = format!(
        "route {}, streams {prefix}0 to {}",
        route.name(),
        family.highest
    );
    let best: Vec<Explanation> = explanations
        .iter()
        .filter(|one| one.agreeing > 0)
        .take(SHOWN)
        .copied()
        .collect();
    let complete = best
        .first()
        .filter(|best| best.is_complete() && total >= ENOUGH_KEYS);
    match (settings.hash, complete) {
        (Hash::StreamIndex, _) => {}
        (_, _) if configured_agrees && total >= ENOUGH_KEYS => {}
        (_, _) if configured_agrees => findings.add(
            Level::Note,
            place,
            format!("{} explains all {total} distinct keys seen, which are too few to be sure", said(settings)),
            "sample more entries: lockgate check --samples 1000",
        ),
        (Hash::None, Some(best)) => findings.add(
            Level::Warning,
            place,
            format!("the application places keys by {}, and the route by none: the order of a key is not kept", said(best.partitioner)),
            format!("set routes.partition = {}", toml(best.partitioner)),
        ),
        (Hash::None, None) => {}
        (_, Some(best)) => findings.add(
            Level::Error,
            place,
            format!(
                "THE CONFIGURED HASH IS NOT THE APPLICATION'S: {} explains {} of {total} distinct keys, {} explains all",
                said(settings),
                configured.map_or(0, |one| one.agreeing),
                said(best.partitioner)
            ),
            format!("set routes.partition = {}", toml(best.partitioner)),
        ),
        (_, None) => findings.add(
            Level::Error,
            place,
            format!(
                "THE CONFIGURED HASH IS NOT THE APPLICATION'S: {} explains {} of {total} distinct keys, and no known setting explains all",
                said(settings),
                configured.map_or(0, |one| one.agreeing)
            ),
            "find the application's own hash and its seed, and whether this field is what it hashes; or use \
             partition = { hash = \"stream-index\" }, which keeps the placement as it is",
        ),
    }
    if over != route.partitions() && settings.hash != Hash::None {
        findings.add(
            Level::Warning,
            format!("route {}", route.name()),
            format!(
                "the application spreads over {over} streams, the topic has {} partitions",
                route.partitions()
            ),
            "keep both equal where a partition is to be what a stream was",
        );
    }
    Placement {
        route: route.name().to_owned(),
        streams: format!("{prefix}0..{}", family.highest),
        over,
        distinct_keys: total,
        configured: configured.map(explained),
        best: best.into_iter().map(explained).collect(),
    }
}

fn explained(explanation: Explanation) -> Explained {
    Explained {
        settings: said(explanation.partitioner),
        agreeing: explanation.agreeing,
    }
}

/// `murmur3, fold abs`.
fn said(partitioner: Partitioner) -> String {
    let mut words = vec![hash(partitioner.hash).to_owned()];
    if partitioner.hash == Hash::Murmur3 {
        words.push(format!("fold {}", fold(partitioner.fold)));
        if partitioner.reading != Reading::Utf8 {
            words.push(format!("reading {}", reading(partitioner.reading)));
        }
        if partitioner.seed != 0 {
            words.push(format!("seed {}", partitioner.seed));
        }
    }
    words.join(", ")
}

fn toml(partitioner: Partitioner) -> String {
    let mut keys = vec![format!("hash = \"{}\"", hash(partitioner.hash))];
    if partitioner.hash == Hash::Murmur3 {
        keys.push(format!("fold = \"{}\"", fold(partitioner.fold)));
        if partitioner.reading != Reading::Utf8 {
            keys.push(format!("reading = \"{}\"", reading(partitioner.reading)));
        }
        if partitioner.seed != 0 {
            keys.push(format!("seed = {}", partitioner.seed));
        }
    }
    format!("{{ {} }}", keys.join(", "))
}

const fn hash(hash: Hash) -> &'static str {
    match hash {
        Hash::Murmur3 => "murmur3",
        Hash::Murmur2 => "murmur2",
        Hash::Crc32 => "crc32",
        Hash::Fnv1a => "fnv1a",
        Hash::StreamIndex => "stream-index",
        Hash::None => "none",
    }
}

const fn fold(fold: Fold) -> &'static str {
    match fold {
        Fold::Abs => "abs",
        Fold::Unsigned => "unsigned",
        Fold::Mask31 => "mask31",
    }
}

const fn reading(reading: Reading) -> &'static str {
    match reading {
        Reading::Utf8 => "utf8",
        Reading::LegacyJs => "legacy-js",
        Reading::Imurmurhash => "imurmurhash",
    }
}

impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "placement of {} over {} streams, {} distinct keys:",
            self.streams, self.over, self.distinct_keys
        )?;
        for one in &self.best {
            let mark = if self
                .configured
                .as_ref()
                .is_some_and(|ours| ours.settings == one.settings)
            {
                "  (configured)"
            } else {
                ""
            };
            writeln!(f, "    {} explains {}{mark}", one.settings, one.agreeing)?;
        }
        match &self.configured {
            Some(ours) if !self.best.iter().any(|one| one.settings == ours.settings) => {
                writeln!(
                    f,
                    "    {} explains {}  (configured)",
                    ours.settings, ours.agreeing
                )
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_the_name_before_the_number() {
        assert_eq!(numbered(b"msg:stream:15"), Some((&b"msg:stream:"[..], 15)));
        assert_eq!(numbered(b"msg:stream:0"), Some((&b"msg:stream:"[..], 0)));
        assert_eq!(numbered(b"msg:stream:07"), None);
        assert_eq!(numbered(b"msg"), None);
        assert_eq!(numbered(b"7"), None);
    }

    #[test]
    fn settings_are_said_as_they_are_written() {
        let legacy = Partitioner {
            hash: Hash::Murmur3,
            reading: Reading::LegacyJs,
            seed: 42,
            fold: Fold::Unsigned,
        };
        assert_eq!(
            said(legacy),
            "murmur3, fold unsigned, reading legacy-js, seed 42"
        );
        assert_eq!(
            toml(legacy),
            "{ hash = \"murmur3\", fold = \"unsigned\", reading = \"legacy-js\", seed = 42 }"
        );
        assert_eq!(
            said(Partitioner {
                hash: Hash::Murmur2,
                ..Partitioner::default()
            }),
            "murmur2"
        );
    }
}
