//! A plan of repair, and what came of it, as text of at most 80 columns. Pure.

use crate::cli::output::grouped;
use crate::cli::parity::text::{self, Look, entries};
use crate::cli::parity::words;
use crate::cli::status::{Page, Paint};
use crate::parity::{Class, Outcome, RepairPlan, Report, Stays};

/// Entries and identities that are listed; `--output json` has all that were found.
const LISTED: usize = 20;
/// Offsets that are named of one identity.
const NAMED: usize = 6;

#[must_use]
pub fn text(
    migration: &str,
    outcome: &Outcome,
    plan: &RepairPlan,
    applied: Option<&Report>,
    look: Look,
) -> String {
    let mut page = look.page();
    text::head(&mut page, migration, outcome);
    if plan.is_empty() {
        page.line("REPAIR", "nothing to repair", Paint::Plain);
        return page.finish();
    }
    produce(&mut page, plan, applied.is_some());
    if let Some(done) = applied {
        came_of_it(&mut page, done);
    }
    staying(&mut page, plan);
    if let Some(next) = next(plan, applied) {
        page.line("NEXT", next, Paint::Plain);
    }
    page.finish()
}

fn produce(page: &mut Page, plan: &RepairPlan, applied: bool) {
    if plan.missing == 0 {
        return;
    }
    let what = if applied {
        format!("{} named to the daemon", entries(plan.produce.len() as u64))
    } else {
        format!(
            "{} would be produced again, behind what is there, each marked by the header lockgate-repair",
            entries(plan.produce.len() as u64)
        )
    };
    page.line("REPAIR", &what, Paint::Warn);
    for target in plan.produce.iter().take(LISTED) {
        let one = format!("{}/{} {}", target.database, target.stream, target.id);
        page.line("", &one, Paint::Plain);
    }
    more(page, plan.produce.len(), "");
    if plan.left_out() > 0 {
        let left = format!(
            "{} more are missing than this plan takes",
            grouped(plan.left_out())
        );
        page.line("", &left, Paint::Plain);
    }
}

fn more(page: &mut Page, listed: usize, what: &str) {
    if listed > LISTED {
        let text = format!(
            "and {} more{what}; --output json lists them",
            grouped((listed - LISTED) as u64)
        );
        page.line("", &text, Paint::Plain);
    }
}

fn came_of_it(page: &mut Page, done: &Report) {
    let paint = if done.refused.is_empty() {
        Paint::Good
    } else {
        Paint::Bad
    };
    let text = format!(
        "{} produced again · {} found there already · {} refused",
        grouped(done.repaired),
        grouped(done.already_there),
        grouped(done.refused.len() as u64)
    );
    page.line("DONE", &text, paint);
    for refused in done.refused.iter().take(LISTED) {
        let target = &refused.target;
        let text = format!(
            "{}/{} {}: {}",
            target.database, target.stream, target.id, refused.why
        );
        page.line("", &text, Paint::Plain);
    }
    more(page, done.refused.len(), " refused");
}

fn staying(page: &mut Page, plan: &RepairPlan) {
    if plan.staying == 0 {
        return;
    }
    page.line(
        "STAYS",
        &format!(
            "{} cannot be undone: Kafka's log takes additions only",
            grouped(plan.staying)
        ),
        Paint::Bad,
    );
    for stays in plan.stays.iter().take(LISTED) {
        let text = format!("{} · {}", stays.class, identity(stays));
        page.line("", &text, Paint::Plain);
        page.line("", &how(stays), Paint::Plain);
    }
    more(page, plan.stays.len(), "");
}

fn identity(stays: &Stays) -> String {
    match (&stays.stream, stays.id) {
        (Some(stream), Some(id)) => format!("{}/{stream} {id}", stays.database.unwrap_or(0)),
        (Some(stream), None) => format!("{}/{stream}, no id", stays.database.unwrap_or(0)),
        (None, _) => "a record without identity".to_owned(),
    }
}

