//! An outcome as text of at most 80 columns: the verdict in words, the counts with what they are counts of, the first
//! differences, and what to do next. Pure.

use super::words;
use crate::cli::output::{counted, grouped};
use crate::cli::status::{Page, Paint};
use crate::parity::{Class, Counts, Difference, Outcome, Unread};
use crate::status::ParityState;

/// Differences that are spelled out; `--output json` has more.
const SPELLED_OUT: usize = 10;

/// How it is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    pub ascii: bool,
    pub color: bool,
}

impl Look {
    #[must_use]
    pub const fn page(self) -> Page {
        Page::new(self.ascii, self.color)
    }
}

/// The whole outcome, without what to do next.
#[must_use]
pub fn text(migration: &str, outcome: &Outcome, look: Look) -> String {
    let mut page = look.page();
    head(&mut page, migration, outcome);
    counts(&mut page, outcome);
    unread(&mut page, &outcome.unread);
    differences(
        &mut page,
        &outcome.differences,
        outcome.differences_not_shown,
    );
    page.finish()
}

/// What to do next, after a verification.
#[must_use]
pub fn next(outcome: &Outcome, look: Look) -> String {
    let mut page = look.page();
    if let Some(first) = outcome.differences.iter().find(|one| one.class.is_fault()) {
        page.line("NEXT", &explain(first), Paint::Plain);
        let repair = match outcome.counts.of(Class::Missing) {
            0 => "lockgate parity repair: what a consumer has to skip, and where",
            _ => "lockgate parity repair: a plan of what would be produced again",
        };
        page.line("", repair, Paint::Plain);
    } else if outcome.verdict == ParityState::Unknown {
        page.line(
            "NEXT",
            "lockgate check: whether both stores can be read, and what the streams hold",
            Paint::Plain,
        );
    }
    page.finish()
}

/// The command that looks closer at one difference.
#[must_use]
pub fn explain(difference: &Difference) -> String {
    match (&difference.stream, difference.id) {
        (Some(stream), Some(id)) => {
            let database = difference
                .database
                .map_or_else(String::new, |database| format!(" --database {database}"));
            format!("lockgate parity explain '{stream}' {id}{database}")
        }
        (Some(_), None) | (None, _) => format!(
            "see the record itself: topic {}, {}",
            difference.topic,
            words::places(difference)
        ),
    }
}

/// The sign and word of a verdict.
#[must_use]
pub const fn word(verdict: ParityState) -> (&'static str, Paint) {
    match verdict {
        ParityState::Level => ("= LEVEL", Paint::Good),
        ParityState::Apart => ("≠ APART", Paint::Bad),
        ParityState::Unknown => ("? COULD NOT TELL", Paint::Warn),
    }
}

/// The verdict as a sentence.
#[must_use]
pub fn verdict(outcome: &Outcome) -> String {
    match outcome.verdict {
        ParityState::Level => level(outcome),
        ParityState::Apart => format!(
            "{} of {} compared: {}",
            grouped(outcome.counts.faults()),
            grouped(outcome.counts.verified()),
            words::faults(&outcome.counts)
        ),
        ParityState::Unknown => outcome
            .unknown_because
            .clone()
            .unwrap_or_else(|| "nothing could be compared".to_owned()),
    }
}

/// How much was compared stands in the sentence: one entry, or a few of many, show little of the others.
fn level(outcome: &Outcome) -> String {
    let (verified, total) = (outcome.counts.verified(), outcome.counts.total());
    let each = "in Kafka once, the same, in place and order";
    if outcome.sampled.is_some() {
        let bound = outcome.lower_bound.unwrap_or(0.0);
        let drawn = grouped(verified);
        return format!(
            "{drawn} drawn, each {each}: shows >= {} of all",
            words::percent(bound)
        );
    }
    if verified < total {
        let (verified, total) = (grouped(verified), grouped(total));
        let not = words::not_compared(&outcome.counts);
        return format!("{verified} of {total} compared, each {each}; {not}");
    }
    format!("all {} compared, each {each}", grouped(verified))
}

/// The verdict, in a word and in a sentence.
pub fn head(page: &mut Page, migration: &str, outcome: &Outcome) {
    let (word, paint) = word(outcome.verdict);
    let ended = outcome.ended_at.as_deref().map(moment).unwrap_or_default();
    page.ends(migration, word, paint, "", &ended);
    page.line("", &verdict(outcome), Paint::Plain);
}

