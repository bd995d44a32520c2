//! The applications that follow the flags, as far as this process heard of them, and what of that is not kept in Redis yet.
//!
//! An application is heard by whichever instance it asks, and waited for by the one that steers. So what is heard is kept in
//! Redis, where that one reads it, and where it outlives both. It is numbered as it comes in: who was answered that it is known
//! is known to all of them, because the answer waits until its number is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::flags::{Clients, Following};
use crate::logging::printable;
use crate::streams::{Acknowledgements, HeardOf};

/// How long an application is known that left an acknowledgement nobody can read.
const UNREADABLE_MS: i64 = 10_000;
/// So many are kept in one exchange.
const AT_ONCE: usize = 500;

/// Shared; nothing is awaited under its lock.
#[derive(Clone, Default)]
pub struct Followers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    /// The number of what was heard last.
    heard: watch::Sender<u64>,
    /// All up to this number is kept.
    kept: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    clients: Clients,
    unkept: BTreeMap<String, Unkept>,
}

#[derive(Clone, Copy)]
struct Unkept {
    n: u64,
    /// The first number of this application's that is not kept.
    first: u64,
    version: u64,
    until_ms: i64,
}

/// Some of what is to be kept, and how far everything is once it is.
pub struct Keeping {
    pub batch: Vec<HeardOf>,
    numbers: Vec<u64>,
}

