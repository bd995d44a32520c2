//! The Redis side of the check: the server, the streams, their entries, and the commands that the mirror will need.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::driver;
use super::finding::{Findings, Level};
use super::placement::{self, Families};
use super::report::{Report, StreamSeen};
use super::sample;
use crate::cli::discover;
use crate::cli::output::{counted, grouped};
use crate::cli::status::spoken;
use crate::config::{Config, Migration};
use crate::entry::{Database, Entry, EntryId, StreamName, StreamRef};
use crate::routing::{Binding, Routes};
use crate::streams::{Connection, Error, ErrorKind, Inspected, Redis, Role, StreamState};

pub struct Asked {
    pub samples: usize,
    pub most_streams: usize,
    pub show_payload: bool,
}

/// Streams that the routes take, as far as Redis told.
pub type Streams = BTreeMap<StreamRef, Binding>;

pub async fn check(
    config: &Config,
    routes: &Routes,
    asked: &Asked,
    report: &mut Report,
    findings: &mut Findings,
) -> Streams {
    let mut streams = discover::named(routes);
    let redis = match Redis::new(&config.redis) {
        Ok(redis) => redis,
        Err(error) => {
            refused(&error, "redis", findings);
            return streams;
        }
    };
    // Who has changed nothing about the cutover may be here for the mirror alone.
    let driven = config.migration != Migration::default();
    if let Err(error) = server(&redis, driven, report, findings).await {
        refused(&error, "redis", findings);
        return streams;
    }
    if let Err(error) = discover::matching(&redis, routes, &mut streams).await {
        refused(&error, "looking for streams", findings);
    }
    report.streams_found = streams.len();
    let looked_at = choose(routes, &streams, asked.most_streams);
    report.streams_looked_at = looked_at.len();
    let mut families: BTreeMap<usize, Families> = BTreeMap::new();
    let mut by_database: BTreeMap<Database, Vec<(&StreamRef, &Binding)>> = BTreeMap::new();
    for (stream, binding) in &looked_at {
        by_database
            .entry(stream.database)
            .or_default()
            .push((stream, binding));
    }
    for (database, of_database) in by_database {
        let mut look = Look {
            asked,
            report,
            findings,
            families: &mut families,
            now_ms: now_ms(),
        };
        if let Err(error) = look.database(&redis, database, &of_database).await {
            refused(&error, &format!("database {database}"), findings);
        }
    }
    for route in routes.iter() {
        if let Some(families) = families.get(&route.index()) {
            let of_route = streams
                .iter()
                .filter(|(_, binding)| binding.route().index() == route.index());
            let found = of_route.map(|(stream, _)| &stream.name);
            let placements = placement::judge(route, families, found, findings);
            report.placements.extend(placements);
        }
    }
    streams
}

/// Evenly from every route, so that a glob with many streams does not hide the others.
fn choose<'a>(
    routes: &Routes,
    streams: &'a Streams,
    most: usize,
) -> Vec<(&'a StreamRef, &'a Binding)> {
    if streams.len() <= most {
        return streams.iter().collect();
    }
    let each = (most / routes.iter().count().max(1)).max(1);
    let of_route = |index| {
        streams
            .iter()
            .filter(move |(_, binding)| binding.route().index() == index)
            .take(each)
    };
    routes
        .iter()
        .flat_map(|route| of_route(route.index()))
        .collect()
}

async fn server(
    redis: &Redis,
    driven: bool,
    report: &mut Report,
    findings: &mut Findings,
) -> Result<(), Error> {
    let mut connection = redis.connect(redis.default_database()).await?;
    let server = connection.server().await?;
    if driven && server.role == Role::Master {
        driver::check(&mut connection, report, findings).await?;
    }
    report.redis = Some(format!("{} at {}", server.version, redis.peer()));
    if server.may_evict_streams() {
        findings.add(
            Level::Warning,
            "redis maxmemory-policy",
            format!("{} may evict whole streams, mirrored or not, when memory is full", server.maxmemory_policy),
            "set maxmemory-policy to noeviction or volatile-*, or give the streams a Redis of their own",
        );
    }
    let major = server
        .version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major < 7) {
        findings.add(
            Level::Warning,
            "redis",
            format!("Redis {} does not count entries ever added: entries that vanish before they are read are not seen, lag in entries is unknown", server.version),
            "use Redis 7 or later, or make sure that nobody trims or deletes what is not mirrored",
        );
    }
    if server.role == Role::Replica {
        findings.add(
            Level::Error,
            "redis.url",
            "this is a replica: nothing is mirrored from one, because a failover may take back what it shows",
            "point redis.url at the master",
        );
    }
    if server.cluster_enabled {
        findings.add(
            Level::Error,
            "redis.url",
            "this is a node of a Redis Cluster, which is not mirrored yet",
            "use a Redis that is not a cluster",
        );
    }
    if !server.aof {
        findings.add(
            Level::Note,
            "redis appendonly",
            "Redis keeps no append-only file: a crash loses entries that the mirror may have read already",
            "after such a crash the mirror audits what it has; with appendonly yes there is little to audit",
        );
    }
    Ok(())
}

