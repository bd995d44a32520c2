//! One flag for one asker: pure.

use std::fmt;

use super::Flags;
use super::bucket::{Bucket, below};

/// A flag that applications know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    UseKafkaIngress,
    UseKafkaConsumers,
    DualWrite,
    QueueBackend,
}

impl Flag {
    pub const ALL: [Self; 4] = [
        Self::UseKafkaIngress,
        Self::UseKafkaConsumers,
        Self::DualWrite,
        Self::QueueBackend,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UseKafkaIngress => "USE_KAFKA_INGRESS",
            Self::UseKafkaConsumers => "USE_KAFKA_CONSUMERS",
            Self::DualWrite => "DUAL_WRITE",
            Self::QueueBackend => "QUEUE_BACKEND",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flag| flag.as_str() == name)
    }
}

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Redis,
    /// Nowhere for a moment: wait and ask again.
    Hold,
    Kafka,
}

impl Backend {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Hold => "hold",
            Self::Kafka => "kafka",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Truth(bool),
    Backend(Backend),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth(truth) => truth.fmt(f),
            Self::Backend(backend) => f.write_str(backend.as_str()),
        }
    }
}

/// What is asked about. A bucket goes before a key that would give one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context<'a> {
    pub key: Option<&'a [u8]>,
    pub bucket: Option<Bucket>,
    /// A partition's number, and how many the topic has.
    pub partition: Option<(u32, u32)>,
}

/// Why it has this value, in OpenFeature's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The same for everyone.
    Static,
    /// By the key, bucket or partition.
    TargetingMatch,
    /// It depends on one of them, and none was given.
    Default,
}

impl Reason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Default => "DEFAULT",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation {
    pub value: Value,
    pub reason: Reason,
}

impl Evaluation {
    /// The name of the value: `on`, `off`, or the backend's.
    #[must_use]
    pub const fn variant(&self) -> &'static str {
        match self.value {
            Value::Truth(true) => "on",
            Value::Truth(false) => "off",
            Value::Backend(backend) => backend.as_str(),
        }
    }
}

impl Flags {
    /// The value of a flag for one asker.
    #[must_use]
    pub fn evaluate(&self, flag: Flag, context: &Context<'_>) -> Evaluation {
        let truth = |(truth, reason)| Evaluation {
            value: Value::Truth(truth),
            reason,
        };
        match flag {
            Flag::DualWrite => truth((false, Reason::Static)),
            Flag::UseKafkaConsumers => truth(self.reads_kafka(context)),
            Flag::UseKafkaIngress => {
                let (backend, reason) = self.backend(context);
                truth((backend == Backend::Kafka, reason))
            }
            Flag::QueueBackend => {
                let (backend, reason) = self.backend(context);
                Evaluation {
                    value: Value::Backend(backend),
                    reason,
                }
            }
        }
    }

    fn reads_kafka(&self, context: &Context<'_>) -> (bool, Reason) {
        match (self.consumers, context.partition) {
            (0, _) => (false, Reason::Static),
            (100.., _) => (true, Reason::Static),
            (share, Some((partition, partitions))) => {
                (partition < below(share, partitions), Reason::TargetingMatch)
            }
            (_, None) => (false, Reason::Default),
        }
    }

