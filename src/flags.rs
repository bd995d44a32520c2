//! What applications are told: whose a key or a partition is. One writer, the migration driver; many readers.
//!
//! ```text
//!   driver ──▶ Flags (numbered) ─┬─▶ Redis hash lockgate:<name>:flags, and a notice on the channel of that name
//!                                └─▶ a watch in this process ─▶ HTTP: evaluation, flagd's format
//! ```
//! Who is told what is computed here and nowhere else, and it is nested: a bucket or partition that is Kafka's at 10 % is
//! Kafka's at 25 %. Where a reader does not say which key, bucket or partition it asks about, the answer is Redis until all are
//! Kafka's. `DUAL_WRITE` is always false: an application never writes twice by itself.
//!
//! Failing safe: a reader that cannot read keeps the last answer it had. Nothing here ever moves forward by itself, and an
//! older version is never put in place of a newer one.

mod bucket;
mod clients;
mod evaluate;
pub mod file;
mod flagd;

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::placement::KafkaBorn;
use crate::streams::{self, Connection};

pub use bucket::{BUCKETS, Bucket, below};
pub use clients::{Clients, Following};
pub use evaluate::{Backend, Context, Evaluation, Flag, Reason, Value};
pub use flagd::flagd;

/// What is told, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// Grows with every change.
    pub version: u64,
    /// The driver's epoch.
    pub epoch: u64,
    /// Percent of the partitions of each topic whose consumers read Kafka.
    pub consumers: u8,
    /// Percent of the buckets whose writes go to Kafka.
    pub ingress: u8,
    /// Buckets from `ingress` up to this percentage are written by nobody for a moment.
    pub hold_ingress_to: Option<u8>,
    /// When applications may have written to Kafka themselves; `None`: never yet.
    #[serde(default)]
    pub kafka_born: Option<KafkaBorn>,
}

/// The bucket of an entry in Redis that goes against the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Writes to it are Kafka's: the entry is a stray.
    Kafkas(Bucket),
    /// Nobody is to write to it for a moment: who has just heard of it may have begun to before.
    Held(Bucket),
}

impl Flags {
    /// All is Redis's.
    #[must_use]
    pub const fn redis_only(version: u64, epoch: u64) -> Self {
        Self {
            version,
            epoch,
            consumers: 0,
            ingress: 0,
            hold_ingress_to: None,
            kafka_born: None,
        }
    }

    /// Buckets below the first are Kafka's, those from there up to the second are held, the others are Redis's.
    fn bounds(&self) -> (u32, u32) {
        let held = self.hold_ingress_to.unwrap_or(self.ingress);
        let below = |percent| bucket::below(percent, BUCKETS);
        (below(self.ingress), below(held.max(self.ingress)))
    }

    /// How many buckets each backend has.
    #[must_use]
    pub fn buckets(&self) -> [(Backend, u32); 3] {
        let (kafka, held) = self.bounds();
        [
            (Backend::Redis, BUCKETS - held),
            (Backend::Hold, held - kafka),
            (Backend::Kafka, kafka),
        ]
    }

    /// How an entry in Redis goes against these flags, by its record's key; `None`: it does not. Without a key it does once all
    /// buckets are Kafka's, or held.
    #[must_use]
    pub fn against(&self, key: Option<&[u8]>) -> Option<Against> {
        let (kafka, held) = self.bounds();
        let bucket = match key {
            _ if held == 0 => return None,
            Some(key) => Bucket::of_key(key),
            None => Bucket::new(u64::from(BUCKETS - 1))?,
        };
        match u32::from(bucket.number()) {
            number if number < kafka => Some(Against::Kafkas(bucket)),
            number if number < held => Some(Against::Held(bucket)),
            _ => None,
        }
    }

