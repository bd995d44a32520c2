//! Which part of the migration a verb is about: route, stream, database and range, checked against the configuration
//! before anything is connected to.
//!
//! Whatever can be known to be wrong from the command line and the configuration alone is said at once and in full words,
//! with what there is instead: a verification that begins with nothing to compare would end without an answer, much later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::when::{When, is_upside_down};
use crate::cli::discover;
use crate::entry::{Database, StreamName, StreamRef};
use crate::parity::{Request, Sample};
use crate::routing::{Binding, Route, Routes};
use crate::streams::{self, Redis};

/// How alike a misspelt name must be to be offered, from 0 to 1.
const ALIKE: f64 = 0.75;
/// Names that are listed of those there are.
const LISTED: usize = 12;

/// Which part is compared
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Select {
    /// Only this route
    #[arg(long, value_name = "ROUTE")]
    pub route: Option<String>,
    /// Only this stream
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<String>,
    /// Only this database of Redis
    #[arg(long, value_name = "N")]
    pub database: Option<u32>,
    /// From this entry id or time on; a time as 2026-03-01T14:00:00Z, or as 2h: that long ago
    #[arg(long, value_name = "ID|TIME")]
    pub from: Option<When>,
    /// Up to this entry id or time, which is included
    #[arg(long, value_name = "ID|TIME")]
    pub to: Option<When>,
}

/// What was asked for, as it was written: a state file belongs to the run that was asked for in the same words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub route: Option<String>,
    pub stream: Option<String>,
    pub database: Option<u32>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub sample: Option<Sample>,
    pub full: bool,
    /// The last link of a report that is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
}

impl Select {
    #[must_use]
    pub fn asked(&self, sample: Option<Sample>, full: bool) -> Asked {
        let text = |when: &Option<When>| when.as_ref().map(|when| when.text().to_owned());
        Asked {
            route: self.route.clone(),
            stream: self.stream.clone(),
            database: self.database,
            from: text(&self.from),
            to: text(&self.to),
            sample,
            full,
            against: None,
        }
    }

    /// What the engine is asked for.
    ///
    /// # Errors
    /// What is wrong with it, in words: exit code 2.
    pub fn request(
        &self,
        routes: &Routes,
        sample: Option<Sample>,
        full: bool,
        now: SystemTime,
    ) -> Result<Request, String> {
        self.check(routes)?;
        let from = self.from.as_ref().map(|from| from.resolve(now));
        let to = self.to.as_ref().map(|to| to.resolve(now));
        if let (Some(low), Some(high), Some(from), Some(to)) = (from, to, &self.from, &self.to)
            && is_upside_down(low, high)
        {
            return Err(format!(
                "the range is upside down: --from {} lies behind --to {}",
                from.text(),
                to.text()
            ));
        }
        Ok(Request {
            route: self.route.clone(),
            stream: self.stream.clone(),
            database: self.database.map(Database),
            from,
            to,
            sample,
            full,
            seed: None,
        })
    }

    /// The streams that the routes take and this selects: those named, and those that match a glob now.
    ///
    /// # Errors
    /// Redis gave no answer to the search for those that match a glob.
    pub async fn streams(
        &self,
        redis: &Redis,
        routes: &Routes,
    ) -> Result<BTreeMap<StreamRef, Binding>, streams::Error> {
        let mut found = BTreeMap::new();
        if let Some(stream) = &self.stream {
            for database in self.databases(routes) {
                let stream = StreamRef::new(database, stream.as_str());
                found.extend(routes.bind(&stream).map(|binding| (stream, binding)));
            }
        } else {
            found = discover::named(routes);
            if self.chosen(routes).any(|route| !route.globs().is_empty()) {
                discover::matching(redis, routes, &mut found).await?;
            }
        }
        found.retain(|stream, binding| self.takes(stream, binding));
        Ok(found)
    }

    fn takes(&self, stream: &StreamRef, binding: &Binding) -> bool {
        self.route
            .as_ref()
            .is_none_or(|route| route == binding.route().name())
            && self
                .database
                .is_none_or(|database| database == stream.database.0)
    }

    fn chosen<'a>(&self, routes: &'a Routes) -> impl Iterator<Item = &'a Arc<Route>> {
        let (name, database) = (self.route.clone(), self.database);
        routes.iter().filter(move |route| {
            name.as_ref().is_none_or(|name| name == route.name())
                && database.is_none_or(|database| database == route.database().0)
        })
    }

    fn databases(&self, routes: &Routes) -> BTreeSet<Database> {
        self.chosen(routes).map(|route| route.database()).collect()
    }

    fn check(&self, routes: &Routes) -> Result<(), String> {
        if let Some(name) = &self.route {
            known_route(routes, name)?;
        }
        if self.databases(routes).is_empty()
            && let Some(database) = self.database
        {
            let of = self
                .route
                .as_ref()
                .map_or("the routes take".to_owned(), |route| {
                    format!("route `{route}` takes")
                });
            let there = Self {
                database: None,
                ..self.clone()
            };
            let there: Vec<String> = there
                .databases(routes)
                .iter()
                .map(ToString::to_string)
                .collect();
            return Err(format!(
                "{of} no stream of database {database}, but of {}",
                there.join(", ")
            ));
        }
        match &self.stream {
            Some(stream) => self.known_stream(routes, stream),
            None => Ok(()),
        }
    }

    fn known_stream(&self, routes: &Routes, name: &str) -> Result<(), String> {
        let bind = |select: &Self| {
            let all = select.databases(routes).into_iter();
            let all = all.filter_map(|database| routes.bind(&StreamRef::new(database, name)));
            all.collect::<Vec<Binding>>()
        };
        let of_route = |binding: &Binding| {
            self.route
                .as_ref()
                .is_none_or(|route| route == binding.route().name())
        };
        if bind(self).iter().any(of_route) {
            return Ok(());
        }
        let anywhere = Self::default();
        if let Some(other) = bind(&anywhere).first() {
            let other = other.route();
            return Err(format!(
                "stream `{name}` belongs to route `{}` in database {}, which is not what was asked for",
                other.name(),
                other.database()
            ));
        }
        let mut taken: Vec<String> = Vec::new();
        for route in self.chosen(routes) {
            taken.extend(route.fixed_streams().iter().map(StreamName::to_string));
        }
        let patterns: Vec<String> = self
            .chosen(routes)
            .flat_map(|route| route.config().streams.clone())
            .collect();
        Err(format!(
            "no route takes a stream `{name}`{} Taken are: {}",
            meant(name, &taken),
            listed(&patterns)
        ))
    }
}

