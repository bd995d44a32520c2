//! One route, compiled, and its application to one stream: from an entry to its record.
//!
//! A [`Binding`] holds all that the stream's name decides, so that what is left to do for each entry is to look up fields
//! and to write bytes into buffers that are there already.

use std::sync::Arc;

use crate::config;
use crate::entry::{Database, Entry, StreamName, StreamRef};
use crate::placement::Topic;

use super::encoded::Encoded;
use super::glob::Glob;
use super::headers::HeaderRules;
use super::partition::{Placer, Unplaceable, stream_index};
use super::pattern::Pattern;
use super::source::Source;
use super::template::Template;
use super::unroutable::{Reason, Unroutable};
use super::value::ValueRule;

/// A configured rule: which streams go to which topic, and how their entries become records.
#[derive(Debug)]
pub struct Route {
    pub(super) index: usize,
    pub(super) config: config::Route,
    pub(super) database: Database,
    pub(super) dead_letters: Topic,
    pub(super) patterns: Vec<Pattern>,
    pub(super) topic: Template,
    pub(super) key: KeyRule,
    pub(super) placer: Placer,
    pub(super) headers: HeaderRules,
    pub(super) value: ValueRule,
    pub(super) hash: u64,
}

/// Where a route takes its keys from.
#[derive(Clone, Debug)]
pub(super) enum KeyRule {
    None,
    Source(Source),
    /// Counted from 1.
    Capture(usize),
}

impl Route {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Place in the configuration, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.config.partitions
    }

    #[must_use]
    pub fn database(&self) -> Database {
        self.database
    }

    #[must_use]
    pub fn config(&self) -> &config::Route {
        &self.config
    }

    #[must_use]
    pub fn dead_letters(&self) -> &Topic {
        &self.dead_letters
    }

    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        self.config.max_message_bytes
    }

    /// Changes with the settings that decide a record's bytes and place, and with nothing else: not with the route's name,
    /// nor with streams that are added to it. The same in every build.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The streams that are known by name: names and ranges spread out, in order, each once.
    #[must_use]
    pub fn fixed_streams(&self) -> Vec<StreamName> {
        let mut seen = std::collections::HashSet::new();
        let names = self.patterns.iter().flat_map(|pattern| &pattern.names);
        names.filter(|name| seen.insert(*name)).cloned().collect()
    }

    /// What streams that are yet to be found may be called. What matches a scan still has to be given to
    /// [`Routes::bind`](super::Routes::bind).
    #[must_use]
    pub fn globs(&self) -> Vec<Glob> {
        let globs = self.patterns.iter().flat_map(|pattern| &pattern.globs);
        globs.cloned().collect()
    }

    /// The one topic of a route without captures; `None` where each stream has its own.
    #[must_use]
    pub fn fixed_topic(&self) -> Option<Topic> {
        (self.topic.captures() == 0).then(|| self.topic.fill(&[]).0)
    }

    pub(super) fn bind(self: &Arc<Self>, name: &StreamName, captures: &[&[u8]]) -> Binding {
        let (topic, verdict) = self.topic.fill(captures);
        let key = match self.key {
            KeyRule::Capture(n) => captures.get(n - 1).map(|capture| Box::from(*capture)),
            KeyRule::None | KeyRule::Source(_) => None,
        };
        Binding {
            route: Arc::clone(self),
            topic,
            fault: verdict.err().map(|invalid| invalid.to_string().into()),
            key,
            index: stream_index(name.as_bytes()),
        }
    }
}

/// A route applied to one stream.
#[derive(Clone, Debug)]
pub struct Binding {
    route: Arc<Route>,
    topic: Topic,
    fault: Option<Arc<str>>,
    /// The key, where a capture gives it.
    key: Option<Box<[u8]>>,
    index: Option<u32>,
}

impl Binding {
    #[must_use]
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The topic of the stream's records. No valid name where there is a [`fault`](Self::fault).
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Why the stream can have no topic: a capture makes a name that Kafka does not take, or one of Lockgate's own. The
    /// stream should be halted with these words; each of its entries is a dead letter otherwise.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// [`Route::hash`], as checkpoints keep it.
    #[must_use]
    pub fn route_hash(&self) -> String {
        format!("{:016x}", self.route.hash())
    }

    /// Changes with what decides where a stream's records go, and with nothing else.
    #[must_use]
    pub fn placement_hash(&self) -> String {
        let config = self.route.config();
        let decides = (
            self.topic.as_str(),
            config.partitions,
            &config.key,
            &config.partition,
        );
        let text = serde_json::to_vec(&decides).expect("plain configuration serialises");
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&text))
    }

    /// Fills `out` with the entry's record, in the buffers that are there. After an error, which makes the entry a dead
    /// letter, what `out` holds means nothing.
    pub fn encode(
        &self,
        stream: &StreamRef,
        entry: &Entry,
        out: &mut Encoded,
    ) -> Result<(), Unroutable> {
        out.clear();
        if let Some(fault) = &self.fault {
            return Err(Unroutable::encode(&**fault));
        }
        let route = &*self.route;
        self.write_key(entry, out)?;
        let key = out.has_key.then_some(out.key.as_slice());
        out.partition = route
            .placer
            .place(key, self.index, entry.id, &mut out.scratch)
            .map_err(|unplaceable| self.unplaceable(unplaceable))?;
        route.headers.write(entry, &mut out.headers)?;
        route.value.write(entry, &mut out.value)?;
        self.check_size(stream, out)
    }

    fn write_key(&self, entry: &Entry, out: &mut Encoded) -> Result<(), Unroutable> {
        match &self.route.key {
            KeyRule::None => {}
            KeyRule::Source(source) => {
                if let Some(key) = source.text(entry)? {
                    out.set_key(&key);
                }
            }
            KeyRule::Capture(_) => {
                if let Some(key) = &self.key {
                    out.set_key(key);
                }
            }
        }
        Ok(())
    }

    fn check_size(&self, stream: &StreamRef, out: &Encoded) -> Result<(), Unroutable> {
        let bytes = out.batch_bound(stream.name.as_bytes().len());
        let max = self.route.max_message_bytes();
        if bytes <= max {
            return Ok(());
        }
        Err(Unroutable {
            reason: Reason::TooLarge,
            detail: format!(
                "the record may take {bytes} bytes, more than max_message_bytes = {max}"
            ),
        })
    }

    fn unplaceable(&self, unplaceable: Unplaceable) -> Unroutable {
        Unroutable::encode(match unplaceable {
            Unplaceable::KeyNotText => {
                "the key is not UTF-8, which the `reading` of a JavaScript package needs".to_owned()
            }
            Unplaceable::NoStreamIndex => format!(
                "the stream's name does not end in a number below {}, which `hash = \"stream-index\"` needs",
                self.route.partitions()
            ),
        })
    }
}
