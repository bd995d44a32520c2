//! A report for people: what was compared, what was found, how sure that is, and how to check it. Pure.

use std::collections::BTreeMap;

use super::Report;
use crate::cli::output::{counted, grouped};
use crate::cli::parity::json::CountsShown;
use crate::cli::parity::text::{entries, moment};
use crate::cli::parity::words;
use crate::parity::{Class, Difference};
use crate::status::ParityState;

/// Differences that are listed; the JSON has more.
const LISTED: usize = 50;

#[must_use]
pub fn text(report: &Report) -> String {
    let mut lines = vec![
        format!("# Parity of {}", report.migration),
        String::new(),
        format!("**{}**", verdict(report)),
        String::new(),
    ];
    about(&mut lines, report);
    counts(&mut lines, report);
    unread(&mut lines, report);
    differences(&mut lines, report);
    windows(&mut lines, report);
    check(&mut lines, report);
    lines.join("\n") + "\n"
}

fn verdict(report: &Report) -> String {
    let outcome = &report.outcome;
    let counts = &outcome.counts;
    match outcome.verdict {
        ParityState::Level => format!(
            "Level: each of {} compared is in Kafka once, the same, in its place and order{}.",
            entries(verified(counts)),
            beside(counts)
        ),
        ParityState::Apart => format!(
            "Apart: {} of {} compared differ.",
            grouped(faults(counts)),
            grouped(verified(counts))
        ),
        ParityState::Unknown => format!(
            "It could not be told: {}.",
            outcome
                .unknown_because
                .as_deref()
                .unwrap_or("nothing could be compared")
        ),
    }
}

fn of(counts: &CountsShown, class: Class) -> u64 {
    counts.classes.get(class.as_str()).copied().unwrap_or(0)
}

fn verified(counts: &CountsShown) -> u64 {
    let total: u64 = counts.classes.values().sum();
    total - of(counts, Class::Pending) - of(counts, Class::Unverifiable)
}

/// What level is not said of.
fn beside(counts: &CountsShown) -> String {
    match (of(counts, Class::Pending), of(counts, Class::Unverifiable)) {
        (0, 0) => String::new(),
        (pending, unverifiable) => format!(
            "; {} pending and {} unverifiable are not compared",
            grouped(pending),
            grouped(unverifiable)
        ),
    }
}

fn faults(counts: &CountsShown) -> u64 {
    let faults = Class::ALL.into_iter().filter(|class| class.is_fault());
    faults.map(|class| of(counts, class)).sum()
}

fn about(lines: &mut Vec<String>, report: &Report) {
    let outcome = &report.outcome;
    let asked = &report.asked;
    let ended = outcome.ended_at.as_deref().map(moment).unwrap_or_default();
    let all = |what: &Option<String>| what.clone().unwrap_or_else(|| "all".to_owned());
    let edge =
        |asked: &Option<String>, resolved: Option<String>, none: &str| match (asked, resolved) {
            (Some(asked), Some(resolved)) => format!("`{asked}` (id {resolved})"),
            _ => none.to_owned(),
        };
    let mut rows = vec![
        (
            "Compared",
            format!("{} to {ended}", moment(&outcome.began_at)),
        ),
        ("Routes", all(&asked.route)),
        (
            "Streams",
            format!(
                "{} ({})",
                all(&asked.stream),
                counted(outcome.streams, "stream")
            ),
        ),
        (
            "From",
            edge(
                &asked.from,
                report.from.map(|id| id.to_string()),
                "the first entry",
            ),
        ),
        (
            "To",
            edge(
                &asked.to,
                report.to.map(|id| id.to_string()),
                "the last entry",
            ),
        ),
    ];
    if let Some(share) = outcome.sampled {
        rows.push((
            "Sample",
            format!("{} of what there is", words::percent(share)),
        ));
    }
    if let Some(bound) = outcome.lower_bound {
        rows.push((
            "Bound",
            format!(
                "at least {} are level, at 95 % confidence (one-sided, Clopper-Pearson)",
                words::percent(bound)
            ),
        ));
    }
    rows.push((
        "Configuration",
        format!("`{}`, lockgate {}", report.configuration, report.version),
    ));
    lines.push("| | |".to_owned());
    lines.push("|---|---|".to_owned());
    lines.extend(
        rows.into_iter()
            .map(|(name, value)| format!("| {name} | {} |", cell(&value))),
    );
    lines.push(String::new());
}

fn counts(lines: &mut Vec<String>, report: &Report) {
    let all = &report.outcome.counts;
    lines.push("## Counts".to_owned());
    lines.push(String::new());
    let names: Vec<&String> = report.outcome.routes.keys().collect();
    let mut head = vec!["class".to_owned(), "all".to_owned()];
    head.extend(names.iter().map(|name| cell(name)));
    lines.push(row(&head));
    lines.push(format!("|---|{}", "---:|".repeat(names.len() + 1)));
    for class in Class::ALL {
        let mut cells = vec![class.to_string(), grouped(of(all, class))];
        cells.extend(
            report
                .outcome
                .routes
                .values()
                .map(|counts| grouped(of(counts, class))),
        );
        lines.push(row(&cells));
    }
    lines.push(String::new());
    let sum = if all.adds_up {
        "The classes add up to what was read"
    } else {
        "THE CLASSES DO NOT ADD UP TO WHAT WAS READ, which is a fault of Lockgate itself"
    };
    lines.push(format!(
        "{sum}: {} of Redis and {} of Kafka; {} only in Redis, {} only in Kafka, {} beyond the first of their entry.",
        entries(all.redis_entries),
        counted(all.kafka_records, "record"),
        grouped(all.only_redis),
        grouped(all.only_kafka),
        grouped(all.copies)
    ));
    lines.push(String::new());
}

