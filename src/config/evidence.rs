//! Where evidence comes from that Lockgate does not measure itself, and where applications are told and answer.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::exact_duration;
use super::{Secret, schema};

/// A Prometheus that is asked for what only applications and brokers know.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prometheus {
    /// Its address, `http://host:port` or `https://host:port` and a path if it has one; absent: nothing is asked. No password here.
    #[schemars(length(min = 1))]
    pub url: Option<String>,
    /// PEM file of certificate authorities that sign the certificate of an `https` address; absent: the system's.
    #[schemars(schema_with = "schema::optional_path")]
    pub tls_ca_file: Option<PathBuf>,
    /// User of basic authentication.
    #[schemars(length(min = 1))]
    pub username: Option<String>,
    /// Its password; better `password_file` or the environment.
    pub password: Option<Secret>,
    /// File that holds the password; one trailing newline is dropped.
    #[schemars(schema_with = "schema::optional_path")]
    pub password_file: Option<PathBuf>,
    /// Bearer token, in place of a user; better `token_file` or the environment.
    pub token: Option<Secret>,
    /// File that holds the token; one trailing newline is dropped.
    #[schemars(schema_with = "schema::optional_path")]
    pub token_file: Option<PathBuf>,
    /// How often each query is asked: at most two thirds of `migration.evidence_freshness`.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "100ms", "x-max" = "1h"))]
    pub every: Duration,
    /// Samples that Prometheus took longer ago than this are not used (its `lookback_delta`): more than its scrape interval.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1s", "x-max" = "1h"))]
    pub freshness: Duration,
    /// How long one answer may take.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "10ms", "x-max" = "1m"))]
    pub timeout: Duration,
    /// What is asked, one `[[prometheus.queries]]` for each thing that is measured.
    pub queries: Vec<Query>,
}

/// Something that is measured by PromQL: a number by `value`, what is counted by `faults` and `total`, a latency by `buckets`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// What it measures.
    pub measure: Asked,
    /// An expression with one value: for duplicates, duplicate-hits, throughput, replication-lag and disk.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub value: Option<String>,
    /// An expression that counts what is at fault, such as `sum(increase(errors_total[5m]))`: for error-rate and produce-errors.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub faults: Option<String>,
    /// An expression that counts all.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub total: Option<String>,
    /// Of a latency: an expression that counts by bucket, in seconds, such as `sum by (le) (increase(write_seconds_bucket[5m]))`. One of the buckets ends at the threshold, which is held against it here.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub buckets: Option<String>,
    /// Over how long `faults` and `total`, or `buckets`, count; what was counted before a step began shows nothing at it.
    #[serde(default = "five_minutes", with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1s", "x-max" = "1d"))]
    pub window: Duration,
}

/// What may be asked of a Prometheus.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// By how much writes are delayed, held against `migration.gates.added_latency`.
    AddedLatency,
    /// Entries persisted twice since the step began.
    Duplicates,
    /// The share of writes that an application knew already.
    DuplicateHits,
    /// Entries a second that all readers process, at Redis and at Kafka together.
    Throughput,
    /// Entries that consumers worked on, and those that they could not do, held against `dead_letters` of gates and tripwires.
    ErrorRate,
    /// After how long records are acknowledged, held against `migration.gates.produce_latency`.
    ProduceLatency,
    /// Records, and those that producers could not write.
    ProduceErrors,
    /// How long writes take, held against `migration.tripwires.write_latency.beyond`.
    WriteLatency,
    /// After how long entries are with their consumer, held against `migration.gates.end_to_end`.
    EndToEnd,
    /// Seconds that a follower is behind.
    ReplicationLag,
    /// The fullest broker's share, from 0 to 1.
    Disk,
}

impl Asked {
    /// What is counted by bucket.
    const fn is_latency(self) -> bool {
        matches!(
            self,
            Self::AddedLatency | Self::ProduceLatency | Self::WriteLatency | Self::EndToEnd
        )
    }

    /// Whether it is judged by counts, of what is at fault and of all, and not by a number.
    #[must_use]
    pub const fn is_counted(self) -> bool {
        self.is_latency() || matches!(self, Self::ErrorRate | Self::ProduceErrors)
    }

