//! The application's groups at Redis, beside those that take their place: read only, of the streams that this instance mirrors.
//!
//! Each instance tells of its own streams, whoever steers, so that a sum over all of them is the whole. One stream that cannot
//! be looked at makes a sum unknown: a part of it would claim too little.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::config;
use crate::entry::{Database, StreamName, StreamRef};
use crate::migration::driver::now_ms;
use crate::status::{Board, GroupStatus};
use crate::streams::{Connection, Error, GroupLooked, GroupState, Redis};

const EVERY: Duration = Duration::from_secs(2);
/// It rests so many times longer than it asks, however many streams there are.
const REST: u32 = 20;

type Streams = BTreeMap<Database, Vec<StreamName>>;

/// A group, with the routes whose streams it reads; none: all.
struct Watched {
    name: String,
    routes: Vec<String>,
    /// Entries that it has done with since this process began to look.
    processed: u64,
    /// How many it had done with at each stream, at the last look.
    done: BTreeMap<StreamRef, u64>,
}

pub struct Looks {
    redis: Redis,
    board: Arc<Board>,
    groups: Vec<Watched>,
    connections: BTreeMap<Database, Connection>,
}

impl Looks {
    pub fn new(config: &config::Migration, redis: Redis, board: Arc<Board>) -> Self {
        let named = config.groups.iter().filter_map(|group| {
            Some(Watched {
                name: group.redis.clone()?,
                routes: group.routes.clone(),
                processed: 0,
                done: BTreeMap::new(),
            })
        });
        let looks = Self {
            redis,
            groups: named.collect(),
            connections: BTreeMap::new(),
            board,
        };
        looks.show(|watched| unknown(watched, "it was not looked at yet"));
        looks
    }

    /// Looks now and then; ends with the future.
    pub async fn run(mut self) {
        if self.groups.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let begun = Instant::now();
            let mut shown = Vec::new();
            for at in 0..self.groups.len() {
                shown.push(self.look(at).await);
            }
            self.board.redis_groups(shown);
            tokio::time::sleep(EVERY.max(begun.elapsed() * REST)).await;
        }
    }

    fn show(&self, what: impl Fn(&Watched) -> GroupStatus) {
        self.board
            .redis_groups(self.groups.iter().map(what).collect());
    }

    async fn look(&mut self, at: usize) -> GroupStatus {
        let watched = &self.groups[at];
        let (name, streams) = (watched.name.clone(), self.streams(&watched.routes));
        let looked = self.ask(&name, streams).await;
        let watched = &mut self.groups[at];
        match looked {
            Ok(found) => put_together(watched, &found, now_ms()),
            Err(error) => {
                debug!(%error, group = name, "a group at Redis cannot be looked at");
                self.connections.clear();
                unknown(watched, &error.to_string())
            }
        }
    }

    fn streams(&self, routes: &[String]) -> Streams {
        let mut streams = Streams::new();
        self.board.streams(|stream, cell| {
            if routes.is_empty() || routes.contains(&cell.route) {
                let names = streams.entry(stream.database).or_default();
                names.push(stream.name.clone());
            }
        });
        streams
    }

    async fn ask(
        &mut self,
        group: &str,
        streams: Streams,
    ) -> Result<Vec<(StreamRef, GroupLooked)>, Error> {
        let mut found = Vec::new();
        for (database, names) in streams {
            if !self.connections.contains_key(&database) {
                let connection = self.redis.connect(database).await?;
                self.connections.insert(database, connection);
            }
            let connection = self.connections.get_mut(&database).expect("inserted above");
            let states = connection.group_states(&names, group).await?;
            let of = |name| StreamRef { database, name };
            found.extend(names.into_iter().map(of).zip(states));
        }
        Ok(found)
    }
}

fn unknown(watched: &Watched, why: &str) -> GroupStatus {
    GroupStatus {
        store: "redis".to_owned(),
        group: watched.name.clone(),
        processed: Some(watched.processed),
        reason: Some(why.to_owned()),
        ..GroupStatus::default()
    }
}