fn unread(lines: &mut Vec<String>, report: &Report) {
    if report.outcome.unread.is_empty() {
        return;
    }
    lines.push("## Streams that could not be read".to_owned());
    lines.push(String::new());
    lines.push(row(&["stream", "route", "why"].map(str::to_owned)));
    lines.push("|---|---|---|".to_owned());
    lines.extend(report.outcome.unread.iter().take(LISTED).map(|one| {
        let stream = format!("{}/{}", one.database, one.stream);
        row(&[cell(&stream), cell(&one.route), cell(&one.why)])
    }));
    lines.push(String::new());
}

fn differences(lines: &mut Vec<String>, report: &Report) {
    let outcome = &report.outcome;
    if outcome.differences.is_empty() {
        return;
    }
    lines.push("## Differences".to_owned());
    lines.push(String::new());
    lines.push(row(&["class", "entry", "what"].map(str::to_owned)));
    lines.push("|---|---|---|".to_owned());
    lines.extend(outcome.differences.iter().take(LISTED).map(difference));
    let listed = outcome.differences.len().min(LISTED) as u64;
    let more = outcome.differences.len() as u64 - listed + outcome.differences_not_shown;
    if more > 0 {
        lines.push(String::new());
        lines.push(format!("And {} more.", grouped(more)));
    }
    lines.push(String::new());
}

fn difference(one: &Difference) -> String {
    row(&[
        one.class.to_string(),
        cell(&words::identity(one)),
        cell(&words::sentence(one)),
    ])
}

fn windows(lines: &mut Vec<String>, report: &Report) {
    #[derive(Default)]
    struct Sum {
        windows: u64,
        level: u64,
        entries: u64,
        first: String,
        last: String,
    }
    let mut streams: BTreeMap<(u32, &str), Sum> = BTreeMap::new();
    for link in &report.windows {
        let window = &link.window;
        let sum = streams
            .entry((window.database, &window.stream))
            .or_default();
        if sum.windows == 0 {
            sum.first = window.after.to_string();
        }
        sum.windows += 1;
        sum.level += u64::from(window.level);
        sum.entries += window.entries;
        sum.last = window.through.to_string();
    }
    lines.push("## Windows".to_owned());
    lines.push(String::new());
    lines.push(row(&[
        "stream",
        "windows",
        "level",
        "entries digested",
        "after",
        "through",
    ]
    .map(str::to_owned)));
    lines.push("|---|---:|---:|---:|---|---|".to_owned());
    for ((database, stream), sum) in streams {
        lines.push(row(&[
            cell(&format!("{database}/{stream}")),
            grouped(sum.windows),
            grouped(sum.level),
            grouped(sum.entries),
            sum.first,
            sum.last,
        ]));
    }
    lines.push(String::new());
}

fn check(lines: &mut Vec<String>, report: &Report) {
    lines.push("## To check this later".to_owned());
    lines.push(String::new());
    lines.push(
        "With the JSON of this report, both stores are digested again over the same windows:"
            .to_owned(),
    );
    lines.push(String::new());
    lines.push("```sh".to_owned());
    lines.push("lockgate parity verify --config lockgate.toml --against report.json".to_owned());
    lines.push("```".to_owned());
    lines.push(String::new());
    lines.push(
        "Its last link, which covers the windows and all else that the report says; keep a note of it elsewhere:"
            .to_owned(),
    );
    lines.push(String::new());
    lines.push(format!("`{}`", report.chain));
}

fn row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// A stream's name may hold what Markdown takes for its own.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn a_report_says_what_was_found_and_how_to_check_it() {
        let report = report();
        let shown = text(&report);
        let table = "\
| class | all | chat |
|---|---:|---:|
| match | 61,220,408 | 61,220,408 |
| missing | 2 | 2 |
| extra | 0 | 0 |
";
        let windows = "\
| stream | windows | level | entries digested | after | through |
|---|---:|---:|---:|---|---|
| 0/msg:stream:7 | 2 | 1 | 150 | 0-0 | 150-0 |
| 0/msg:stream:8 | 1 | 1 | 20 | 0-0 | 20-0 |
";
        for part in [
            "# Parity of messages\n\n**Apart: 3 of 61,220,411 compared differ.**\n",
            "| Compared | 2026-03-12 14:03:48Z to 2026-03-12 14:04:00Z |\n",
            "| Bound | at least 99.99998 % are level, at 95 % confidence (one-sided, Clopper-Pearson) |\n",
            table,
            "The classes add up to what was read: 61,220,503 entries of Redis and 61,220,410 records of Kafka",
            "| duplicate | 0/msg:stream:7 1741356110123-0 | 2 records of one entry:",
            windows,
            "lockgate parity verify --config lockgate.toml --against report.json",
            &format!("`{}`\n", report.chain),
        ] {
            assert!(shown.contains(part), "{part}\nis not in\n{shown}");
        }
    }

    #[test]
    fn a_streams_name_cannot_break_a_table() {
        let mut report = report();
        report.windows[2].window.stream = "a|b<script>".to_owned();
        let shown = text(&report);
        assert!(shown.contains("| 0/a\\|b&lt;script> | 1 |"), "{shown}");
    }
}