/// What a consumer has to do about it.
fn how(stays: &Stays) -> String {
    let kept = stays
        .keep
        .map(|at| words::place(&stays.topic, &at))
        .unwrap_or_default();
    let skip = places(stays);
    match stays.class {
        Class::Duplicate => format!("skip {skip}; {kept} stands for the entry"),
        Class::Mismatch => format!(
            "differs in {}; skip {skip} and take the entry from Redis",
            words::parts(&stays.parts)
        ),
        Class::Misplaced => {
            format!("{kept} is on another partition than the route gives; take it there")
        }
        Class::Reordered => {
            format!("{kept} comes behind a later entry of its key; sort by redis-id")
        }
        _ => format!("skip {skip}"),
    }
}

fn places(stays: &Stays) -> String {
    let named = stays.skip.iter().take(NAMED);
    let mut places: Vec<String> = named.map(|at| words::place(&stays.topic, at)).collect();
    let more = stays.skip.len() as u64 + stays.skip_more - places.len() as u64;
    if more > 0 {
        places.push(format!("and {} more", grouped(more)));
    }
    places.join(", ")
}

fn next(plan: &RepairPlan, applied: Option<&Report>) -> Option<&'static str> {
    match applied {
        Some(_) => Some("lockgate parity verify: whether it is level now"),
        None if plan.missing > 0 => Some("lockgate parity repair --apply --reason TEXT"),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parity::samples::{self, difference};
    use crate::parity::Refused;

    #[track_caller]
    fn looks(outcome: &Outcome, applied: Option<&Report>, expected: &str) {
        let plan = RepairPlan::of(outcome, 1_000);
        let shown = text("messages", outcome, &plan, applied, Look::default());
        assert_eq!(shown, expected, "\n{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn a_plan_lists_what_would_be_done_and_what_cannot() {
        looks(
            &samples::apart(),
            None,
            "\
messages  ≠ APART                                           2026-03-12 14:04:00Z
          3 of 61,220,411 compared: 2 missing, 1 duplicate
REPAIR    2 entries would be produced again, behind what is there, each marked
          by the header lockgate-repair
          0/msg:stream:7 1741356110123-0
          0/msg:stream:7 1741356110123-0
STAYS     1 cannot be undone: Kafka's log takes additions only
          duplicate · 0/msg:stream:7 1741356110123-0
          skip messages.v1/3 offset 815; messages.v1/3 offset 812 stands for the
          entry
NEXT      lockgate parity repair --apply --reason TEXT
",
        );
    }

    #[test]
    fn what_was_done_and_what_was_refused_are_told_apart() {
        let mut outcome = samples::apart();
        outcome.differences.remove(1);
        let plan = RepairPlan::of(&outcome, 1_000);
        let done = Report {
            repaired: 1,
            already_there: 0,
            refused: vec![Refused {
                target: plan.produce[0].clone(),
                why: "another instance owns this stream".to_owned(),
            }],
        };
        let shown = text("messages", &outcome, &plan, Some(&done), Look::default());
        assert!(
            shown.contains("DONE      1 produced again · 0 found there already · 1 refused\n"),
            "{shown}"
        );
        assert!(shown.contains("1741356110123-0: another instance owns this stream"));
        assert!(shown.contains("NEXT      lockgate parity verify"));
    }

    #[test]
    fn level_needs_no_repair() {
        looks(
            &samples::level(),
            None,
            "\
messages  = LEVEL                                           2026-03-12 14:04:00Z
          all 18,402,113 compared, each in Kafka once, the same, in place and
          order
REPAIR    nothing to repair
",
        );
    }

    #[test]
    fn each_class_says_what_a_consumer_has_to_do() {
        let mut outcome = samples::apart();
        outcome.differences = [
            Class::Extra,
            Class::Mismatch,
            Class::Misplaced,
            Class::Reordered,
        ]
        .map(|class| difference(class, &[(1, 9)]))
        .to_vec();
        let plan = RepairPlan::of(&outcome, 1);
        let said: Vec<String> = plan.stays.iter().map(how).collect();
        assert_eq!(
            said,
            [
                "skip messages.v1/1 offset 9",
                "differs in something; skip messages.v1/1 offset 9 and take the entry from Redis",
                "messages.v1/1 offset 9 is on another partition than the route gives; take it there",
                "messages.v1/1 offset 9 comes behind a later entry of its key; sort by redis-id",
            ]
        );
    }
}