    /// The word that names it everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AddedLatency => "added-latency",
            Self::Duplicates => "duplicates",
            Self::DuplicateHits => "duplicate-hits",
            Self::Throughput => "throughput",
            Self::ErrorRate => "error-rate",
            Self::ProduceLatency => "produce-latency",
            Self::ProduceErrors => "produce-errors",
            Self::WriteLatency => "write-latency",
            Self::EndToEnd => "end-to-end",
            Self::ReplicationLag => "replication-lag",
            Self::Disk => "disk",
        }
    }
}

const fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            url: None,
            tls_ca_file: None,
            username: None,
            password: None,
            password_file: None,
            token: None,
            token_file: None,
            every: Duration::from_secs(5),
            freshness: Duration::from_secs(60),
            timeout: Duration::from_secs(3),
            queries: Vec::new(),
        }
    }
}

/// How applications are told which store is theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Flags {
    /// A file that is kept in flagd's format, for providers that read one; absent: none is written. Its folder exists.
    #[schemars(schema_with = "schema::optional_path")]
    pub file: Option<PathBuf>,
    /// Applications that follow the flags. A step waits for each of them, also where it is silent; others are waited for while they are heard.
    pub clients: Vec<String>,
}

impl Query {
    fn unfit(&self) -> Option<&'static str> {
        let latency = self.measure.is_latency();
        match (&self.value, &self.faults, &self.total, &self.buckets) {
            (None, None, None, Some(_)) if latency => None,
            _ if latency => Some(
                "measures a latency, which is held against its threshold here; it needs `buckets` and nothing else",
            ),
            (Some(_), None, None, None) if !self.measure.is_counted() => None,
            (None, Some(_), Some(_), None) if self.measure.is_counted() => None,
            _ if self.measure.is_counted() => {
                Some("is counted; it needs `faults` and `total`, and nothing else")
            }
            _ => Some("is a number; it needs `value`, and nothing else"),
        }
    }
}

impl Prometheus {
    /// Settings of who asks that do not go together.
    fn unfit_credentials(&self) -> Vec<(String, &'static str)> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, message| problems.push((key.to_owned(), message));
        let password = self.password.is_some() || self.password_file.is_some();
        if self.username.is_some() != password {
            problem(
                "username",
                "and the password go together; give both, or neither",
            );
        }
        if self.password.is_some() && self.password_file.is_some() {
            problem(
                "password",
                "is set beside prometheus.password_file; keep one of them",
            );
        }
        if self.token.is_some() && self.token_file.is_some() {
            problem(
                "token",
                "is set beside prometheus.token_file; keep one of them",
            );
        }
        if self.username.is_some() && (self.token.is_some() || self.token_file.is_some()) {
            problem(
                "token",
                "is set beside prometheus.username; a request carries one of them",
            );
        }
        problems
    }

    /// Problems of sense, each by the key below `prometheus`; `fresh` is `migration.evidence_freshness`.
    pub(super) fn problems(&self, fresh: Duration) -> Vec<(String, &'static str)> {
        let mut problems = Vec::new();
        if !self.queries.is_empty() && 2 * fresh < 3 * self.every {
            problems.push((
                "every".to_owned(),
                "is more than two thirds of migration.evidence_freshness, so that answers could be old before the next ones, and \
                 the time between would not count; ask more often",
            ));
        }
        match &self.url {
            Some(url) if !is_plain(url) => problems.push((
                "url".to_owned(),
                "is no address that can be asked; write http://host:port or https://host:port without a name or password in it (prometheus.username is for that)",
            )),
            None if !self.queries.is_empty() => problems.push((
                "url".to_owned(),
                "is missing beside prometheus.queries; give the address of the Prometheus",
            )),
            _ => {}
        }
        problems.extend(self.unfit_credentials());
        let mut seen = std::collections::BTreeSet::new();
        for (index, query) in self.queries.iter().enumerate() {
            if let Some(problem) = query.unfit() {
                problems.push((format!("queries[{index}]"), problem));
            }
            if !seen.insert(query.measure) {
                problems.push((
                    format!("queries[{index}].measure"),
                    "is measured by an earlier query already; take one of them out",
                ));
            }
        }
        problems
    }
}

/// `http[s]://host[:port][/path]`: nothing secret can be in it.
fn is_plain(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        !host.is_empty() && !rest.contains(['@', '?', '#', ' '])
    })
}

