//! Which hash settings explain where the application put its keys: streams whose names end in numbers are its partitions.
//!
//! How many there are, entries do not tell: a stream that no key has come to yet does not exist. So a family is judged over
//! the range that the route names, and over other numbers only where that one leaves keys unexplained.

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

/// Judges each family of a route that has more than one stream and some keys. `found`: every stream of the route that is
/// known, there or not, looked at or not.
pub fn judge<'a>(
    route: &Route,
    families: &Families,
    found: impl Iterator<Item = &'a StreamName>,
    findings: &mut Findings,
) -> Vec<Placement> {
    let named = route.fixed_streams();
    let (named, found) = (highest(named.iter()), highest(found));
    let mut placements = Vec::new();
    for (prefix, family) in families {
        let named = named.get(prefix).copied();
        let last = family.highest.max(found.get(prefix).copied().unwrap_or(0));
        if last == 0 || family.samples.is_empty() {
            continue;
        }
        let spread = spread(route, family, named, last);
        let prefix = String::from_utf8_lossy(prefix);
        placements.push(judge_family(route, &prefix, family, &spread, findings));
    }
    placements
}

/// The highest number of each family.
fn highest<'a>(names: impl Iterator<Item = &'a StreamName>) -> BTreeMap<Vec<u8>, u32> {
    let mut highest = BTreeMap::new();
    for (prefix, number) in names.filter_map(|name| numbered(name.as_bytes())) {
        let most: &mut u32 = highest.entry(prefix.to_vec()).or_default();
        *most = number.max(*most);
    }
    highest
}

/// Over how many streams an application spreads its keys, and what explains them then.
struct Spread {
    over: u32,
    /// The number of the last stream that is known.
    last: u32,
    explanations: Vec<Explanation>,
}

impl Spread {
    fn explained_by(&self, settings: Partitioner) -> Option<Explanation> {
        let mut all = self.explanations.iter();
        all.find(|one| one.partitioner == settings).copied()
    }
}

/// Over the range that the route names, its number of partitions, or the streams that there are: the first of them over
/// which the configured settings explain all keys; else over which any do; else the first.
fn spread(route: &Route, family: &Family, named: Option<u32>, last: u32) -> Spread {
    let settings = route.config().partition;
    let mut spreads: Vec<Spread> = Vec::new();
    let ends = [
        named,
        route.partitions().checked_sub(1),
        Some(family.highest),
        Some(last),
    ];
    for end in ends.into_iter().flatten() {
        let over = end.saturating_add(1);
        // Over one stream anything explains everything.
        if end >= family.highest.max(1) && spreads.iter().all(|known| known.over != over) {
            spreads.push(Spread {
                over,
                last,
                explanations: explain(&family.samples, over),
            });
        }
    }
    // Over few streams few keys are explained by anything.
    let complete = |one: Option<Explanation>| {
        one.is_some_and(|one| one.is_complete() && one.total >= ENOUGH_KEYS)
    };
    let by_configured = |one: &Spread| complete(one.explained_by(settings));
    let by_any = |one: &Spread| complete(one.explanations.first().copied());
    let chosen = spreads.iter().position(by_configured);
    let chosen = chosen.or_else(|| spreads.iter().position(by_any));
    spreads.swap_remove(chosen.unwrap_or(0))
}

