//! All routes of a migration: compiled together, because what is wrong with them shows only between them.
//!
//! A stream belongs to one route. Compiling refuses two routes that could match one stream of one database, so that the
//! order of the configuration decides nothing between routes; within one route the first pattern that matches gives the
//! captures, and names come before globs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{self, Problem};
use crate::entry::{Database, StreamName, StreamRef};

use super::compile;
use super::route::{Binding, Route};

/// Streams that begin so are Lockgate's own, whatever the globs say.
pub(super) const OWN_STREAMS: &[u8] = b"lockgate:";

/// The compiled routes, in configuration order.
#[derive(Clone, Debug)]
pub struct Routes {
    routes: Vec<Arc<Route>>,
    by_name: HashMap<(Database, StreamName), usize>,
}

impl Routes {
    /// `name` is the migration's. All problems at once, each with its key's full name.
    pub fn compile(
        name: &str,
        routes: &[config::Route],
        default_database: Database,
    ) -> Result<Self, Vec<Problem>> {
        let routes: Vec<_> = compile::compile(name, routes, default_database)?
            .into_iter()
            .map(Arc::new)
            .collect();
        let mut by_name = HashMap::new();
        for route in &routes {
            for stream in route.fixed_streams() {
                by_name.insert((route.database, stream), route.index);
            }
        }
        Ok(Self { routes, by_name })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    /// The route of this stream, applied to it; `None` where no route takes it.
    #[must_use]
    pub fn bind(&self, stream: &StreamRef) -> Option<Binding> {
        if let Some(&route) = self.by_name.get(&(stream.database, stream.name.clone())) {
            return Some(self.routes[route].bind(&stream.name, &[]));
        }
        let name = stream.name.as_bytes();
        if name.starts_with(OWN_STREAMS) {
            return None;
        }
        self.routes
            .iter()
            .filter(|route| route.database == stream.database)
            .find_map(|route| {
                let globs = route.patterns.iter().flat_map(|pattern| &pattern.globs);
                let captures = globs.into_iter().find_map(|glob| glob.captures(name))?;
                Some(route.bind(&stream.name, &captures))
            })
    }
}