/// `2026-03-12 14:04:00Z` of an RFC 3339 time.
#[must_use]
pub fn moment(time: &str) -> String {
    match (time.get(..10), time.get(11..19)) {
        (Some(day), Some(clock)) => format!("{day} {clock}Z"),
        _ => time.to_owned(),
    }
}

fn counts(page: &mut Page, outcome: &Outcome) {
    let counts = &outcome.counts;
    page.line(
        "COMPARED",
        &format!(
            "{} of {} · {} differ · {} pending · {} unverifiable",
            grouped(counts.verified()),
            grouped(counts.total()),
            grouped(counts.faults()),
            grouped(counts.of(Class::Pending)),
            grouped(counts.of(Class::Unverifiable))
        ),
        Paint::Plain,
    );
    let classes = classes(counts);
    if !classes.is_empty() {
        page.line("", &classes, Paint::Plain);
    }
    page.line("READ", &read(outcome), Paint::Plain);
    if !counts.adds_up() {
        page.line(
            "CHECK",
            "the classes do not add up to what was read: a fault of Lockgate itself, please report it",
            Paint::Bad,
        );
    }
    if let Some(share) = outcome.sampled {
        page.line(
            "SAMPLE",
            &format!("{} of what there is was compared", words::percent(share)),
            Paint::Plain,
        );
    }
    if let Some(bound) = outcome.lower_bound {
        page.line(
            "BOUND",
            &format!(">= {} are level, at 95 % confidence", words::percent(bound)),
            Paint::Plain,
        );
    }
    if outcome.routes.len() > 1 {
        for (name, counts) in &outcome.routes {
            page.line("ROUTE", &route(name, counts), Paint::Plain);
        }
    }
}

/// `match 18,402,110 · dead_lettered 3`: the classes that are not 0.
#[must_use]
pub fn classes(counts: &Counts) -> String {
    let some: Vec<String> = counts
        .classes()
        .filter(|(_, count)| *count > 0)
        .map(|(class, count)| format!("{class} {}", grouped(count)))
        .collect();
    some.join(" · ")
}

fn read(outcome: &Outcome) -> String {
    let counts = &outcome.counts;
    let mut parts = vec![
        format!("{} of Redis", entries(counts.redis_entries)),
        format!("{} of Kafka", counted(counts.kafka_records, "record")),
        counted(outcome.streams, "stream"),
    ];
    if outcome.kafka_born > 0 {
        parts.push(format!("{} Kafka-born", grouped(outcome.kafka_born)));
    }
    parts.join(" · ")
}

/// `1 entry`, `2 entries`.
#[must_use]
pub fn entries(number: u64) -> String {
    let word = if number == 1 { "entry" } else { "entries" };
    format!("{} {word}", grouped(number))
}

fn route(name: &str, counts: &Counts) -> String {
    let faults = match words::faults(counts) {
        none if none.is_empty() => "0 differ".to_owned(),
        some => some,
    };
    format!(
        "{name} · {} of {} compared · {faults}",
        grouped(counts.verified()),
        grouped(counts.total())
    )
}

/// Streams that are in none of the counts, each with its reason.
fn unread(page: &mut Page, unread: &[Unread]) {
    for one in unread.iter().take(SPELLED_OUT) {
        let place = format!("{}/{}: not read", one.database, one.stream);
        page.line("UNREAD", &place, Paint::Warn);
        page.line("", &one.why, Paint::Plain);
    }
    if let Some(more) = unread
        .len()
        .checked_sub(SPELLED_OUT)
        .filter(|more| *more > 0)
    {
        let more = format!("and {} more; --output json has all", grouped(more as u64));
        page.line("", &more, Paint::Plain);
    }
}