fn judge_family(
    route: &Route,
    prefix: &str,
    family: &Family,
    spread: &Spread,
    findings: &mut Findings,
) -> Placement {
    let (over, explanations) = (spread.over, &spread.explanations);
    let total = explanations.first().map_or(0, |best| best.total);
    let settings = route.config().partition;
    let configured = spread.explained_by(settings);
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
        spread.last
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
        _ if total == 0 => {}
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
        (_, None) if total < ENOUGH_KEYS => findings.add(
            Level::Note,
            place,
            format!(
                "{} explains {} of {total} distinct keys seen, which are too few to judge by",
                said(settings),
                configured.map_or(0, |one| one.agreeing)
            ),
            "sample more entries: lockgate check --samples 1000",
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
        streams: format!("{prefix}0..{}", spread.last),
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
    use crate::cli::check::finding::Finding;
    use crate::routing::Routes;

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

    const RIGHT: Partitioner = Partitioner {
        hash: Hash::Murmur3,
        fold: Fold::Abs,
        seed: 0,
        reading: Reading::Utf8,
    };

    fn route(streams: &str, partitions: u32, hash: &str) -> Routes {
        let text = format!(
            "name = 'r'\nstreams = ['{streams}']\ntopic = 't'\npartitions = {partitions}\nkey = {{ field = 'k' }}\n\
             partition = {{ hash = '{hash}' }}\nvalue = {{ all = true }}"
        );
        let config: crate::config::Route = toml::from_str(&text).expect("a route");
        Routes::compile("m", &[config], crate::entry::Database(0)).expect("compiles")
    }

    /// `keys` keys where an application with [`RIGHT`] over `over` streams puts them.
    fn placed(keys: usize, over: u32) -> Vec<(Vec<u8>, u32)> {
        let key = |n| format!("conv_{n:03}").into_bytes();
        let place = |key: Vec<u8>| {
            let place = |stream| explain(&[(key.clone(), stream)], over).into_iter();
            let mut streams = 0..over;
            let at = streams.find(|&stream| {
                place(stream).any(|one| one.partitioner == RIGHT && one.is_complete())
            });
            (key, at.expect("one of them"))
        };
        (1..=keys).map(key).map(place).collect()
    }

    /// What is said of keys on streams that exist only where a key is.
    fn judged(routes: &Routes, placed: &[(Vec<u8>, u32)]) -> (Vec<Finding>, Option<Placement>) {
        let route = routes.iter().next().expect("one");
        let mut families = Families::new();
        let mut names: Vec<StreamName> = route.fixed_streams();
        for (key, stream) in placed {
            let name = StreamName::from(format!("msg:{stream}").as_str());
            take(&mut families, &name, &[(key.clone(), *stream)]);
            names.push(name);
        }
        let mut findings = Findings::default();
        let placements = judge(route, &families, names.iter(), &mut findings);
        (findings.finish(), placements.into_iter().next())
    }

    #[test]
    fn a_right_system_with_few_keys_is_not_judged_over_the_streams_that_are_there() {
        // The two keys of the messaging application's own tests: streams 0 and 9 of 16.
        let few = placed(2, 16);
        assert_eq!((few[0].1, few[1].1), (0, 9));
        for streams in ["msg:{0..15}", "msg:*"] {
            let (findings, placement) = judged(&route(streams, 16, "murmur3"), &few);
            assert_eq!(findings.len(), 1, "{streams}: {findings:?}");
            assert_eq!(findings[0].level, Level::Note, "{streams}: {findings:?}");
            assert!(findings[0].what.contains("explains all 2"), "{findings:?}");
            assert_eq!(placement.expect("judged").over, 16);
        }
    }

    #[test]
    fn too_few_keys_accuse_nobody() {
        for keys in 1..ENOUGH_KEYS {
            let (findings, _) = judged(&route("msg:{0..15}", 16, "crc32"), &placed(keys, 16));
            assert!(
                findings.iter().all(|one| one.level == Level::Note),
                "{keys}: {findings:?}"
            );
        }
        let (findings, _) = judged(&route("msg:{0..15}", 16, "crc32"), &placed(60, 16));
        assert_eq!(findings[0].level, Level::Error);
        assert!(findings[0].what.contains("explains all"), "{findings:?}");
    }

    #[test]
    fn a_spread_that_is_not_the_routes_is_found() {
        for (streams, partitions) in [("msg:*", 16), ("msg:{0..15}", 16), ("msg:*", 4)] {
            let (findings, placement) =
                judged(&route(streams, partitions, "murmur3"), &placed(60, 10));
            assert_eq!(placement.expect("judged").over, 10);
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert_eq!(findings[0].level, Level::Warning);
            assert!(
                findings[0].what.contains("spreads over 10 streams"),
                "{findings:?}"
            );
        }
    }
}
