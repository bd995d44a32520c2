//! Which streams there are: those named by the routes, and those whose names match their globs.
//!
//! Names and ranges count whether or not they exist yet. Globs are looked for by SCAN, again and again. A name once found
//! stays: a stream that vanished is the reader's to notice, not to be forgotten here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::shared::Shared;
use crate::entry::{Database, StreamName, StreamRef};
use crate::routing::Binding;
use crate::streams::{Connection, Error};

/// One stream that a route takes.
#[derive(Clone)]
pub struct Found {
    pub binding: Binding,
    /// It appeared after its route began to mirror: whatever it holds is new, so it is mirrored from its first entry.
    pub while_running: bool,
}

/// The member of `lockgate:<name>:started` that says that a route has begun. No stream is mirrored under such a name.
pub fn route_mark(route: &str) -> StreamName {
    StreamName::from(format!("@route:{route}").as_str())
}

pub type Streams = Arc<BTreeMap<StreamRef, Found>>;

pub struct Discovery {
    shared: Arc<Shared>,
    out: watch::Sender<Option<Streams>>,
}

impl Discovery {
    /// The receiver holds `None` until every database with globs has been scanned once.
    pub fn new(shared: Arc<Shared>) -> (Self, watch::Receiver<Option<Streams>>) {
        let (out, streams) = watch::channel(None);
        (Self { shared, out }, streams)
    }

    /// Scans until stopped. Redis out of reach is waited out; what was found stays known.
    pub async fn run(self, stop: CancellationToken) {
        let mut known: BTreeMap<StreamRef, Found> = self.named();
        loop {
            let first = self.out.borrow().is_none();
            let scanned = tokio::select! {
                () = stop.cancelled() => return,
                scanned = self.scan(&mut known, first) => scanned,
            };
            let complete = scanned.is_ok();
            if let Err(error) = scanned {
                self.shared.redis_failed(&error);
            }
            // What a scan found before it broke off counts, once one has come to its end.
            let told = self.out.borrow().as_ref().map(|streams| streams.len());
            if told.map_or(complete, |told| told != known.len()) {
                self.out.send_replace(Some(Arc::new(known.clone())));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.shared.discovery_interval) => {}
            }
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
                            while_running: false,
                        },
                    );
                }
            }
        }
        named
    }

    async fn scan(&self, known: &mut BTreeMap<StreamRef, Found>, first: bool) -> Result<(), Error> {
        for (database, pattern) in self.patterns() {
            let mut connection = self.shared.redis.connect(database).await?;
            let begun = self.begun(&mut connection, database).await?;
            let mut cursor = 0;
            loop {
                let (next, names) = connection.scan(&pattern, cursor).await?;
                for name in names {
                    let stream = StreamRef { database, name };
                    if known.contains_key(&stream) {
                        continue;
                    }
                    if let Some(binding) = self.shared.routes.bind(&stream) {
                        let while_running = !first || begun.contains(binding.route().name());
                        info!(stream = %stream.name, %database, route = binding.route().name(), topic = %binding.topic(), "found");
                        known.insert(
                            stream,
                            Found {
                                binding,
                                while_running,
                            },
                        );
                    }
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(())
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

    fn patterns(&self) -> BTreeSet<(Database, Vec<u8>)> {
        let of_route = |route: &Arc<crate::routing::Route>| {
            let database = route.database();
            route
                .globs()
                .iter()
                .map(move |glob| (database, glob.scan_pattern().to_vec()))
                .collect::<Vec<_>>()
        };
        self.shared.routes.iter().flat_map(of_route).collect()
    }
}
