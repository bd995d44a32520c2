//! How the cutover goes: its steps, what each of them needs, what takes it back, and how long things may take.
//!
//! Shares are whole numbers of parts per million, so that 0.01 % is 100 and nothing is rounded.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use super::text::exact_duration;

/// How the cutover goes, step by step.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Migration {
    /// Steps of the phase `consumers`: percentages of partitions, rising, the last one 100.
    #[schemars(length(min = 1), inner(range(min = 1, max = 100)), extend("x-unit" = "%"))]
    pub consumers: Vec<u8>,
    /// Steps of the phase `ingress`: percentages of the 1024 buckets, rising, the last one 100.
    #[schemars(length(min = 1), inner(range(min = 1, max = 100)), extend("x-unit" = "%"))]
    pub ingress: Vec<u8>,
    /// How often gates and tripwires are looked at.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "10ms", "x-max" = "1m"))]
    pub evaluate_every: Duration,
    /// How long one promotion may be on its way; after it everything is put back.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "100ms", "x-max" = "1d"))]
    pub attempt_budget: Duration,
    /// How long a plan may be applied after it was shown.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1s", "x-max" = "1h"))]
    pub plan_lifetime: Duration,
    /// How long the instance that steers may be silent before another takes over, and any instance before its shards count as
    /// unseen.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "100ms", "x-max" = "10m"))]
    pub lease: Duration,
    /// After the last application has followed a change of the flags, so long is waited for what it had begun to write before;
    /// and so long nothing may come to Redis that is Kafka's, or held (`held_writes`).
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-max" = "1h"))]
    pub settle: Duration,
    /// What a step of ingress does while entries come to Redis of buckets that are held.
    pub held_writes: HeldWrites,
    /// Evidence older than this is no evidence, and time between two samples that lie further apart is not counted: twice
    /// `evaluate_every` at least, and one and a half times `prometheus.every` where something is asked.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "10ms", "x-max" = "1d"))]
    pub evidence_freshness: Duration,
    /// A condition that was not looked at for so long begins its window anew.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "10ms", "x-max" = "1d"))]
    pub evidence_gap: Duration,
    /// Kafka consumer groups of the application whose lag is watched, one `[[migration.groups]]` each.
    pub groups: Vec<Group>,
    pub soak: Soak,
    pub gates: Gates,
    pub tripwires: Tripwires,
}

/// Wait for them to end, or go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HeldWrites {
    /// The step waits for them to end, and is put back at its deadline.
    #[default]
    Wait,
    /// The last is shown in the status, and the step goes on: for applications that do not know `hold`.
    Record,
}

/// A Kafka consumer group of the application.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its `group.id`.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Routes whose topics it reads; none: those of all routes.
    #[serde(default)]
    pub routes: Vec<String>,
    /// The group at Redis whose place it takes: its lag and what it has not acknowledged are shown as well. Only XINFO GROUPS and XPENDING are sent for it.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub redis: Option<String>,
}

/// How long each step lasts at least.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Soak {
    /// In `shadow`.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration")]
    pub shadow: Duration,
    /// At each step of `consumers`.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration")]
    pub consumers: Duration,
    /// At each step of `ingress` but the last.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration")]
    pub ingress: Duration,
    /// At the last step of `ingress`, before `cleanup`.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration")]
    pub last: Duration,
}

