//! The chain of a report's windows: each link is the SHA-256 of the link before and of everything that its window says.
//!
//! The first link before any window covers the report's head (migration, configuration, seed, share). The last link, which
//! is the report's, covers the last window's and all that the report says beside its windows: what was asked, the counts,
//! the verdict, the differences. So whoever knows the last link knows that nothing was altered, left out, put in or moved.
//! It proves nothing against one who may rewrite the report and the note of its last link; that is what keeping the note
//! elsewhere is for.

use ring::digest::{Context, SHA256};

use super::Report;
use crate::parity::WindowDigest;

/// The link that the first window's goes on from.
#[must_use]
pub fn head(report: &Report) -> String {
    let share = report
        .outcome
        .sampled
        .map_or_else(String::new, |share| share.to_string());
    let from = report
        .from
        .map_or_else(String::new, |from| from.to_string());
    hash(&[
        &report.schema,
        &report.migration,
        &report.configuration,
        &report.seed,
        &from,
        &share,
    ])
}

/// The link of each window.
#[must_use]
pub fn links(report: &Report) -> Vec<String> {
    let mut before = head(report);
    report
        .windows
        .iter()
        .map(|link| {
            before = next(&before, &link.window);
            before.clone()
        })
        .collect()
}

/// The link that closes the report: over the last of these and all that the report says beside its windows.
#[must_use]
pub fn last(report: &Report, links: &[String]) -> String {
    let before = links.last().cloned().unwrap_or_else(|| head(report));
    hash(&[&before, &report.beside_windows()])
}

fn next(before: &str, window: &WindowDigest) -> String {
    hash(&[
        before,
        &window.database.to_string(),
        &window.stream,
        &window.after.to_string(),
        &window.through.to_string(),
        &window.entries.to_string(),
        &window.records.to_string(),
        &window.digest,
        &window.kafka_digest,
        if window.level { "level" } else { "apart" },
    ])
}

/// Each part begins with its length, so that no two different lists are hashed alike.
fn hash(parts: &[&str]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Where the chain does not hold, in words; `None`: it holds.
#[must_use]
pub fn broken(report: &Report) -> Option<String> {
    let links = links(report);
    let first = links
        .iter()
        .zip(&report.windows)
        .position(|(link, window)| *link != window.chain);
    if let Some(at) = first {
        let window = &report.windows[at].window;
        return Some(format!(
            "the chain breaks at window {} of {} (stream {}/{}, {} to {}): this window, one before it or the report's head is \
             not as it was written",
            at + 1,
            links.len(),
            window.database,
            window.stream,
            window.after,
            window.through
        ));
    }
    (last(report, &links) != report.chain).then(|| {
        "the report's last link is not over what it says: its verdict, its counts, its differences or what was asked are not as \
         they were written, or windows were taken from the report's end, or added"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;
    use crate::status::ParityState;

    #[test]
    fn whatever_is_altered_breaks_the_chain_there() {
        assert_eq!(broken(&report()), None);
        let breaks = |change: fn(&mut Report)| {
            let mut report = report();
            change(&mut report);
            broken(&report).unwrap_or_else(|| panic!("not found"))
        };
        assert!(
            breaks(|r| r.windows[1].window.digest.replace_range(..1, "f"))
                .contains("window 2 of 3")
        );
        assert!(breaks(|r| r.windows[1].window.level = true).contains("window 2 of 3"));
        assert!(breaks(|r| r.windows[2].window.entries += 1).contains("window 3 of 3"));
        assert!(breaks(|r| drop(r.windows.remove(0))).contains("window 1 of 2"));
        assert!(breaks(|r| r.windows.swap(0, 2)).contains("window 1 of 3"));
        assert!(breaks(|r| r.seed = "1".to_owned()).contains("window 1 of 3"));
        assert!(breaks(|r| drop(r.windows.pop())).contains("report's end"));
        assert!(breaks(|r| r.windows.clear()).contains("report's end"));
    }

    #[test]
    fn whatever_the_report_says_is_in_its_last_link() {
        let changes: [fn(&mut Report); 10] = [
            |r| r.outcome.verdict = ParityState::Level,
            |r| *r.outcome.counts.classes.get_mut("missing").unwrap() = 0,
            |r| r.outcome.counts.redis_entries += 1,
            |r| r.outcome.routes.clear(),
            |r| drop(r.outcome.differences.pop()),
            |r| r.outcome.lower_bound = Some(1.0),
            |r| r.outcome.began_at.clear(),
            |r| r.asked.stream = Some("another".to_owned()),
            |r| r.to = Some(crate::entry::EntryId::new(5, 0)),
            |r| r.version.push('1'),
        ];
        for (nth, change) in changes.into_iter().enumerate() {
            let mut report = report();
            change(&mut report);
            let why = broken(&report).unwrap_or_else(|| panic!("change {nth} was not found"));
            assert!(why.contains("verdict"), "{nth}: {why}");
        }
    }

    #[test]
    fn parts_that_run_together_are_not_the_same() {
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        // SHA-256 of eight zero bytes: the length of an empty part.
        assert_eq!(
            hash(&[""]),
            "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"
        );
    }
}
