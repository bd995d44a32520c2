//! Which streams the routes take, seen once from outside: those named, and those that match a glob now.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::{Database, StreamRef};
use crate::routing::{Binding, Routes};
use crate::streams::{Error, Redis};

/// The streams named by the routes, whether or not they exist.
#[must_use]
pub fn named(routes: &Routes) -> BTreeMap<StreamRef, Binding> {
    let mut named = BTreeMap::new();
    for route in routes.iter() {
        for name in route.fixed_streams() {
            let stream = StreamRef {
                database: route.database(),
                name,
            };
            if let Some(binding) = routes.bind(&stream) {
                named.insert(stream, binding);
            }
        }
    }
    named
}

/// Adds the streams that match the routes' globs now.
///
/// # Errors
/// Redis gave no answer, or does not let this user look.
pub async fn matching(
    redis: &Redis,
    routes: &Routes,
    found: &mut BTreeMap<StreamRef, Binding>,
) -> Result<(), Error> {
    for (database, pattern) in patterns(routes) {
        let mut connection = redis.connect(database).await?;
        let mut cursor = 0;
        loop {
            let (next, names) = connection.scan(&pattern, cursor).await?;
            for name in names {
                let stream = StreamRef { database, name };
                if !found.contains_key(&stream)
                    && let Some(binding) = routes.bind(&stream)
                {
                    found.insert(stream, binding);
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

fn patterns(routes: &Routes) -> BTreeSet<(Database, Vec<u8>)> {
    let all = routes.iter().flat_map(|route| {
        let database = route.database();
        route
            .globs()
            .into_iter()
            .map(move |glob| (database, glob.scan_pattern().to_vec()))
    });
    all.collect()
}

/// Whether any route finds its streams by a glob.
#[must_use]
pub fn has_globs(routes: &Routes) -> bool {
    routes.iter().any(|route| !route.globs().is_empty())
}