/// The first differences, each with its place.
pub fn differences(page: &mut Page, differences: &[Difference], not_shown: u64) {
    for one in differences.iter().take(SPELLED_OUT) {
        let paint = if one.class.is_fault() {
            Paint::Bad
        } else {
            Paint::Plain
        };
        page.line(
            "DIFFERS",
            &format!("{} · {}", one.class, words::identity(one)),
            paint,
        );
        page.line("", &words::sentence(one), Paint::Plain);
    }
    let listed = differences.len().saturating_sub(SPELLED_OUT) as u64;
    if listed + not_shown > 0 {
        page.line(
            "",
            &format!(
                "and {} more; --output json lists the first {}",
                grouped(listed + not_shown),
                grouped(differences.len() as u64)
            ),
            Paint::Plain,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parity::samples::{self, difference};

    #[track_caller]
    fn looks(outcome: &Outcome, expected: &str) {
        let plain = Look::default();
        let shown = text("messages", outcome, plain) + &next(outcome, plain);
        assert_eq!(shown, expected, "\n{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn level() {
        looks(
            &samples::level(),
            "\
messages  = LEVEL                                           2026-03-12 14:04:00Z
          all 18,402,113 compared, each in Kafka once, the same, in place and
          order
COMPARED  18,402,113 of 18,402,113 · 0 differ · 0 pending · 0 unverifiable
          match 18,402,113
READ      18,402,113 entries of Redis · 18,402,113 records of Kafka · 16 streams
BOUND     >= 99.99998 % are level, at 95 % confidence
",
        );
    }

    #[test]
    fn a_stream_that_was_not_read_is_named_with_its_reason() {
        let mut some = samples::unknown();
        some.unread = (0..12)
            .map(|n| Unread {
                database: 0,
                stream: format!("s{n}"),
                route: "chat".to_owned(),
                why: "the key holds a list, not a stream".to_owned(),
            })
            .collect();
        let shown = text("m", &some, Look::default());
        let first = "UNREAD    0/s0: not read\n          the key holds a list, not a stream\n";
        assert!(shown.contains(first), "{shown}");
        assert!(
            shown.contains("and 2 more; --output json has all"),
            "{shown}"
        );
    }

    #[test]
    fn a_few_that_were_compared_are_not_called_all() {
        let mut few = samples::level();
        few.counts = Counts::level(1, 0);
        few.counts.count(Class::Pending, 9_999);
        let each = "in Kafka once, the same, in place and order";
        assert_eq!(
            verdict(&few),
            format!("1 of 10,000 compared, each {each}; 9,999 pending")
        );
        few.counts = Counts::level(3_000, 0);
        (few.sampled, few.lower_bound) = (Some(0.05), Some(0.999_002));
        assert_eq!(
            verdict(&few),
            format!("3,000 drawn, each {each}: shows >= 99.9 % of all")
        );
    }

    #[test]
    fn apart() {
        looks(
            &samples::apart(),
            "\
messages  ≠ APART                                           2026-03-12 14:04:00Z
          3 of 61,220,411 compared: 2 missing, 1 duplicate
COMPARED  61,220,411 of 61,220,503 · 3 differ · 80 pending · 12 unverifiable
          match 61,220,408 · missing 2 · duplicate 1 · pending 80
          unverifiable 12
READ      61,220,503 entries of Redis · 61,220,410 records of Kafka · 16 streams
BOUND     >= 99.99998 % are level, at 95 % confidence
DIFFERS   missing · 0/msg:stream:7 1741356110123-0
          belongs in messages.v1/3; Kafka has neither a record nor a dead letter
          of it
DIFFERS   duplicate · 0/msg:stream:7 1741356110123-0
          2 records of one entry: messages.v1/3 offset 812, messages.v1/3 offset
          815
DIFFERS   missing · 0/msg:stream:7 1741356110123-0
          belongs in messages.v1/3; Kafka has neither a record nor a dead letter
          of it
NEXT      lockgate parity explain 'msg:stream:7' 1741356110123-0 --database 0
          lockgate parity repair: a plan of what would be produced again
",
        );
    }

    #[test]
    fn could_not_tell() {
        looks(
            &samples::unknown(),
            "\
messages  ? COULD NOT TELL                                  2026-03-12 14:04:00Z
          no entry was compared
COMPARED  0 of 0 · 0 differ · 0 pending · 0 unverifiable
READ      0 entries of Redis · 0 records of Kafka · 0 streams
SAMPLE    5 % of what there is was compared
NEXT      lockgate check: whether both stores can be read, and what the streams
          hold
",
        );
    }

    #[test]
    fn many_differences_are_counted_and_long_names_do_not_break_a_line() {
        let mut many = samples::apart();
        many.differences = vec![difference(Class::Extra, &[(3, 1), (3, 2)]); 30];
        many.differences[0].stream = Some("s".repeat(300));
        many.differences_not_shown = 70;
        let shown = text(&"m".repeat(60), &many, Look::default());
        assert!(shown.contains("and 90 more; --output json lists the first 30"));
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn counts_that_do_not_add_up_are_said() {
        let mut wrong = samples::level();
        wrong.counts.redis_entries += 1;
        assert!(text("m", &wrong, Look::default()).contains("do not add up"));
        let ascii = Look {
            ascii: true,
            color: false,
        };
        let shown = text("m", &samples::apart(), ascii);
        assert!(shown.is_ascii(), "{shown}");
    }
}
