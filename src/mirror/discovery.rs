//! Which streams there are: those named by the routes, and those whose names match their globs.
//!
//! Names and ranges count whether or not they exist yet. Globs are looked for by SCAN, again and again. A name once found
//! stays: a stream that vanished is the reader's to notice, not to be forgotten here.
//!
//! A route's streams are told only once all its globs have been scanned to their end: what the first of these scans finds
//! was there before, and what a later one finds came since. Until then its neighbours are told without it; and those that
//! the route names itself, where it begins with the earliest entry, so that nothing hangs on which came first.
//!
//! Each round asks, too, whether Redis still holds the marks of the routes (started.rs). Where some are gone, the shards of that
//! database are told, and the openings of their next terms note all again.
//!
//! The board is told when the last scan of everything was begun: what came into being after that may be unknown. While buckets are
//! held, which waits for what is known, scans follow each other quickly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::shared::Shared;
use super::started::{route_mark, waiting};
use crate::config::Start;
use crate::entry::{Database, StreamName, StreamRef};
use crate::flags::Flags;
use crate::routing::{Binding, Route};
use crate::streams::{Connection, Error};

/// Between two scans while buckets are held.
const HASTE: Duration = Duration::from_millis(500);

/// One stream that a route takes.
#[derive(Clone)]
pub struct Found {
    pub binding: Binding,
    /// The route names it, rather than a glob of the route.
    named: bool,
    /// It came after its route's streams had been looked for to the end: whatever it holds is new, so it is mirrored from its
    /// first entry.
    pub while_running: bool,
    /// Its route's streams have been looked for to the end.
    pub looked_for: bool,
    /// How often marks of its database were found gone.
    pub marks_lost: u64,
}

pub type Streams = Arc<BTreeMap<StreamRef, Found>>;

pub struct Discovery {
    shared: Arc<Shared>,
    out: watch::Sender<Option<Streams>>,
}

impl Discovery {
    /// The receiver holds `None` until the streams of a route are known.
    pub fn new(shared: Arc<Shared>) -> (Self, watch::Receiver<Option<Streams>>) {
        let (out, streams) = watch::channel(None);
        (Self { shared, out }, streams)
    }

    /// Scans until stopped. Redis out of reach is waited out; what was found stays known.
    pub async fn run(self, stop: CancellationToken) {
        let mut known: BTreeMap<StreamRef, Found> = self.named();
        let mut scanned = BTreeSet::new();
        let mut marks = Marks::default();
        loop {
            self.tell(&known, &scanned, &marks);
            let begun = Instant::now();
            let failed = tokio::select! {
                () = stop.cancelled() => return,
                failed = async {
                    self.look_at_marks(&mut marks).await;
                    self.scan_all(&mut known, &mut scanned).await
                } => failed,
            };
            self.tell(&known, &scanned, &marks);
            match failed {
                Some(error) => {
                    self.shared.board.search_failed(error.to_string());
                    self.shared.redis_failed(&error);
                }
                None => self.post(begun),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.pause() => {}
            }
        }
    }

    /// What a scan found before it broke off counts, once its route has been scanned to the end.
    fn tell(&self, known: &BTreeMap<StreamRef, Found>, scanned: &BTreeSet<Pattern>, marks: &Marks) {
        let complete = self.complete(scanned);
        let counts = |found: &Found| {
            let route = found.binding.route();
            let early = found.named && route.config().start == Start::Earliest;
            early || complete.contains(route.name())
        };
        let counting = known.iter().filter(|(_, found)| counts(found));
        let now: BTreeMap<StreamRef, Found> = counting
            .map(|(stream, found)| {
                let looked_for = complete.contains(found.binding.route().name());
                let found = Found {
                    looked_for,
                    marks_lost: marks.lost(stream.database),
                    ..found.clone()
                };
                (stream.clone(), found)
            })
            .collect();
        // All of it only grows.
        let size = |streams: &BTreeMap<StreamRef, Found>| {
            let looked_for = streams.values().filter(|found| found.looked_for);
            let lost: u64 = streams.values().map(|found| found.marks_lost).sum();
            (streams.len(), looked_for.count(), lost)
        };
        let told = self.out.borrow().as_ref().map(|streams| size(streams));
        let first = !(complete.is_empty() && now.is_empty());
        if told.map_or(first, |told| told != size(&now)) {
            self.out.send_replace(Some(Arc::new(now)));
        }
    }

