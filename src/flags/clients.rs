//! Which applications follow the flags, and how far: pure.
//!
//! A client is known while it fetched or acknowledged within its lifetime, which is two of its polling periods. One that is
//! silent for longer is forgotten: it may be gone, and nothing can be said of it. (A client that was never known cannot be
//! waited for; what it writes to the wrong store is a stray, which is found elsewhere.)

use std::collections::BTreeMap;

/// So many are kept apart; more are refused, so that a stranger cannot fill the memory.
const MOST: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Client {
    version: u64,
    /// Since when it has had this version or a newer one than was last asked for.
    since_ms: i64,
    seen_ms: i64,
    lifetime_ms: i64,
}

/// The known clients.
#[derive(Clone, Debug, Default)]
pub struct Clients(BTreeMap<String, Client>);

/// How the known clients stand to a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    pub known: u64,
    /// Those that have an older version, by name.
    pub behind: Vec<String>,
    /// When the last of those that follow did so; `None`: nobody does.
    pub last_ms: Option<i64>,
    /// The longest that a known client may take to ask again.
    pub period_ms: Option<i64>,
}

impl Clients {
    /// A client says which version it has. `false`: there are too many.
    pub fn seen(&mut self, name: &str, version: u64, lifetime_ms: i64, now_ms: i64) -> bool {
        if !self.0.contains_key(name) && self.0.len() >= MOST {
            self.forget(now_ms);
            if self.0.len() >= MOST {
                return false;
            }
        }
        let client = self.0.entry(name.to_owned()).or_insert(Client {
            version,
            since_ms: now_ms,
            seen_ms: now_ms,
            lifetime_ms,
        });
        if version != client.version {
            client.since_ms = now_ms;
        }
        client.version = version;
        client.seen_ms = now_ms;
        client.lifetime_ms = lifetime_ms;
        true
    }

    fn forget(&mut self, now_ms: i64) {
        self.0
            .retain(|_, client| now_ms.saturating_sub(client.seen_ms) <= client.lifetime_ms);
    }

    /// How the clients that are known now stand to `version`.
    pub fn following(&mut self, version: u64, now_ms: i64) -> Following {
        self.forget(now_ms);
        let mut following = Following {
            known: self.0.len() as u64,
            ..Following::default()
        };
        for (name, client) in &self.0 {
            if client.version >= version {
                following.last_ms = following.last_ms.max(Some(client.since_ms));
            } else {
                following.behind.push(name.clone());
            }
            following.period_ms = following.period_ms.max(Some(client.lifetime_ms / 2));
        }
        following
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_and_who_does_not() {
        let mut clients = Clients::default();
        assert_eq!(clients.following(1, 0), Following::default());
        clients.seen("billing", 3, 10_000, 0);
        clients.seen("chat", 4, 20_000, 1_000);
        let following = clients.following(4, 2_000);
        assert_eq!(
            (following.known, following.behind),
            (2, vec!["billing".to_owned()])
        );
        assert_eq!(
            (following.last_ms, following.period_ms),
            (Some(1_000), Some(10_000))
        );
        clients.seen("billing", 4, 10_000, 5_000);
        clients.seen("billing", 4, 10_000, 6_000);
        let following = clients.following(4, 6_000);
        assert_eq!(
            (following.behind.len(), following.last_ms),
            (0, Some(5_000)),
            "since it first had it"
        );
    }

    #[test]
    fn a_silent_client_is_forgotten_after_its_lifetime() {
        let mut clients = Clients::default();
        clients.seen("billing", 3, 10_000, 0);
        assert_eq!(clients.following(3, 10_000).known, 1);
        assert_eq!(clients.following(3, 10_001).known, 0);
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let mut clients = Clients::default();
        for n in 0..MOST {
            assert!(clients.seen(&n.to_string(), 1, 1_000, 0));
        }
        assert!(!clients.seen("one more", 1, 1_000, 500));
        assert!(
            clients.seen("one more", 1, 1_000, 2_000),
            "the silent ones made room"
        );
    }
}