impl Flags {
    /// Problems of sense, each by the key below `flags`.
    pub(super) fn problems(&self) -> Vec<(String, &'static str)> {
        let wrong = |name: &String| {
            name.is_empty() || name.len() > 128 || name.chars().any(char::is_control)
        };
        let named = self.clients.iter().enumerate();
        named
            .filter(|(_, name)| wrong(name))
            .map(|(index, _)| {
                (
                    format!("clients[{index}]"),
                    "is no name; write 1 to 128 bytes without control characters",
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Duration = Duration::from_secs(15);

    #[test]
    fn a_client_that_would_forge_a_line_is_no_name() {
        let flags = Flags {
            clients: vec!["billing".to_owned(), "b\nilling".to_owned()],
            ..Flags::default()
        };
        let problems = flags.problems();
        let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["clients[1]"]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let query = |measure, value: Option<&str>, faults: Option<&str>| Query {
            measure,
            value: value.map(str::to_owned),
            faults: faults.map(str::to_owned),
            total: None,
            buckets: None,
            window: five_minutes(),
        };
        let wrong = Prometheus {
            url: Some("https://ana:secret@prometheus".to_owned()),
            queries: vec![
                query(Asked::Disk, Some("x"), None),
                query(Asked::Disk, Some("x"), None),
                query(Asked::Duplicates, Some("x"), Some("y")),
                query(Asked::WriteLatency, Some("x"), None),
                Query {
                    total: Some("z".to_owned()),
                    ..query(Asked::Throughput, None, Some("y"))
                },
                Query {
                    total: Some("z".to_owned()),
                    ..query(Asked::EndToEnd, None, Some("y"))
                },
                Query {
                    buckets: Some("x".to_owned()),
                    ..query(Asked::ReplicationLag, None, None)
                },
                Query {
                    buckets: Some("x".to_owned()),
                    ..query(Asked::AddedLatency, None, None)
                },
            ],
            ..Prometheus::default()
        };
        let keys: Vec<_> = wrong
            .problems(FRESH)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(
            keys,
            [
                "url",
                "queries[1].measure",
                "queries[2]",
                "queries[3]",
                "queries[4]",
                "queries[5]",
                "queries[6]"
            ]
        );
        for plain in ["http://prometheus:9090/prefix", "https://prometheus"] {
            assert!(is_plain(plain), "{plain}");
        }
        assert!(!is_plain("http://") && !is_plain("prometheus:9090"));
    }

    #[test]
    fn answers_come_before_those_before_them_are_old() {
        let query = Query {
            measure: Asked::Disk,
            value: Some("x".to_owned()),
            faults: None,
            total: None,
            buckets: None,
            window: five_minutes(),
        };
        let keys = |every: u64, queries: &[Query]| {
            let settings = Prometheus {
                url: Some("http://prometheus:9090".to_owned()),
                every: Duration::from_secs(every),
                queries: queries.to_vec(),
                ..Prometheus::default()
            };
            let problems = settings.problems(FRESH).into_iter();
            problems.map(|(key, _)| key).collect::<Vec<_>>()
        };
        let asked = [query];
        assert_eq!(keys(10, &asked), [""; 0]);
        assert_eq!(keys(11, &asked), ["every"]);
        assert_eq!(keys(60, &[]), [""; 0], "nothing is asked");
    }

    #[test]
    fn who_asks_is_said_in_one_way() {
        let secret = || Some(Secret::new("s"));
        let file = || Some(PathBuf::from("f"));
        let keys = |settings: Prometheus| {
            let problems = settings.problems(FRESH).into_iter();
            problems.map(|(key, _)| key).collect::<Vec<_>>()
        };
        let ana = || Prometheus {
            username: Some("ana".to_owned()),
            password: secret(),
            ..Prometheus::default()
        };
        assert_eq!(keys(ana()), [""; 0]);
        let alone = Prometheus {
            password: None,
            ..ana()
        };
        assert_eq!(keys(alone), ["username"]);
        let twice = Prometheus {
            password_file: file(),
            ..ana()
        };
        assert_eq!(keys(twice), ["password"]);
        let both = Prometheus {
            token: secret(),
            ..ana()
        };
        assert_eq!(keys(both), ["token"]);
        let tokens = Prometheus {
            token: secret(),
            token_file: file(),
            ..Prometheus::default()
        };
        assert_eq!(keys(tokens), ["token"]);
    }
}
