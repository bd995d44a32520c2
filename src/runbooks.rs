//! The runbooks, in the binary, so that they are there when the network is not.

use include_dir::{Dir, include_dir};

static RUNBOOKS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/runbooks");

/// Name and text of each, by name.
#[must_use]
pub fn all() -> Vec<(&'static str, &'static str)> {
    let named = RUNBOOKS.files().filter_map(|file| {
        let name = file.path().file_name()?.to_str()?.strip_suffix(".md")?;
        Some((name, file.contents_utf8()?))
    });
    let mut books: Vec<_> = named.collect();
    books.sort_unstable();
    books
}

/// A runbook by its name, in any case, with or without `.md`.
#[must_use]
pub fn find(name: &str) -> Option<(&'static str, &'static str)> {
    let wanted = name.trim_end_matches(".md");
    all()
        .into_iter()
        .find(|(book, _)| book.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Reason;

    #[test]
    fn each_reason_has_its_runbook() {
        for reason in Reason::ALL {
            let name = reason.runbook();
            assert!(
                find(name).is_some_and(|(book, _)| book == name),
                "{reason}: runbooks/{name}.md"
            );
        }
    }

    #[test]
    fn each_alert_has_its_runbook() {
        let alerts = include_str!("../config/prometheus/alerts.yml");
        let names = alerts
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- alert: "));
        let named: Vec<&str> = names.collect();
        assert!(!named.is_empty());
        for name in named {
            assert!(find(name).is_some(), "runbooks/{name}.md");
        }
    }
}