    fn backend(&self, context: &Context<'_>) -> (Backend, Reason) {
        let held = self
            .hold_ingress_to
            .unwrap_or(self.ingress)
            .max(self.ingress);
        match (self.ingress, held) {
            (0, 0) => return (Backend::Redis, Reason::Static),
            (0, 100..) => return (Backend::Hold, Reason::Static),
            (100.., _) => return (Backend::Kafka, Reason::Static),
            _ => {}
        }
        let bucket = context.bucket.or(context.key.map(Bucket::of_key));
        let Some(bucket) = bucket.map(|bucket| u32::from(bucket.number())) else {
            return (Backend::Redis, Reason::Default);
        };
        let (below_kafka, below_held) = self.bounds();
        let backend = if bucket < below_kafka {
            Backend::Kafka
        } else if bucket < below_held {
            Backend::Hold
        } else {
            Backend::Redis
        };
        (backend, Reason::TargetingMatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn metrics_know_every_flag() {
        let names = crate::metrics::FLAGS.map(|(flag, _)| flag);
        assert_eq!(names, Flag::ALL.map(Flag::as_str));
    }

    fn at(consumers: u8, ingress: u8, hold: Option<u8>) -> Flags {
        Flags {
            consumers,
            ingress,
            hold_ingress_to: hold,
            ..Flags::redis_only(1, 1)
        }
    }

    fn backend(flags: &Flags, context: &Context<'_>) -> Value {
        flags.evaluate(Flag::QueueBackend, context).value
    }

    #[test]
    fn who_says_nothing_about_itself_is_told_redis_until_all_are_kafkas() {
        let nobody = Context::default();
        for share in 0..100 {
            let flags = at(share, share, None);
            for flag in [
                Flag::UseKafkaIngress,
                Flag::UseKafkaConsumers,
                Flag::DualWrite,
            ] {
                assert_eq!(flags.evaluate(flag, &nobody).value, Value::Truth(false));
            }
            assert_eq!(backend(&flags, &nobody), Value::Backend(Backend::Redis));
        }
        let all = at(100, 100, None);
        assert_eq!(
            all.evaluate(Flag::UseKafkaIngress, &nobody).value,
            Value::Truth(true)
        );
        assert_eq!(
            all.evaluate(Flag::DualWrite, &nobody).value,
            Value::Truth(false),
            "never"
        );
    }

    #[test]
    fn a_hold_covers_the_buckets_that_move_and_no_others() {
        let flags = at(100, 10, Some(25));
        let of = |number| {
            let bucket = Bucket::new(number);
            backend(
                &flags,
                &Context {
                    bucket,
                    ..Context::default()
                },
            )
        };
        assert_eq!(
            (of(102), of(103)),
            (
                Value::Backend(Backend::Kafka),
                Value::Backend(Backend::Hold)
            )
        );
        assert_eq!(
            (of(255), of(256)),
            (
                Value::Backend(Backend::Hold),
                Value::Backend(Backend::Redis)
            )
        );
    }

    #[test]
    fn consumers_go_by_partition() {
        let flags = at(5, 0, None);
        let of = |partition| {
            let context = Context {
                partition: Some((partition, 16)),
                ..Context::default()
            };
            flags.evaluate(Flag::UseKafkaConsumers, &context).value
        };
        assert_eq!((of(0), of(1)), (Value::Truth(true), Value::Truth(false)));
    }

    #[test]
    fn flags_are_found_by_their_names() {
        for flag in Flag::ALL {
            assert_eq!(Flag::named(flag.as_str()), Some(flag));
        }
        assert_eq!(Flag::named("use_kafka_ingress"), None);
    }

    proptest! {
        #[test]
        fn who_is_kafkas_stays_kafkas_as_the_share_grows(key: Vec<u8>, partition in 0u32..64, a in 0u8..=100, b in 0u8..=100) {
            let (less, more) = (at(a.min(b), a.min(b), None), at(a.max(b), a.max(b), None));
            let context = Context { key: Some(&key), bucket: None, partition: Some((partition, 64)) };
            for flag in [Flag::UseKafkaIngress, Flag::UseKafkaConsumers] {
                if less.evaluate(flag, &context).value == Value::Truth(true) {
                    prop_assert_eq!(more.evaluate(flag, &context).value, Value::Truth(true));
                }
            }
        }

        #[test]
        fn the_two_ingress_flags_agree(key: Vec<u8>, ingress in 0u8..=100, hold in proptest::option::of(0u8..=100)) {
            let flags = at(100, ingress, hold);
            let context = Context { key: Some(&key), ..Context::default() };
            let kafka = backend(&flags, &context) == Value::Backend(Backend::Kafka);
            prop_assert_eq!(flags.evaluate(Flag::UseKafkaIngress, &context).value, Value::Truth(kafka));
        }
    }
}