/// What a promotion needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gates {
    /// `shadow`: the mirror's lag stays below this ...
    #[schemars(range(min = 1), extend("x-unit" = "entries"))]
    pub mirror_lag: u64,
    /// ... for so long.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration")]
    pub mirror_lag_window: Duration,
    /// Every step but the last: the share of compared entries that differ is below this, at 95 % confidence.
    #[schemars(range(min = 1, max = 999_999), extend("x-unit" = "ppm"))]
    pub parity: u32,
    /// `shadow`: 95 % of writes are delayed by less than this.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1ms"))]
    pub added_latency: Duration,
    /// Kafka out of reach, or a routed partition without one of its replicas, for longer than this is an incident ...
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration")]
    pub incident: Duration,
    /// ... and `shadow` needs so long without one.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration")]
    pub incidents_window: Duration,
    /// `consumers`: the Kafka groups' lag stays below this ...
    #[schemars(range(min = 1), extend("x-unit" = "entries"))]
    pub group_lag: u64,
    /// ... for so long. It is the window of duplicates and of the throughput as well.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration")]
    pub groups_window: Duration,
    /// `consumers`: the least share of the baseline's throughput, by all readers at both stores together.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-unit" = "ppm"))]
    pub throughput: u32,
    /// `consumers`: the share of dead letters is below this, at 95 % confidence: of the mirror's, and of the application's own as soon
    /// as it is told them (`error-rate`).
    #[schemars(range(min = 1, max = 999_999), extend("x-unit" = "ppm"))]
    pub dead_letters: u32,
    /// `ingress`: 95 % of records are acknowledged by Kafka in less than this.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1ms"))]
    pub produce_latency: Duration,
    /// `ingress`: the share of records that producers could not write is below this, at 95 % confidence.
    #[schemars(range(min = 1, max = 999_999), extend("x-unit" = "ppm"))]
    pub produce_errors: u32,
    /// `ingress`: the share of idempotent hits stays as near as this to the baseline's ...
    #[schemars(range(min = 1, max = 1_000_000), extend("x-unit" = "ppm"))]
    pub duplicate_hits: u32,
    /// ... for so long.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration")]
    pub duplicate_hits_window: Duration,
    /// `ingress`: 95 % of entries are with their consumer in less than this.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1ms"))]
    pub end_to_end: Duration,
    /// `cleanup`: what was found when the archive was read again counts for so long.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1s", "x-max" = "30d"))]
    pub archive_age: Duration,
}

/// What a tripwire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is noted in the journal and nothing is moved.
    Alarm,
    /// Nothing is promoted until an operator resumes; what is told stays as it is, and a step that is on its way is taken back.
    Freeze,
    /// The traffic that the tripwire watches goes back to Redis. Once applications wrote to Kafka, readers stay there: it goes to
    /// the last step of `consumers` and no further, and where it stands there already it freezes.
    Rollback,
    /// Everything goes back to Redis, with the same exception, and nothing is promoted until an operator resumes.
    RedisOnly,
}

/// What takes a step back, or freezes, without being asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tripwires {
    /// A tripwire fires at this many evaluations in a row beyond its threshold.
    #[schemars(range(min = 1, max = 1000), extend("x-unit" = "evaluations"))]
    pub evaluations: u32,
    /// One that has fired may fire again only when its value was this far back on the good side of its threshold ...
    #[schemars(range(min = 0, max = 1_000_000), extend("x-unit" = "ppm"))]
    pub hysteresis: u32,
    /// ... for so many evaluations.
    #[schemars(range(min = 1, max = 100_000), extend("x-unit" = "evaluations"))]
    pub rearm_evaluations: u32,
    /// `consumers` and later: a Kafka group's lag above this.
    pub group_lag: Count,
    /// `consumers` and later: the throughput of all readers, at both stores together, below this share of the baseline's.
    pub throughput: Share,
    /// `consumers` and later: the share of dead letters above this: of the mirror's, or of the application's own (`error-rate`).
    pub dead_letters: Share,
    /// `ingress`: the share of records that producers could not write above this.
    pub produce_errors: Share,
    /// `ingress`: more than 5 % of writes take longer than this.
    pub write_latency: Length,
    /// Missing, extra or repeated entries beyond this many; in `shadow` there is nothing to take back, and it only freezes.
    pub inconsistency: Count,
    /// Routed partitions that lack a replica, beyond this many.
    pub under_replicated: Count,
    /// Replication that is behind by longer than this.
    pub replication_lag: Length,
    /// Disks of brokers that are fuller than this.
    pub disk: Share,
}

/// A tripwire on a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Beyond this it fires.
    #[schemars(extend("x-unit" = "number"))]
    pub beyond: u64,
    /// What it does.
    pub action: Action,
}

/// A tripwire on a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Beyond this it fires.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-unit" = "ppm"))]
    pub beyond: u32,
    /// What it does.
    pub action: Action,
}

