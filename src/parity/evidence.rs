//! Evidence for a gate: what the auditor has closed of a route in a span of time, and what share of matches it shows.
//!
//! Only closed windows speak, and only what of them could be verified: an hour in which nothing came is no evidence, nor is
//! what one side no longer has. The share is shown by its 95 % bound and not by the ratio, so that a few entries without a
//! fault show little: that fewer than 0.1 % are at fault takes 2 995.
//!
//! The ring keeps the last windows of each stream; what it no longer has does not count, in either direction.

use std::sync::Arc;

use serde::Serialize;

use crate::bound::lower_bound;
use crate::placement::Shard;
use crate::tasks::passed_on;

use super::class::Counts;
use super::edges::{Edges, KAFKA_TIMEOUT};
use super::error::Error;
use super::store::{self, ClosedWindow};

/// A span of time: milliseconds since 1970, the first included, the last not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    pub from_ms: i64,
    pub to_ms: i64,
}

/// What was compared of a route in a span.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    pub route: String,
    pub span: Span,
    pub windows: u64,
    pub counts: Counts,
    /// When the first of the windows was closed: before that the span is not covered.
    pub first_ms: Option<i64>,
    /// With 95 % confidence at least this share matches; `None`: nothing could be verified.
    pub lower_bound: Option<f64>,
}

/// Whether a share of matches is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shown {
    Pass,
    Fail,
    /// Too little was compared to say.
    Inconclusive,
}

impl Evidence {
    /// Of these windows those that are the route's and were closed in the span.
    pub fn of<'a>(
        route: &str,
        span: Span,
        windows: impl IntoIterator<Item = &'a ClosedWindow>,
    ) -> Self {
        let mut evidence = Self {
            route: route.to_owned(),
            span,
            windows: 0,
            counts: Counts::default(),
            first_ms: None,
            lower_bound: None,
        };
        for window in windows {
            if window.route != route || !(span.from_ms..span.to_ms).contains(&window.closed_ms) {
                continue;
            }
            evidence.windows += 1;
            evidence.counts.add(&window.counts);
            let first = evidence.first_ms.get_or_insert(window.closed_ms);
            *first = window.closed_ms.min(*first);
        }
        let counts = &evidence.counts;
        evidence.lower_bound = lower_bound(counts.verified(), counts.faults());
        evidence
    }

    /// Whether at least this share of the entries matches.
    #[must_use]
    pub fn shows(&self, share: f64) -> Shown {
        let (verified, faults) = (self.counts.verified(), self.counts.faults());
        match self.lower_bound {
            None => Shown::Inconclusive,
            Some(bound) if bound >= share => Shown::Pass,
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            Some(_) if faults as f64 > (1.0 - share) * verified as f64 => Shown::Fail,
            Some(_) => Shown::Inconclusive,
        }
    }
}

/// Reads what the auditors of all shards have closed.
///
/// # Errors
/// Kafka gave no answer.
pub async fn evidence(edges: &Arc<Edges>, route: &str, span: Span) -> Result<Evidence, Error> {
    let topic = store::topic(&edges.migration);
    let found = edges.admin.layouts(std::slice::from_ref(&topic)).await?;
    let shards = found
        .get(&topic)
        .map_or(0, crate::topics::TopicState::partition_count);
    let edges = Arc::clone(edges);
    let read = tokio::task::spawn_blocking(move || {
        let mut windows = Vec::new();
        for shard in (0..shards).map(Shard) {
            let of_shard = store::windows(&edges.kafka, &topic, shard, KAFKA_TIMEOUT)?;
            windows.extend(of_shard.into_values());
        }
        Ok::<_, Error>(windows)
    });
    let windows = passed_on(read.await)?;
    Ok(Evidence::of(route, span, &windows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryId;
    use crate::parity::class::Class;
    use crate::parity::store::Ending;

    fn window(route: &str, closed_ms: i64, counts: Counts) -> ClosedWindow {
        ClosedWindow {
            route: route.to_owned(),
            number: 0,
            generation: 0,
            from: EntryId::ZERO,
            through: EntryId::MAX,
            result: Ending::Sealed,
            counts,
            digest: None,
            seed: None,
            closed_ms,
        }
    }

    const SPAN: Span = Span {
        from_ms: 10,
        to_ms: 20,
    };

    #[test]
    fn only_the_routes_own_windows_of_the_span_speak() {
        let windows = [
            window("r", 9, Counts::level(100, 0)),
            window("r", 10, Counts::level(3, 1)),
            window("other", 15, Counts::level(100, 0)),
            window("r", 19, Counts::level(4, 0)),
            window("r", 20, Counts::level(100, 0)),
        ];
        let evidence = Evidence::of("r", SPAN, &windows);
        assert_eq!((evidence.windows, evidence.counts.total()), (2, 7));
        assert_eq!(evidence.first_ms, Some(10));
    }

    #[test]
    fn a_share_is_shown_by_its_bound() {
        let shows = |counts| Evidence::of("r", SPAN, &[window("r", 10, counts)]).shows(0.999);
        assert_eq!(shows(Counts::level(2_995, 0)), Shown::Pass);
        assert_eq!(shows(Counts::level(2_994, 0)), Shown::Inconclusive);
        let mut faulty = Counts::level(100, 0);
        faulty.add(&Counts::redis_alone(Class::Missing));
        assert_eq!(shows(faulty), Shown::Fail);
    }

    #[test]
    fn what_could_not_be_verified_is_no_evidence() {
        let none = Evidence::of("r", SPAN, &[]);
        assert_eq!(
            (none.lower_bound, none.shows(0.5)),
            (None, Shown::Inconclusive)
        );
        let gone = Counts::kafka_alone(Class::Unverifiable, 5_000);
        let gone = Evidence::of("r", SPAN, &[window("r", 10, gone)]);
        assert_eq!(gone.shows(0.5), Shown::Inconclusive);
    }
}
