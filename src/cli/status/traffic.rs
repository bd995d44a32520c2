//! The lines of producers and consumers: the handoff, writes, groups, and what applications are told. Pure.

use super::page::{Page, Paint};
use super::words::{hms, lag, length, rate};
use crate::cli::output::{counted, grouped};
use crate::migration::phase::{Phase, Step};
use crate::status::Status;
use crate::status::driver::{GroupStatus, HandoffStatus};

pub fn lines(page: &mut Page, status: &Status) {
    if let Some(ingress) = &status.ingress {
        if let Some(handoff) = &ingress.handoff {
            handoff_lines(page, handoff);
        }
        let p95 = ingress.p95_seconds.map_or("p95 ?".to_owned(), |seconds| {
            format!("p95 {}", length(seconds))
        });
        let pace = ingress
            .rate
            .map_or("?/s".to_owned(), |pace| format!("{}/s", rate(pace)));
        let errors = format!(
            "{} errors of {}",
            grouped(ingress.errors),
            grouped(ingress.writes)
        );
        page.line(
            "WRITES",
            &format!("{p95} · {pace} · {errors}"),
            Paint::Plain,
        );
    }
    let mut label = "GROUPS";
    for group in status.groups.iter().filter(|group| group.store == "kafka") {
        page.line(label, &group_line(group), Paint::Plain);
        label = "";
    }
    flags(page, status);
}

fn handoff_lines(page: &mut Page, handoff: &HandoffStatus) {
    let counts = format!(
        "{} buckets to {}: {} done · {} holding · {} waiting · {} returned",
        handoff.buckets,
        handoff.to,
        handoff.done,
        handoff.holding,
        handoff.waiting,
        handoff.returned
    );
    page.line("HANDOFF", &counts, Paint::Plain);
    let mut parts = Vec::new();
    if let (Some(holding), Some(limit)) = (handoff.holding_seconds, handoff.limit_seconds) {
        parts.push(format!("holding {} of {}", length(holding), length(limit)));
    }
    if let Some(longest) = handoff.longest_seconds {
        parts.push(format!("longest {}", length(longest)));
    }
    parts.push(format!("{} writes rejected", grouped(handoff.rejected)));
    page.line("", &parts.join(" · "), Paint::Plain);
}

/// `persistence-workers-kafka  lag 1,204 entries, 3.1 s, rising 40/s`
fn group_line(group: &GroupStatus) -> String {
    let trend = match group.lag_per_second {
        Some(pace) if pace >= 1.0 => format!(", rising {}/s", rate(pace)),
        Some(pace) if pace <= -1.0 => format!(", falling {}/s", rate(-pace)),
        _ => String::new(),
    };
    let uncommitted = match group.uncommitted_partitions {
        Some(some) if some > 0 => format!(" · nothing committed on {}", counted(some, "partition")),
        _ => String::new(),
    };
    let lag = match (group.lag_entries, group.lag_seconds) {
        (entries, None) => entries.map_or("lag ?".to_owned(), |n| {
            format!("lag {} entries", grouped(n))
        }),
        (entries, seconds) => lag(entries, seconds),
    };
    format!("{}  {lag}{trend}{uncommitted}", group.group)
}

/// Who goes back, and who does not follow, is told; while all is well there is nothing to say.
fn flags(page: &mut Page, status: &Status) {
    let driver = &status.driver;
    let state = driver
        .state
        .as_ref()
        .map_or("", |state| state.name.as_str());
    let going_back = matches!(state, "frozen" | "rolling_back");
    let behind = driver
        .clients
        .as_ref()
        .is_some_and(|clients| clients.old > 0);
    if !going_back && !behind {
        return;
    }
    let from = driver
        .state
        .as_ref()
        .and_then(|state| state.from.as_ref())
        .and_then(|from| from.parse::<Step>().ok());
    let matters = match from.map(Step::phase) {
        Some(Phase::Ingress | Phase::Cleanup) => {
            ["USE_KAFKA_INGRESS", "USE_KAFKA_CONSUMERS"].as_slice()
        }
        _ => ["USE_KAFKA_CONSUMERS"].as_slice(),
    };
    let told: Vec<String> = driver
        .flags
        .iter()
        .filter(|flag| matters.contains(&flag.flag.as_str()))
        .map(|flag| format!("{}={} since {}", flag.flag, flag.value, hms(&flag.since)))
        .collect();
    let mut text = told.join(" · ");
    let paint = if behind { Paint::Warn } else { Paint::Plain };
    match &driver.clients {
        Some(clients) if clients.current + clients.old > 0 => {
            let all = clients.current + clients.old;
            text.push_str(&format!(" · seen by {} of {all} clients", clients.current));
            if behind {
                text.push_str(&format!(" · not by {}", clients.behind.join(", ")));
            }
        }
        _ => text.push_str(" · no client is known that follows"),
    }
    page.line("FLAGS", &text, paint);
}
