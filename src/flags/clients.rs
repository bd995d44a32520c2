//! Which applications follow the flags, and how far: pure.
//!
//! A client is known while it fetched or acknowledged within its lifetime, which is two of its polling periods. One that is
//! silent for longer is forgotten: it may be gone, and nothing can be said of it. One that the configuration names is never
//! forgotten: while it is silent it is behind, by name. (A client that is neither cannot be waited for; what it writes to the
//! wrong store is a stray, which is found elsewhere.)

use std::collections::{BTreeMap, BTreeSet};

/// So many are kept apart; more are refused, so that a stranger cannot fill the memory. While one is refused, it is not known
/// that all follow.
const MOST: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Client {
    version: u64,
    /// Since when it has had this version or a newer one than was last asked for.
    since_ms: i64,
    until_ms: i64,
    lifetime_ms: i64,
}

/// The known clients.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    seen: BTreeMap<String, Client>,
    expected: BTreeSet<String>,
    /// Until then one that found no room would be known.
    left_out_until_ms: i64,
}

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
    /// There are more than are kept apart, and nothing is known of those.
    pub left_out: bool,
}

impl Clients {
    /// With clients that are known whether they say anything or not.
    #[must_use]
    pub fn expecting(names: &[String]) -> Self {
        Self {
            expected: names.iter().cloned().collect(),
            ..Self::default()
        }
    }

    /// A client says which version it has. `false`: there are too many.
    pub fn seen(&mut self, name: &str, version: u64, lifetime_ms: i64, now_ms: i64) -> bool {
        let until_ms = now_ms.saturating_add(lifetime_ms);
        self.take(name, version, until_ms, lifetime_ms, now_ms)
    }

    /// The same from what it left somewhere, which ends at a time of its own. What is left of it tells the client's period
    /// only when it was just written, so the longest that was seen counts.
    pub fn seen_until(&mut self, name: &str, version: u64, until_ms: i64, now_ms: i64) -> bool {
        let longest = self.seen.get(name).map_or(0, |client| client.lifetime_ms);
        let lifetime_ms = until_ms.saturating_sub(now_ms).max(longest);
        self.take(name, version, until_ms, lifetime_ms, now_ms)
    }

    fn take(
        &mut self,
        name: &str,
        version: u64,
        until_ms: i64,
        lifetime_ms: i64,
        now_ms: i64,
    ) -> bool {
        if !self.seen.contains_key(name) && self.seen.len() >= MOST {
            self.forget(now_ms);
            if self.seen.len() >= MOST {
                self.leave_out(until_ms);
                return false;
            }
        }
        let since_ms = match self.seen.get(name) {
            Some(client) if client.version == version => client.since_ms,
            _ => now_ms,
        };
        let client = Client {
            version,
            since_ms,
            until_ms,
            lifetime_ms,
        };
        self.seen.insert(name.to_owned(), client);
        true
    }

    /// There are clients that are not taken in; so it is until then.
    pub fn leave_out(&mut self, until_ms: i64) {
        self.left_out_until_ms = self.left_out_until_ms.max(until_ms);
    }

    fn forget(&mut self, now_ms: i64) {
        self.seen.retain(|_, client| now_ms <= client.until_ms);
    }

    /// How the clients that are known now stand to `version`.
    pub fn following(&mut self, version: u64, now_ms: i64) -> Following {
        self.forget(now_ms);
        let silent = self
            .expected
            .iter()
            .filter(|name| !self.seen.contains_key(*name));
        let mut following = Following {
            behind: silent.map(|name| format!("{name} (silent)")).collect(),
            left_out: now_ms < self.left_out_until_ms,
            ..Following::default()
        };
        following.known = (self.seen.len() + following.behind.len()) as u64;
        for (name, client) in &self.seen {
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
    fn one_that_is_expected_is_waited_for_by_name_even_when_silent() {
        let mut clients = Clients::expecting(&["billing".to_owned()]);
        let silent = vec!["billing (silent)".to_owned()];
        assert_eq!(clients.following(1, 0).behind, silent);
        clients.seen("billing", 1, 10_000, 0);
        clients.seen("chat", 1, 60_000, 0);
        assert_eq!(clients.following(1, 10_000).behind, [""; 0]);
        let following = clients.following(1, 10_001);
        assert_eq!((following.known, following.behind), (2, silent));
    }

    #[test]
    fn what_was_left_somewhere_counts_until_it_ends() {
        let mut clients = Clients::default();
        clients.seen_until("billing", 3, 10_000, 0);
        clients.seen_until("billing", 3, 10_000, 9_000);
        let following = clients.following(3, 10_000);
        assert_eq!(
            (following.known, following.last_ms, following.period_ms),
            (1, Some(0), Some(5_000))
        );
        assert_eq!(clients.following(3, 10_001).known, 0);
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let mut clients = Clients::default();
        for n in 0..MOST {
            assert!(clients.seen(&n.to_string(), 1, 1_000, 0));
        }
        assert!(!clients.following(1, 500).left_out);
        assert!(!clients.seen("one more", 1, 1_000, 500));
        assert!(
            clients.following(1, 600).left_out,
            "and nobody says that all follow"
        );
        assert!(!clients.following(1, 1_500).left_out);
        assert!(
            clients.seen("one more", 1, 1_000, 2_000),
            "the silent ones made room"
        );
    }
}