    /// The fields of the Redis hash. The two flags that go by bucket or partition say `true` there only when all are Kafka's;
    /// a reader that goes by bucket compares it with `kafka_buckets` and `held_buckets`.
    #[must_use]
    pub fn fields(&self) -> Vec<(String, String)> {
        let everyone = Context::default();
        let mut fields: Vec<(String, String)> = Flag::ALL
            .iter()
            .map(|flag| {
                (
                    flag.as_str().to_owned(),
                    self.evaluate(*flag, &everyone).value.to_string(),
                )
            })
            .collect();
        let (kafka, held) = self.bounds();
        for (name, value) in [
            ("epoch", self.epoch),
            ("kafka_partitions_percent", u64::from(self.consumers)),
            // Buckets below this are Kafka's ...
            ("kafka_buckets", u64::from(kafka)),
            // ... and those from there up to this are held.
            ("held_buckets", u64::from(held)),
        ] {
            fields.push((name.to_owned(), value.to_string()));
        }
        let born = self.kafka_born.map(|born| (born.from_ms, born.until_ms));
        for (name, at) in [
            (BORN_FROM, born.map(|(from, _)| from)),
            (BORN_UNTIL, born.and_then(|(_, until)| until)),
        ] {
            fields.push((
                name.to_owned(),
                at.map_or(String::new(), |at| at.to_string()),
            ));
        }
        fields
    }
}

/// Milliseconds since 1970, or empty.
const BORN_FROM: &str = "kafka_born_from_ms";
const BORN_UNTIL: &str = "kafka_born_until_ms";

/// What the hash in Redis says of when applications may have written to Kafka themselves.
///
/// # Errors
/// Redis gave no answer.
pub async fn kafka_born(
    redis: &mut Connection,
    migration: &str,
) -> Result<Option<KafkaBorn>, streams::Error> {
    let found = redis
        .flags_read(&key(migration), &[BORN_FROM, BORN_UNTIL])
        .await?;
    let at = |place: usize| found.get(place)?.as_deref()?.parse().ok();
    Ok(at(0).map(|from_ms| KafkaBorn {
        from_ms,
        until_ms: at(1),
    }))
}

/// The key of the hash, and the channel of its notices.
#[must_use]
pub fn key(migration: &str) -> Vec<u8> {
    format!("lockgate:{migration}:flags").into_bytes()
}

/// The key of the set of applications that acknowledge in Redis.
#[must_use]
pub fn clients(migration: &str) -> Vec<u8> {
    format!("lockgate:{migration}:flags-clients").into_bytes()
}

/// What the keys begin with under which they do, each followed by the application's name: the version that it follows, with a
/// lifetime of two of its polling periods.
#[must_use]
pub fn acknowledgements(migration: &str) -> Vec<u8> {
    format!("lockgate:{migration}:flags-ack:").into_bytes()
}

/// The key of the set of applications that instances heard of by HTTP.
#[must_use]
pub fn heard_clients(migration: &str) -> Vec<u8> {
    format!("lockgate:{migration}:flags-heard").into_bytes()
}

/// What the keys begin with under which instances keep what they heard, as applications do theirs.
#[must_use]
pub fn heard_acknowledgements(migration: &str) -> Vec<u8> {
    format!("lockgate:{migration}:flags-heard:").into_bytes()
}

/// The one that tells.
#[derive(Debug)]
pub struct FlagsWriter {
    key: Vec<u8>,
    told: watch::Sender<Option<Flags>>,
    as_of: watch::Sender<Option<Instant>>,
}

/// One that is told; `None` until the driver has said anything.
pub type FlagsReader = watch::Receiver<Option<Flags>>;

/// As of when these are the flags of the state that is stored, whoever stored it; `None`: that was never seen.
pub type FlagsAsOf = watch::Receiver<Option<Instant>>;

impl FlagsWriter {
    #[must_use]
    pub fn new(migration: &str) -> (Self, FlagsReader) {
        let (told, reader) = watch::channel(None);
        let writer = Self {
            key: key(migration),
            told,
            as_of: watch::Sender::default(),
        };
        (writer, reader)
    }

    #[must_use]
    pub fn as_of(&self) -> FlagsAsOf {
        self.as_of.subscribe()
    }

    /// What is shown is what was stored at this moment.
    pub fn confirm(&self, at: Instant) {
        self.as_of.send_replace(Some(at));
    }