struct Look<'a> {
    asked: &'a Asked,
    report: &'a mut Report,
    findings: &'a mut Findings,
    families: &'a mut BTreeMap<usize, Families>,
    now_ms: i64,
}

impl Look<'_> {
    async fn database(
        &mut self,
        redis: &Redis,
        database: Database,
        streams: &[(&StreamRef, &Binding)],
    ) -> Result<(), Error> {
        let mut connection = redis.connect(database).await?;
        let names: Vec<StreamName> = streams
            .iter()
            .map(|(stream, _)| stream.name.clone())
            .collect();
        let Some(states) = self.permitted(connection.inspect(&names).await)? else {
            return Ok(());
        };
        let mut absent: BTreeMap<&str, u64> = BTreeMap::new();
        for ((stream, binding), state) in streams.iter().zip(states) {
            if let Some(fault) = binding.fault() {
                self.findings.add(
                    Level::Error,
                    stream.to_string(),
                    fault,
                    "exclude it from the route, or rename the stream",
                );
            }
            match state {
                Inspected::Absent => *absent.entry(binding.route().name()).or_default() += 1,
                Inspected::NotAStream(kind) => self.findings.add(
                    Level::Error,
                    stream.to_string(),
                    format!("this key is a {kind} and no stream"),
                    "take it out of the route, or rename the key",
                ),
                Inspected::Stream(state) => {
                    self.stream(&mut connection, stream, binding, &state)
                        .await?
                }
            }
        }
        for (route, number) in absent {
            self.findings.add(
                Level::Note,
                format!("route {route}"),
                format!("{} not there yet", counted(number, "stream")),
                "nothing: each is mirrored from its first entry when it appears; look at the database number and the names if you expected entries",
            );
        }
        self.commands(&mut connection, &names).await?;
        let own = self.own_key();
        match connection.try_mark_started(&own).await {
            // That it is a replica is told already.
            Err(error) if error.kind() == ErrorKind::ReadOnly => Ok(()),
            tried => self.permitted(tried).map(drop),
        }
    }

    fn own_key(&self) -> Vec<u8> {
        format!("lockgate:{}:started", self.report.migration).into_bytes()
    }

    async fn stream(
        &mut self,
        connection: &mut Connection,
        stream: &StreamRef,
        binding: &Binding,
        state: &StreamState,
    ) -> Result<(), Error> {
        self.age(stream, binding, state);
        if state.groups > 0
            && state
                .max_deleted_entry_id
                .is_some_and(|id| id != EntryId::ZERO)
        {
            self.findings.add(
                Level::Warning,
                stream.to_string(),
                "its consumers delete entries (XDEL): those that are deleted before the mirror reads them never reach Kafka; they are counted, and the stream halts or records as on_gap says",
                "stop the Redis workers first and let Lockgate drain their group, or take out the XDEL",
            );
        }
        let Some(entries) = self.entries(connection, stream).await? else {
            return Ok(());
        };
        let samples = sample::encode(stream, binding, &entries, self.asked.show_payload);
        if let Some(first) = samples.dead_letters.first() {
            self.findings.add(
                Level::Warning,
                stream.to_string(),
                format!(
                    "{} of {} sampled entries would be dead letters, the first for {first}",
                    samples.dead_letters.len(),
                    entries.len()
                ),
                "correct the route's key, headers or value, or mark the source as optional = true",
            );
        }
        placement::take(
            self.families.entry(binding.route().index()).or_default(),
            &stream.name,
            &samples.keys,
        );
        self.report.streams.push(StreamSeen {
            database: stream.database.0,
            stream: stream.name.to_string(),
            route: binding.route().name().to_owned(),
            topic: binding.topic().to_string(),
            entries: state.length,
            samples: samples.samples,
        });
        Ok(())
    }

    /// The newest entries; the oldest for a user who may not use XREVRANGE, which is told.
    async fn entries(
        &mut self,
        connection: &mut Connection,
        stream: &StreamRef,
    ) -> Result<Option<Vec<Entry>>, Error> {
        let (name, count) = (&stream.name, self.asked.samples);
        let newest = connection
            .range_back(name, EntryId::MAX, EntryId::ZERO, count)
            .await;
        match newest {
            Err(error) if error.kind() == ErrorKind::NoPermission => {
                refused(&error, "redis.username", self.findings);
                let oldest = connection
                    .range(name, EntryId::ZERO, EntryId::MAX, count)
                    .await;
                self.permitted(oldest)
            }
            answer => answer.map(Some),
        }
    }

    /// Ids that are no times, and a backlog that is older than its topic keeps.
    fn age(&mut self, stream: &StreamRef, binding: &Binding, state: &StreamState) {
        let last = state.last_generated_id;
        if last != EntryId::ZERO && last.plausible_time_ms(self.now_ms).is_none() {
            let ahead = i64::try_from(last.ms).unwrap_or(i64::MAX) > self.now_ms;
            let kind = if ahead {
                "nanoseconds, or a clock that is ahead"
            } else {
                "a counter, or seconds"
            };
            self.findings.add(
                Level::Warning,
                stream.to_string(),
                format!("entry ids such as {last} are no milliseconds since 1970 ({kind})"),
                "nothing is lost: such records are dated with the time at which they are read, so that retention counts from there",
            );
        }
        let retention = binding.route().config().retention;
        let oldest = state
            .first
            .and_then(|first| first.plausible_time_ms(self.now_ms));
        let age_ms = oldest.map_or(0, |oldest| self.now_ms.saturating_sub(oldest).max(0));
        if u128::try_from(age_ms).unwrap_or(0) > retention.as_millis() {
            #[expect(clippy::cast_precision_loss, reason = "an age for people")]
            let age = spoken(age_ms as f64 / 1_000.0);
            self.findings.add(
                Level::Warning,
                stream.to_string(),
                format!(
                    "its oldest of {} entries is {age} old, older than routes.retention = {}: records are dated as their entries, so Kafka deletes that part at once",
                    grouped(state.length),
                    humantime::format_duration(retention)
                ),
                "raise routes.retention for the move, or begin later: routes.start = \"latest\" or an entry id",
            );
        }
    }

    /// The commands of the mirror that were not tried yet.
    async fn commands(
        &mut self,
        connection: &mut Connection,
        names: &[StreamName],
    ) -> Result<(), Error> {
        let Some(name) = names.first() else {
            return Ok(());
        };
        let read = connection
            .read(&[(name.clone(), EntryId::MAX)], 1, None)
            .await
            .map(drop);
        self.permitted(read.or_else(wrong_type))?;
        let looked = connection.stocktake(name, EntryId::MAX, 1).await.map(drop);
        self.permitted(looked.or_else(wrong_type))?;
        let own = self.own_key();
        self.permitted(
            connection
                .started(&own, std::slice::from_ref(name))
                .await
                .map(drop),
        )?;
        Ok(())
    }

    /// A command that the user may not use is a finding; anything else ends the look at this database.
    fn permitted<T>(&mut self, answer: Result<T, Error>) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind() == ErrorKind::NoPermission => {
                refused(&error, "redis.username", self.findings);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A first key that is no stream was told already.
fn wrong_type(error: Error) -> Result<(), Error> {
    if error.kind() == ErrorKind::WrongType {
        Ok(())
    } else {
        Err(error)
    }
}

pub(super) fn refused(error: &Error, place: &str, findings: &mut Findings) {
    let text = error.to_string();
    let (what, action) = text
        .split_once("; ")
        .unwrap_or((&text, "lockgate runbook redis-refuses"));
    findings.add(Level::Error, place, what, action);
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