    /// After the streams were told, so that no shard is believed to have taken up what it was not told of.
    fn post(&self, begun: Instant) {
        let begun = (!self.patterns().is_empty()).then_some(begun);
        let told = self.out.borrow().as_ref().map_or(0, |told| told.len());
        self.shared.board.found(begun, told);
    }

    async fn pause(&self) {
        let holds =
            |flags: &Option<Flags>| flags.is_some_and(|told| told.hold_ingress_to.is_some());
        let mut told = self.shared.told.clone();
        let held = holds(&told.borrow_and_update());
        let interval = self.shared.discovery_interval;
        let interval = if held { interval.min(HASTE) } else { interval };
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            Ok(_) = told.wait_for(holds), if !held => {}
        }
    }

    fn named(&self) -> BTreeMap<StreamRef, Found> {
        let mut named = BTreeMap::new();
        for route in self.shared.routes.iter() {
            for name in route.fixed_streams() {
                let stream = StreamRef {
                    database: route.database(),
                    name,
                };
                if let Some(binding) = self.shared.routes.bind(&stream) {
                    named.insert(
                        stream,
                        Found {
                            binding,
                            named: true,
                            while_running: false,
                            looked_for: false,
                            marks_lost: 0,
                        },
                    );
                }
            }
        }
        named
    }

    /// Scans for every pattern, whatever becomes of the others. Answers the first failure.
    async fn scan_all(
        &self,
        known: &mut BTreeMap<StreamRef, Found>,
        scanned: &mut BTreeSet<Pattern>,
    ) -> Option<Error> {
        // As it stood before this round: what a route's last glob finds first was there before, too.
        let complete = self.complete(scanned);
        let mut failed = None;
        for pattern in self.patterns() {
            match self.scan(known, &complete, &pattern).await {
                Ok(()) => {
                    scanned.insert(pattern);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed
    }

    async fn scan(
        &self,
        known: &mut BTreeMap<StreamRef, Found>,
        complete: &BTreeSet<String>,
        (database, pattern): &Pattern,
    ) -> Result<(), Error> {
        let database = *database;
        let mut connection = self.shared.redis.connect(database).await?;
        let begun = self.begun(&mut connection, database).await?;
        let mut cursor = 0;
        loop {
            let (next, names) = connection.scan(pattern, cursor).await?;
            let streams = names.into_iter().map(|name| StreamRef { database, name });
            let new = streams.filter(|stream| !known.contains_key(stream));
            let new: Vec<(StreamRef, Binding)> = new
                .filter_map(|stream| {
                    let binding = self.shared.routes.bind(&stream)?;
                    Some((stream, binding))
                })
                .collect();
            let of_begun = new
                .iter()
                .filter(|(_, binding)| begun.contains(binding.route().name()))
                .map(|(stream, _)| stream.name.clone());
            let waiting = waiting(&self.shared, &mut connection, of_begun.collect()).await?;
            for (stream, binding) in new {
                let route = binding.route().name();
                let later = begun.contains(route) && !waiting.contains(&stream.name);
                let while_running = complete.contains(route) || later;
                info!(stream = %stream.name, %database, route, topic = %binding.topic(), "found");
                known.insert(
                    stream,
                    Found {
                        binding,
                        named: false,
                        while_running,
                        looked_for: false,
                        marks_lost: 0,
                    },
                );
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// The routes all of whose globs have been scanned to their end; those without globs are among them.
    fn complete(&self, scanned: &BTreeSet<Pattern>) -> BTreeSet<String> {
        let routes = self.shared.routes.iter();
        let complete = routes.filter(|route| patterns_of(route).all(|one| scanned.contains(&one)));
        complete.map(|route| route.name().to_owned()).collect()
    }

    /// The routes of this database that mirrored before this process began: what is found of theirs without a checkpoint is
    /// new, even where nobody ran when it appeared.
    async fn begun(
        &self,
        connection: &mut Connection,
        database: Database,
    ) -> Result<BTreeSet<String>, Error> {
        let routes = self.shared.routes.iter();
        let names: Vec<String> = routes
            .filter(|route| route.database() == database)
            .map(|route| route.name().to_owned())
            .collect();
        let marks: Vec<StreamName> = names.iter().map(|name| route_mark(name)).collect();
        let begun = connection
            .started(&self.shared.started_key(), &marks)
            .await?;
        Ok(names
            .into_iter()
            .zip(begun)
            .filter(|(_, begun)| *begun)
            .map(|(name, _)| name)
            .collect())
    }

    /// A database that does not answer has shown nothing. Its readers tell of it.
    async fn look_at_marks(&self, marks: &mut Marks) {
        let routes = self.shared.routes.iter();
        let databases: BTreeSet<Database> = routes.map(|route| route.database()).collect();
        for database in databases {
            let Ok(mut connection) = self.shared.redis.connect(database).await else {
                continue;
            };
            let Ok(begun) = self.begun(&mut connection, database).await else {
                continue;
            };
            let gone = marks.see(database, begun);
            if !gone.is_empty() {
                warn!(
                    %database, key = %String::from_utf8_lossy(&self.shared.started_key()), routes = ?gone,
                    "Redis no longer holds which mirrors have begun; it is written again"
                );
            }
        }
    }

    fn patterns(&self) -> BTreeSet<Pattern> {
        let routes = self.shared.routes.iter();
        routes.flat_map(|route| patterns_of(route)).collect()
    }
}

/// The marks of routes that Redis has shown, and how often some that it had shown were gone.
#[derive(Default)]
struct Marks(BTreeMap<Database, (BTreeSet<String>, u64)>);

impl Marks {
    /// Takes in what Redis shows now, and gives what it no longer shows.
    fn see(&mut self, database: Database, begun: BTreeSet<String>) -> BTreeSet<String> {
        let (seen, lost) = self.0.entry(database).or_default();
        let gone: BTreeSet<String> = seen.difference(&begun).cloned().collect();
        *lost += u64::from(!gone.is_empty());
        *seen = begun;
        gone
    }

    fn lost(&self, database: Database) -> u64 {
        self.0.get(&database).map_or(0, |(_, lost)| *lost)
    }
}

/// What SCAN looks for, and where.
type Pattern = (Database, Vec<u8>);

fn patterns_of(route: &Route) -> impl Iterator<Item = Pattern> {
    let database = route.database();
    let globs = route.globs().into_iter();
    globs.map(move |glob| (database, glob.scan_pattern().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_lost_once_each_time_they_go_and_never_before_they_were_there() {
        let routes = |names: &[&str]| -> BTreeSet<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let mut marks = Marks::default();
        for (shown, gone, lost) in [
            (&[][..], &[][..], 0),
            (&["a"], &[], 0),
            (&["a", "b"], &[], 0),
            (&[], &["a", "b"], 1),
            (&[], &[], 1),
            (&["a"], &[], 1),
            (&["b"], &["a"], 2),
        ] {
            assert_eq!(marks.see(Database(1), routes(shown)), routes(gone));
            assert_eq!(marks.lost(Database(1)), lost, "{shown:?}");
        }
        assert_eq!(marks.lost(Database(0)), 0);
    }
}
