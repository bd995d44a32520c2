//! What `check` found: how bad, what, where, and what to do.

use serde::Serialize;

/// How bad. The order is that of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It will not work, or not as promised.
    Error,
    /// It works, and something will be lost or misplaced unless somebody looks.
    Warning,
    /// Good to know before the applications move.
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    pub what: String,
    #[serde(rename = "where")]
    pub place: String,
    #[serde(rename = "do")]
    pub action: String,
}

/// Everything found so far.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn add(
        &mut self,
        level: Level,
        place: impl Into<String>,
        what: impl Into<String>,
        action: impl Into<String>,
    ) {
        self.0.push(Finding {
            level,
            what: what.into(),
            place: place.into(),
            action: action.into(),
        });
    }

    /// Worst first; what was found in several places is said once.
    #[must_use]
    pub fn finish(self) -> Vec<Finding> {
        let mut merged: Vec<(Finding, Vec<String>)> = Vec::new();
        for finding in self.0 {
            let alike = |other: &&mut (Finding, Vec<String>)| {
                (other.0.level, &other.0.what, &other.0.action)
                    == (finding.level, &finding.what, &finding.action)
            };
            match merged.iter_mut().find(alike) {
                Some((_, places)) if places.contains(&finding.place) => {}
                Some((_, places)) => places.push(finding.place),
                None => {
                    let places = vec![finding.place.clone()];
                    merged.push((finding, places));
                }
            }
        }
        let mut findings: Vec<Finding> = merged
            .into_iter()
            .map(|(finding, places)| Finding {
                place: spoken(&places),
                ..finding
            })
            .collect();
        findings.sort_by_key(|finding| finding.level);
        findings
    }
}

/// Some places by name, the others by number.
fn spoken(places: &[String]) -> String {
    const NAMED: usize = 4;
    let named = places[..places.len().min(NAMED)].join(", ");
    match places.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.level {
            Level::Error => "ERROR  ",
            Level::Warning => "warning",
            Level::Note => "note   ",
        };
        write!(
            f,
            "{word} {}: {}\n        do: {}",
            self.place, self.what, self.action
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_the_same_is_said_once() {
        let mut findings = Findings::default();
        findings.add(Level::Note, "a", "good to know", "nothing");
        for place in ["s0", "s1", "s1", "s2", "s3", "s4", "s5"] {
            findings.add(Level::Error, place, "broken", "mend it");
        }
        let told: Vec<String> = findings.finish().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "ERROR   s0, s1, s2, s3 and 2 more: broken\n        do: mend it",
                "note    a: good to know\n        do: nothing",
            ]
        );
    }
}