impl Followers {
    pub(super) fn expecting(names: &[String]) -> Self {
        let inner = Inner {
            clients: Clients::expecting(names),
            ..Inner::default()
        };
        Self(Arc::new(Shared {
            inner: Mutex::new(inner),
            ..Shared::default()
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0
            .inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// An application says which version of the flags it has. `false`: too many are known.
    #[must_use]
    pub fn acknowledged(&self, client: &str, version: u64, lifetime_ms: i64, now_ms: i64) -> bool {
        let mut inner = self.lock();
        if !inner.clients.seen(client, version, lifetime_ms, now_ms) {
            return false;
        }
        let n = *self.0.heard.borrow() + 1;
        let until_ms = now_ms.saturating_add(lifetime_ms);
        let first = inner.unkept.get(client).map_or(n, |known| known.first);
        inner.unkept.insert(
            client.to_owned(),
            Unkept {
                n,
                first,
                version,
                until_ms,
            },
        );
        self.0.heard.send_replace(n);
        true
    }

    /// The number of what was heard last.
    #[must_use]
    pub fn heard_number(&self) -> u64 {
        *self.0.heard.borrow()
    }

    /// All up to this number is kept.
    #[must_use]
    pub fn kept_number(&self) -> u64 {
        *self.0.kept.borrow()
    }

    /// Waits until all that was heard up to now is kept. Cancel safe.
    pub async fn kept(&self) {
        let all = self.heard_number();
        // The sender lives as long as this does.
        let _ = self.0.kept.subscribe().wait_for(|kept| *kept >= all).await;
    }

    /// Waits until there is something to keep. Cancel safe.
    pub(in crate::migration) async fn unkept(&self) {
        let kept = self.kept_number();
        let mut heard = self.0.heard.subscribe();
        let _ = heard.wait_for(|heard| *heard > kept).await;
    }

    /// Some of what is to be kept; what has ended meanwhile need not be.
    pub(in crate::migration) fn to_keep(&self, now_ms: i64) -> Keeping {
        let mut inner = self.lock();
        inner.unkept.retain(|_, one| one.until_ms > now_ms);
        let some = inner.unkept.iter().take(AT_ONCE);
        let (batch, numbers) = some
            .map(|(client, one)| {
                let left_ms = u64::try_from(one.until_ms - now_ms).unwrap_or(1);
                let heard = HeardOf {
                    client: client.clone(),
                    version: one.version,
                    left_ms,
                };
                (heard, one.n)
            })
            .unzip();
        Keeping { batch, numbers }
    }

    /// It is kept. What was heard of the same applications since then is still to be.
    pub(in crate::migration) fn keep(&self, done: &Keeping) {
        let mut inner = self.lock();
        for (one, n) in done.batch.iter().zip(&done.numbers) {
            match inner.unkept.get_mut(&one.client) {
                Some(known) if known.n == *n => drop(inner.unkept.remove(&one.client)),
                Some(known) => known.first = n + 1,
                None => {}
            }
        }
        let first = inner.unkept.values().map(|one| one.first).min();
        let kept = first.map_or(self.heard_number(), |first| first - 1);
        self.0.kept.send_if_modified(|known| {
            let further = *known < kept;
            *known = (*known).max(kept);
            further
        });
    }

    /// What was left in Redis, by applications and by instances that heard them; of one that left two the older counts. Where there
    /// are more than can be looked at, it is not known who follows. A version
    /// that was never told, a text that is no version and a key that never ends are no acknowledgement: its writer is known, and
    /// follows nothing. A name with control characters counts as it is printed. What this process heard and has not kept yet is newer than what is there.
    pub fn heard(&self, all: &Acknowledgements, told: u64, now_ms: i64) {
        let mut read: BTreeMap<String, (u64, i64)> = BTreeMap::new();
        for one in &all.found {
            let version = one.version.filter(|version| *version <= told);
            let (version, left_ms) = match (version, one.left_ms) {
                (Some(version), Some(left_ms)) => (version, left_ms),
                _ => (0, UNREADABLE_MS),
            };
            let known = read
                .entry(printable(&one.client))
                .or_insert((version, left_ms));
            *known = (known.0.min(version), known.1.max(left_ms));
        }
        let mut inner = self.lock();
        if all.cut_off {
            inner
                .clients
                .leave_out(now_ms.saturating_add(UNREADABLE_MS));
        }
        for (client, (version, left_ms)) in read {
            if !inner.unkept.contains_key(&client) {
                let until_ms = now_ms.saturating_add(left_ms);
                // One that finds no room is left out, and what follows says so.
                let _ = inner.clients.seen_until(&client, version, until_ms, now_ms);
            }
        }
    }

    #[must_use]
    pub fn following(&self, version: u64, now_ms: i64) -> Following {
        self.lock().clients.following(version, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Acknowledged;

    #[test]
    fn what_is_heard_again_while_it_is_being_kept_is_still_to_be_kept() {
        let followers = Followers::default();
        assert!(followers.acknowledged("billing", 3, 10_000, 0));
        let keeping = followers.to_keep(1_000);
        assert_eq!(
            (keeping.batch[0].version, keeping.batch[0].left_ms),
            (3, 9_000)
        );
        assert!(followers.acknowledged("billing", 4, 10_000, 1_000));
        assert!(followers.acknowledged("search", 3, 10_000, 1_000));
        followers.keep(&keeping);
        assert_eq!(followers.kept_number(), 1);
        let keeping = followers.to_keep(2_000);
        assert_eq!(keeping.batch.len(), 2);
        followers.keep(&keeping);
        assert_eq!(followers.kept_number(), followers.heard_number());
    }

    #[test]
    fn what_was_replaced_before_it_was_kept_is_not_called_kept() {
        let followers = Followers::default();
        assert!(followers.acknowledged("search", 3, 10_000, 0));
        let keeping = followers.to_keep(0);
        assert!(followers.acknowledged("billing", 3, 10_000, 0));
        assert!(followers.acknowledged("billing", 3, 10_000, 0));
        followers.keep(&keeping);
        assert_eq!(followers.kept_number(), 1, "billing's first is not there");
    }

    fn found(all: &[Acknowledged]) -> Acknowledgements {
        Acknowledgements {
            found: all.to_vec(),
            cut_off: false,
        }
    }

    #[test]
    fn of_two_that_one_application_left_the_older_counts() {
        let left = |version, left_ms| Acknowledged {
            client: "billing".to_owned(),
            version: Some(version),
            left_ms: Some(left_ms),
        };
        let followers = Followers::default();
        followers.heard(&found(&[left(7, 9_000), left(6, 4_000)]), 7, 0);
        assert_eq!(followers.following(7, 0).behind, ["billing"]);
        followers.heard(&found(&[left(7, 8_000)]), 7, 1_000);
        assert_eq!(followers.following(7, 1_000).behind, [""; 0]);
    }

    #[test]
    fn a_name_in_redis_that_would_forge_a_line_is_waited_for_as_it_is_shown() {
        let left = |client: &str| Acknowledged {
            client: client.to_owned(),
            version: Some(6),
            left_ms: Some(9_000),
        };
        let followers = Followers::default();
        let all = ["billing", "b\n42 12:00 done", "\x1b[2J"].map(left);
        followers.heard(&found(&all), 7, 0);
        let behind = followers.following(7, 0).behind;
        assert_eq!(behind, [r"\u{1b}[2J", r"b\n42 12:00 done", "billing"]);
    }

    #[test]
    fn what_is_heard_here_is_newer_than_what_is_kept_there() {
        let followers = Followers::default();
        assert!(followers.acknowledged("billing", 7, 10_000, 0));
        let old = Acknowledged {
            client: "billing".to_owned(),
            version: Some(6),
            left_ms: Some(9_000),
        };
        let old = found(&[old]);
        followers.heard(&old, 7, 0);
        assert_eq!(followers.following(7, 0).behind, [""; 0]);
        followers.keep(&followers.to_keep(0));
        followers.heard(&old, 7, 1_000);
        assert_eq!(followers.following(7, 1_000).behind, ["billing"]);
    }

    #[test]
    fn more_than_can_be_looked_at_are_not_said_to_follow() {
        let followers = Followers::default();
        let all = Acknowledgements {
            cut_off: true,
            ..found(&[])
        };
        followers.heard(&all, 7, 1_000);
        assert!(followers.following(7, 1_000).left_out);
        assert!(!followers.following(7, 60_000).left_out);
    }
}