/// What the streams show together. Where the group is at none of them, nothing is known of it.
fn put_together(
    watched: &mut Watched,
    found: &[(StreamRef, GroupLooked)],
    now_ms: i64,
) -> GroupStatus {
    if let Some((stream, Err(error))) = found.iter().find(|(_, looked)| looked.is_err()) {
        let why = format!("{}: {error}", stream.name);
        return unknown(watched, &why);
    }
    let at: Vec<(&StreamRef, &GroupState)> = found
        .iter()
        .filter_map(|(stream, looked)| Some((stream, looked.as_ref().ok()?.as_ref()?)))
        .collect();
    if at.is_empty() {
        return unknown(watched, "no stream of this instance has the group");
    }
    watched.count(&at);
    let states = || at.iter().map(|(_, state)| *state);
    let oldest = states().filter_map(|state| state.oldest_pending).min();
    GroupStatus {
        lag_entries: states().map(|state| state.lag).sum(),
        pending_entries: Some(states().map(|state| state.pending).sum()),
        pending_oldest_seconds: Some(oldest.map_or(0.0, |id| age(id.ms, now_ms))),
        reason: None,
        ..unknown(watched, "")
    }
}

/// An id's time is the one at which it was added, unless whoever added it chose another.
fn age(added_ms: u64, now_ms: i64) -> f64 {
    let added_ms = i64::try_from(added_ms).unwrap_or(i64::MAX);
    let age = now_ms.saturating_sub(added_ms).max(0);
    #[expect(clippy::cast_precision_loss, reason = "ages lie far below 2^53 ms")]
    let seconds = age as f64 / 1_000.0;
    seconds
}

impl Watched {
    /// Adds what was done since the last look; a stream that is met first, or whose group was set back, begins there.
    fn count(&mut self, at: &[(&StreamRef, &GroupState)]) {
        let met: BTreeSet<&StreamRef> = at.iter().map(|(stream, _)| *stream).collect();
        self.done.retain(|stream, _| met.contains(stream));
        for (stream, state) in at {
            let Some(read) = state.entries_read else {
                continue;
            };
            let done = read.saturating_sub(state.pending);
            let before = self.done.insert((*stream).clone(), done);
            self.processed += before.map_or(0, |before| done.saturating_sub(before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Watched {
        Watched {
            name: "workers".to_owned(),
            routes: Vec::new(),
            processed: 0,
            done: BTreeMap::new(),
        }
    }

    fn at(name: &str, state: Option<GroupState>) -> (StreamRef, GroupLooked) {
        let stream = StreamRef {
            database: Database(0),
            name: StreamName::from(name.as_bytes()),
        };
        (stream, Ok(state))
    }

    fn state(read: u64, pending: u64, lag: Option<u64>) -> GroupState {
        GroupState {
            pending,
            oldest_pending: (pending > 0).then(|| "1000-0".parse().expect("an id")),
            entries_read: Some(read),
            lag,
        }
    }

    #[test]
    fn streams_are_added_up_and_one_that_is_not_known_makes_the_sum_unknown() {
        let mut workers = watched();
        let two = [
            at("a", Some(state(10, 2, Some(3)))),
            at("b", Some(state(7, 0, Some(4)))),
            at("without the group", None),
        ];
        let shown = put_together(&mut workers, &two, 61_000);
        assert_eq!(
            (shown.lag_entries, shown.pending_entries),
            (Some(7), Some(2))
        );
        assert_eq!(shown.pending_oldest_seconds, Some(60.0));
        assert_eq!(
            shown.processed,
            Some(0),
            "what was done before is not counted"
        );
        let shown = put_together(&mut workers, &[at("a", Some(state(1, 0, None)))], 0);
        assert_eq!((shown.lag_entries, shown.pending_entries), (None, Some(0)));
        assert_eq!(shown.pending_oldest_seconds, Some(0.0));
        let nowhere = put_together(&mut workers, &[at("a", None)], 0);
        assert_eq!((nowhere.lag_entries, nowhere.pending_entries), (None, None));
        assert!(nowhere.reason.is_some());
    }

    #[test]
    fn what_is_done_only_grows_whatever_comes_and_goes() {
        let mut workers = watched();
        let mut done = |streams: &[(&str, u64, u64)]| {
            let found: Vec<_> = streams
                .iter()
                .map(|(name, read, pending)| at(name, Some(state(*read, *pending, Some(0)))))
                .collect();
            put_together(&mut workers, &found, 0).processed
        };
        assert_eq!(done(&[("a", 10, 2)]), Some(0));
        assert_eq!(done(&[("a", 12, 0)]), Some(4));
        assert_eq!(
            done(&[("a", 12, 0), ("b", 500, 0)]),
            Some(4),
            "it is new here"
        );
        assert_eq!(done(&[("b", 501, 0)]), Some(5), "and a is another's");
        assert_eq!(done(&[("b", 3, 0)]), Some(5), "it was set back");
        assert_eq!(done(&[("b", 4, 0)]), Some(6));
    }
}