fn known_route(routes: &Routes, name: &str) -> Result<(), String> {
    let names: Vec<String> = routes.iter().map(|route| route.name().to_owned()).collect();
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(format!(
        "there is no route `{name}`{} The routes are: {}",
        meant(name, &names),
        listed(&names)
    ))
}

/// `; did you mean ...?` where a name is near, otherwise the sentence ends.
fn meant(wanted: &str, names: &[String]) -> String {
    let likeness =
        |name: &String| strsim::jaro_winkler(&name.to_lowercase(), &wanted.to_lowercase());
    names
        .iter()
        .map(|name| (likeness(name), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(
            || ".".to_owned(),
            |(_, name)| format!("; did you mean `{name}`?"),
        )
}

fn listed(names: &[String]) -> String {
    let mut shown: Vec<&str> = names.iter().take(LISTED).map(String::as_str).collect();
    let more = format!("{} more", names.len().saturating_sub(LISTED));
    if names.len() > LISTED {
        shown.push(&more);
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::parity::Bound;

    fn routes() -> Routes {
        #[derive(Deserialize)]
        struct File {
            routes: Vec<config::Route>,
        }
        let route = |name: &str, more: &str| {
            format!("[[routes]]\nname='{name}'\npartitions=2\nvalue={{field='v'}}\n{more}\n")
        };
        let text = route("chat", "streams=['msg:stream:{0..3}']\ntopic='messages'")
            + &route("tasks", "streams=['jobs','t:*']\ntopic='tasks'\ndatabase=1");
        let file: File = toml::from_str(&text).unwrap();
        Routes::compile("m", &file.routes, Database(0)).unwrap()
    }

    fn select(route: &str, stream: &str, database: Option<u32>) -> Select {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Select {
            route: given(route),
            stream: given(stream),
            database,
            ..Select::default()
        }
    }

    fn refused(select: &Select) -> String {
        select
            .request(&routes(), None, false, SystemTime::now())
            .expect_err("not to be had")
    }

    #[test]
    fn what_there_is_can_be_asked_for() {
        for select in [
            select("", "", None),
            select("chat", "msg:stream:2", Some(0)),
            select("", "t:anything", None),
            select("tasks", "", Some(1)),
        ] {
            let asked = select.request(&routes(), None, false, SystemTime::now());
            assert_eq!(asked.unwrap().stream, select.stream);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_there_are_and_the_nearest() {
        assert_eq!(
            refused(&select("chats", "", None)),
            "there is no route `chats`; did you mean `chat`? The routes are: chat, tasks"
        );
        assert_eq!(
            refused(&select("zzz", "", None)),
            "there is no route `zzz`. The routes are: chat, tasks"
        );
        assert_eq!(
            refused(&select("", "msg:stream:33", None)),
            "no route takes a stream `msg:stream:33`; did you mean `msg:stream:3`? Taken are: msg:stream:{0..3}, jobs, t:*"
        );
    }

    #[test]
    fn a_stream_of_another_route_or_database_is_said_to_be_there() {
        for select in [
            select("chat", "jobs", None),
            select("", "jobs", Some(0)),
            select("chat", "t:1", Some(0)),
        ] {
            let why = refused(&select);
            assert!(
                why.contains("belongs to route `tasks` in database 1"),
                "{why}"
            );
        }
        assert_eq!(
            refused(&select("", "", Some(7))),
            "the routes take no stream of database 7, but of 0, 1"
        );
        assert_eq!(
            refused(&select("tasks", "", Some(0))),
            "route `tasks` takes no stream of database 0, but of 1"
        );
    }

    #[test]
    fn a_range_that_is_upside_down_is_refused_in_the_words_it_was_asked_in() {
        let mut asked = select("", "", None);
        asked.from = Some("1h".parse().unwrap());
        asked.to = Some("2h ago".parse().unwrap());
        let why = refused(&asked);
        assert!(why.contains("--from 1h lies behind --to 2h ago"), "{why}");
        std::mem::swap(&mut asked.from, &mut asked.to);
        let request = asked.request(&routes(), None, false, SystemTime::now());
        assert!(matches!(request.unwrap().from, Some(Bound::TimeMs(_))));
        assert_eq!(asked.asked(None, false).from.as_deref(), Some("2h ago"));
    }
}