/// A tripwire on a length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// Beyond this it fires.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1ms"))]
    pub beyond: Duration,
    /// What it does.
    pub action: Action,
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const PERCENT: u32 = 10_000;

impl Default for Migration {
    fn default() -> Self {
        Self {
            consumers: vec![5, 25, 50, 100],
            ingress: vec![10, 25, 50, 100],
            evaluate_every: Duration::from_secs(1),
            attempt_budget: Duration::from_secs(30),
            plan_lifetime: Duration::from_secs(120),
            lease: Duration::from_secs(5),
            settle: Duration::from_secs(1),
            held_writes: HeldWrites::default(),
            evidence_freshness: Duration::from_secs(15),
            evidence_gap: Duration::from_secs(600),
            groups: Vec::new(),
            soak: Soak::default(),
            gates: Gates::default(),
            tripwires: Tripwires::default(),
        }
    }
}

impl Default for Soak {
    fn default() -> Self {
        Self {
            shadow: 7 * DAY,
            consumers: DAY,
            ingress: DAY,
            last: 7 * DAY,
        }
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            mirror_lag: 100,
            mirror_lag_window: 7 * DAY,
            parity: PERCENT / 10,
            added_latency: Duration::from_millis(5),
            incident: Duration::from_secs(60),
            incidents_window: 7 * DAY,
            group_lag: 500,
            groups_window: HOUR / 2,
            throughput: 95 * PERCENT,
            dead_letters: PERCENT / 10,
            produce_latency: Duration::from_millis(10),
            produce_errors: PERCENT / 100,
            duplicate_hits: PERCENT / 2,
            duplicate_hits_window: HOUR,
            end_to_end: Duration::from_millis(100),
            archive_age: Duration::from_secs(24 * 3_600),
        }
    }
}

impl Default for Tripwires {
    fn default() -> Self {
        let share = |beyond, action| Share { beyond, action };
        let count = |beyond, action| Count { beyond, action };
        let length = |ms, action| Length {
            beyond: Duration::from_millis(ms),
            action,
        };
        Self {
            evaluations: 1,
            hysteresis: 20 * PERCENT,
            rearm_evaluations: 60,
            group_lag: count(10_000, Action::Rollback),
            throughput: share(50 * PERCENT, Action::Rollback),
            dead_letters: share(PERCENT, Action::Rollback),
            produce_errors: share(PERCENT, Action::Rollback),
            write_latency: length(50, Action::Rollback),
            inconsistency: count(0, Action::RedisOnly),
            under_replicated: count(0, Action::Alarm),
            replication_lag: length(10_000, Action::Alarm),
            disk: share(80 * PERCENT, Action::Alarm),
        }
    }
}

impl Migration {
    /// Problems of sense, each by the key below `migration`.
    pub(super) fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut problems = Vec::new();
        for (key, steps) in [("consumers", &self.consumers), ("ingress", &self.ingress)] {
            let rises = steps.is_sorted_by(|a, b| a < b);
            if !rises || steps.last() != Some(&100) {
                problems.push((
                    key,
                    "does not rise step by step to 100; write percentages such as [10, 50, 100]",
                ));
            }
        }
        if self.evidence_freshness < 2 * self.evaluate_every {
            problems.push((
                "evidence_freshness",
                "is less than twice migration.evaluate_every, so that evidence could be old before the next look, and the time \
                 between would not count; make it longer",
            ));
        }
        if self.evidence_gap < self.evidence_freshness {
            problems.push((
                "evidence_gap",
                "is shorter than migration.evidence_freshness; make it at least as long",
            ));
        }
        if self.lease < 3 * self.evaluate_every {
            problems.push((
                "lease",
                "is less than three times migration.evaluate_every, so that it could be lost between two evaluations; make \
                 it longer",
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(Migration::default().problems(), []);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let wrong = Migration {
            consumers: vec![25, 5, 100],
            ingress: vec![10, 50],
            evaluate_every: Duration::from_secs(8),
            lease: Duration::from_secs(20),
            evidence_gap: Duration::from_secs(1),
            ..Migration::default()
        };
        let keys: Vec<_> = wrong.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "consumers",
                "ingress",
                "evidence_freshness",
                "evidence_gap",
                "lease"
            ]
        );
    }
}