    /// Tells Redis, and then this process's readers. Where Redis holds a later version nobody is told, and it is answered.
    ///
    /// # Errors
    /// Redis was not told, or did not say so; the readers here keep what they had.
    pub async fn tell(
        &self,
        redis: &mut Connection,
        flags: Flags,
    ) -> Result<Option<u64>, streams::Error> {
        let later = redis
            .flags_write(&self.key, flags.version, &flags.fields())
            .await?;
        if later.is_none() {
            self.show(flags);
        }
        Ok(later)
    }

    /// The version that this process's readers are shown; `None`: nothing yet.
    #[must_use]
    pub fn shown(&self) -> Option<u64> {
        self.told.borrow().map(|flags| flags.version)
    }

    /// Whether this process's readers are shown just this.
    #[must_use]
    pub fn says(&self, flags: &Flags) -> bool {
        self.told.borrow().as_ref() == Some(flags)
    }

    /// Tells this process's readers alone: what is stored was told by another.
    pub fn show(&self, flags: Flags) {
        self.told.send_if_modified(|told| {
            let newer = told.is_none_or(|known| known.version <= flags.version && known != flags);
            if newer {
                *told = Some(flags);
            }
            newer
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_says_it_for_everyone_and_by_bucket() {
        let flags = Flags {
            ingress: 10,
            hold_ingress_to: Some(25),
            consumers: 100,
            ..Flags::redis_only(7, 3)
        };
        let fields = flags.fields();
        let of = |name: &str| {
            fields
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(of("USE_KAFKA_CONSUMERS"), Some("true"));
        assert_eq!(of("USE_KAFKA_INGRESS"), Some("false"));
        assert_eq!(of("DUAL_WRITE"), Some("false"));
        assert_eq!(of("QUEUE_BACKEND"), Some("redis"));
        assert_eq!(
            (of("kafka_buckets"), of("held_buckets")),
            (Some("103"), Some("256"))
        );
    }

    #[test]
    fn an_entry_goes_against_what_is_kafkas_and_what_is_held() {
        let told = |ingress, hold_ingress_to| Flags {
            ingress,
            hold_ingress_to,
            ..Flags::redis_only(7, 3)
        };
        let keys: Vec<Vec<u8>> = (0..500_u32).map(|n| n.to_be_bytes().to_vec()).collect();
        let flags = told(10, Some(25));
        let (mut kafkas, mut held) = (0, 0);
        for key in &keys {
            let number = u32::from(Bucket::of_key(key).number());
            let expected = match number {
                0..103 => Some(Against::Kafkas(Bucket::of_key(key))),
                103..256 => Some(Against::Held(Bucket::of_key(key))),
                _ => None,
            };
            assert_eq!(flags.against(Some(key)), expected, "bucket {number}");
            kafkas += usize::from(matches!(expected, Some(Against::Kafkas(_))));
            held += usize::from(matches!(expected, Some(Against::Held(_))));
        }
        assert!(kafkas > 20 && held > 40, "{kafkas} {held}");
        let key = keys.iter().find(|key| Bucket::of_key(key).number() < 100);
        let key = key.map(Vec::as_slice);
        assert_eq!(told(0, None).against(key), None);
        assert!(matches!(
            told(0, Some(10)).against(key),
            Some(Against::Held(_))
        ));
        // Without a key: once all is.
        let without = |ingress, hold| told(ingress, hold).against(None);
        assert_eq!(without(50, Some(99)), None);
        assert!(matches!(without(50, Some(100)), Some(Against::Held(_))));
        assert!(matches!(without(100, None), Some(Against::Kafkas(_))));
    }

    #[test]
    fn readers_never_see_an_older_version_after_a_newer() {
        let (writer, reader) = FlagsWriter::new("demo");
        assert_eq!(*reader.borrow(), None);
        writer.show(Flags::redis_only(5, 1));
        writer.show(Flags {
            ingress: 100,
            ..Flags::redis_only(4, 1)
        });
        assert_eq!(*reader.borrow(), Some(Flags::redis_only(5, 1)));
    }
}
