//! `lockgate parity verify --against`: a report made earlier, checked against both stores as they are now.
//!
//! First the report itself: its chain must hold. Then each window is digested again with the report's seed, and is the
//! same, other than it was (on which side), or can no longer be compared because a side has lost what a store may lose.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::interrupt::Interrupt;
use super::progress::Line;
use super::report::{BEFORE, Report, SCHEMA, chain};
use super::session::{Effort, Session, save, told, unfinished, usage};
use super::state_file::StateFile;
use super::text::Look;
use super::words;
use crate::cli::Exit;
use crate::cli::output::{Output, counted, grouped, print, print_json};
use crate::cli::status::Paint;
use crate::parity::{self, Again, Before, Digesting, Pace, Ran, Sum, Why, WindowDigest};

/// Windows that are listed of those that are not the same; `--output json` has all.
const LISTED: usize = 10;

/// What has become of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Now {
    /// Both sides hold what they held.
    Same,
    /// It was not level, or entries were still on their way; Redis holds what it held, and Kafka is level with it now.
    Mended,
    /// A side holds something else.
    Changed,
    /// A side has lost what it would take to tell.
    Unverifiable,
}

/// A window, and what has become of it.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    #[serde(flatten)]
    pub window: WindowDigest,
    pub now: Now,
    /// Sides that hold something else: `redis`, `kafka`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// Why its stream cannot be read now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    pub entries_now: u64,
    pub records_now: u64,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    schema: &'static str,
    migration: &'a str,
    /// The report's own chain; `None`: it holds.
    chain_broken: Option<&'a str>,
    same: u64,
    mended: u64,
    changed: u64,
    unverifiable: u64,
    windows: &'a [Judged],
}

/// Reads a report, and both stores again.
pub async fn verify(
    session: &Session,
    path: &Path,
    effort: &Effort,
    look: Look,
    output: Output,
) -> anyhow::Result<Exit> {
    let report = match read(session, path) {
        Ok(report) => report,
        Err(why) => return Ok(usage(&why)),
    };
    // A report that was altered says nothing of the stores, so they are not asked.
    let broken = chain::broken(&report);
    let judged = match &broken {
        Some(_) => Vec::new(),
        None => match again(session, &report, effort).await? {
            Ok(judged) => judged,
            Err(exit) => return Ok(exit),
        },
    };
    match output {
        Output::Text => print(&text(&report, broken.as_deref(), &judged, look))?,
        Output::Json => print_json(&shown(&report, broken.as_deref(), &judged))?,
    }
    Ok(exit(broken.is_some(), &judged))
}

/// The report, where it is one and of these routes.
fn read(session: &Session, path: &Path) -> Result<Report, String> {
    let shown = path.display();
    let text = fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
    let head: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    match head["schema"].as_str() {
        Some(SCHEMA | BEFORE) => {}
        Some(other) => return Err(format!("{shown} is of `{other}`, and not of `{SCHEMA}`")),
        None => return Err(format!("{shown} is no report of lockgate parity report")),
    }
    let report: Report = serde_json::from_value(head)
        .map_err(|error| format!("{shown} cannot be read as a report: {error}"))?;
    if report.schema == BEFORE && report.outcome.sampled.is_some() {
        return Err(format!(
            "{shown} is of a sample that lockgate {} drew in another way, which this version does not; a report of everything \
             can be checked",
            report.version
        ));
    }
    if report.migration != session.config.name {
        return Err(format!(
            "{shown} is of migration `{}`, and the configuration is that of `{}`",
            report.migration, session.config.name
        ));
    }
    let now = parity::fingerprint(&session.config.name, session.routes());
    if report.configuration != now {
        return Err(format!(
            "{shown} was made under other routes (configuration {}, now {now}), which make other records; check it with the \
             configuration of that day",
            report.configuration
        ));
    }
    Ok(report)
}

async fn again(
    session: &Session,
    report: &Report,
    effort: &Effort,
) -> anyhow::Result<Result<Vec<Judged>, Exit>> {
    let windows: Vec<WindowDigest> = report
        .windows
        .iter()
        .map(|link| link.window.clone())
        .collect();
    let Ok(seed) = u64::from_str_radix(&report.seed, 16) else {
        return Ok(Err(usage(
            "the report's seed is no hexadecimal number of 64 bits",
        )));
    };
    let before = Before {
        windows: &windows,
        seed,
        sampled: report.outcome.sampled,
        from: report.from,
    };
    let path = effort.state.as_deref();
    let mut file = path.map(|path| session.state_against(path, &report.chain));
    let kept = match file.as_ref().map(StateFile::load).transpose() {
        Ok(kept) => kept.flatten(),
        Err(why) => return Ok(Err(usage(&why))),
    };
    let begun = match kept {
        Some(digesting) => Ok(digesting),
        None => Digesting::begin(&session.edges, before).await,
    };
    let mut digesting: Digesting = match begun {
        Ok(digesting) => digesting,
        Err(error) => return Ok(Err(told(&error))),
    };
    // Before anything is saved: who sees the file may signal, and the signal must find its listener.
    let interrupt = Interrupt::listen()?;
    if let Some(file) = &mut file {
        save(file, &digesting)?;
    }
    let ran = run(session, &mut digesting, effort, file.as_mut(), &interrupt).await;
    if !matches!(ran, Ok(Ran::Finished)) {
        if let Some(file) = &mut file {
            save(file, &digesting)?;
        }
        return Ok(Err(unfinished(ran, &digesting.progress(), file.as_ref())));
    }
    let now = match digesting.compared(&session.edges, before).await {
        Ok(now) => now,
        Err(error) => return Ok(Err(told(&error))),
    };
    if let Some(file) = &file {
        let path = file.path().display();
        file.remove()
            .with_context(|| format!("cannot remove {path}"))?;
    }
    let judged = windows.into_iter().zip(&now);
    Ok(Ok(judged.map(|(window, now)| judge(window, now)).collect()))
}

/// Reads until the end or the first signal.
async fn run(
    session: &Session,
    digesting: &mut Digesting,
    effort: &Effort,
    mut file: Option<&mut StateFile>,
    interrupt: &Interrupt,
) -> Result<Ran, parity::Error> {
    let mut line = Line::new();
    let mut unsaved = None;
    let mut each = |digesting: &Digesting| {
        line.show(&digesting.progress());
        if let Some(file) = &mut file
            && unsaved.is_none()
        {
            unsaved = file.keep(digesting).err();
        }
    };
    let pace = Pace::new(effort.rate);
    let ran = digesting
        .run(&session.edges, &pace, interrupt.stop(), &mut each)
        .await;
    line.clear();
    if let Some(error) = unsaved {
        eprintln!("lockgate: the state file cannot be written: {error}; it went on without saving");
    }
    ran
}

fn judge(window: WindowDigest, again: &Again) -> Judged {
    let differs = |count: u64, digest: &str, now: &Sum| {
        count != now.count || u128::from_str_radix(digest, 16) != Ok(now.digest)
    };
    let redis = differs(window.entries, &window.digest, &again.redis);
    let kafka = differs(window.records, &window.kafka_digest, &again.kafka);
    let lost = again
        .redis_lost
        .filter(|_| redis)
        .or(again.kafka_lost.filter(|_| kafka));
    let on_the_way = window.records < again.kafka.count
        && (window.records, &window.kafka_digest) != (window.entries, &window.digest);
    let mended = (!window.level || on_the_way) && !redis && again.kafka == again.redis;
    let changed: Vec<&'static str> = [
        (redis && again.redis_lost.is_none(), "redis"),
        (kafka && again.kafka_lost.is_none() && !mended, "kafka"),
    ]
    .into_iter()
    .filter_map(|(changed, side)| (changed && again.unread.is_none()).then_some(side))
    .collect();
    let now = match (changed.is_empty(), lost) {
        _ if again.unread.is_some() => Now::Unverifiable,
        (false, _) => Now::Changed,
        (true, Some(_)) => Now::Unverifiable,
        (true, None) if kafka => Now::Mended,
        (true, None) => Now::Same,
    };
    Judged {
        window,
        now,
        changed,
        why: lost,
        unread: again.unread.clone(),
        entries_now: again.redis.count,
        records_now: again.kafka.count,
    }
}

fn count(judged: &[Judged], now: Now) -> u64 {
    judged.iter().filter(|one| one.now == now).count() as u64
}

/// What the windows held, by the side that held more of each: an empty one is no evidence of anything.
fn weight<'a>(judged: impl Iterator<Item = &'a Judged>) -> u64 {
    judged
        .map(|one| one.window.entries.max(one.window.records))
        .sum()
}

/// A little that can still be told says nothing of the rest: half of it at least, as of what is compared without a report.
fn exit(broken: bool, judged: &[Judged]) -> Exit {
    let is_told = |one: &&Judged| matches!(one.now, Now::Same | Now::Mended);
    let told = weight(judged.iter().filter(is_told));
    if broken || count(judged, Now::Changed) > 0 {
        Exit::Troubled
    } else if told == 0 || told * 2 < weight(judged.iter()) {
        Exit::Unknown
    } else {
        Exit::Done
    }
}

fn shown<'a>(report: &'a Report, broken: Option<&'a str>, judged: &'a [Judged]) -> Shown<'a> {
    Shown {
        schema: "lockgate.parity-against/v1",
        migration: &report.migration,
        chain_broken: broken,
        same: count(judged, Now::Same),
        mended: count(judged, Now::Mended),
        changed: count(judged, Now::Changed),
        unverifiable: count(judged, Now::Unverifiable),
        windows: judged,
    }
}

fn text(report: &Report, broken: Option<&str>, judged: &[Judged], look: Look) -> String {
    let mut page = look.page();
    let (word, paint) = match exit(broken.is_some(), judged) {
        Exit::Done => ("= AS IN THE REPORT", Paint::Good),
        Exit::Troubled => ("≠ NOT AS IN THE REPORT", Paint::Bad),
        _ => ("? COULD NOT TELL", Paint::Warn),
    };
    page.ends(&report.migration, word, paint, "", "");
    if let Some(broken) = broken {
        page.line("CHAIN", broken, Paint::Bad);
        return page.finish();
    }
    let whole = format!(
        "holds over {}: {}",
        counted(report.windows.len() as u64, "window"),
        report.chain
    );
    page.line("CHAIN", &whole, Paint::Plain);
    let mut parts = vec![format!("{} same", grouped(count(judged, Now::Same)))];
    if count(judged, Now::Mended) > 0 {
        parts.push(format!(
            "{} mended since",
            grouped(count(judged, Now::Mended))
        ));
    }
    parts.push(format!("{} changed", grouped(count(judged, Now::Changed))));
    parts.push(format!(
        "{} unverifiable",
        grouped(count(judged, Now::Unverifiable))
    ));
    page.line("WINDOWS", &parts.join(" · "), Paint::Plain);
    if exit(false, judged) == Exit::Unknown {
        let why = match weight(judged.iter()) {
            0 => "the report has no entry in it: there is nothing to check",
            _ => "less than half of what they held could be checked",
        };
        page.line("", why, Paint::Plain);
    }
    let listed = |now: Now| judged.iter().filter(move |one| one.now == now);
    for one in listed(Now::Changed)
        .chain(listed(Now::Unverifiable))
        .take(LISTED)
    {
        let (label, paint) = match one.now {
            Now::Changed => ("CHANGED", Paint::Bad),
            Now::Same | Now::Mended | Now::Unverifiable => ("LOST", Paint::Warn),
        };
        let window = &one.window;
        let place = format!(
            "{}/{} {} to {}",
            window.database, window.stream, window.after, window.through
        );
        page.line(label, &place, paint);
        page.line("", &what(one), Paint::Plain);
    }
    let rest = count(judged, Now::Changed) + count(judged, Now::Unverifiable);
    if let Some(rest) = rest.checked_sub(LISTED as u64).filter(|rest| *rest > 0) {
        let more = format!("and {} more; --output json has all", grouped(rest));
        page.line("", &more, Paint::Plain);
    }
    if count(judged, Now::Changed) > 0 {
        page.line(
            "NEXT",
            "lockgate parity verify: what differs between the stores now",
            Paint::Plain,
        );
    }
    page.finish()
}

fn what(one: &Judged) -> String {
    let numbers = |side: &str, before: u64, now: u64| match before == now {
        true => format!("{side} holds as many, and not the same"),
        false => format!("{side} held {}, now {}", grouped(before), grouped(now)),
    };
    let mut parts: Vec<String> = one
        .changed
        .iter()
        .map(|side| match *side {
            "redis" => numbers("Redis", one.window.entries, one.entries_now),
            _ => numbers("Kafka", one.window.records, one.records_now),
        })
        .collect();
    match &one.unread {
        Some(why) => parts.push(why.clone()),
        None => parts.extend(one.why.map(|why| words::because(Some(why)).to_owned())),
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parity::report::tests::report;

    fn sum(count: u64, digest: u128) -> Sum {
        Sum { count, digest }
    }

    /// A window of 100 on both sides, with digest 100, judged by what is there now.
    fn judged(redis: Sum, kafka: Sum, lost: (Option<Why>, Option<Why>), level: bool) -> Judged {
        let window = crate::cli::parity::samples::window("s", 0, 100, level);
        judge(
            window,
            &Again {
                redis,
                kafka,
                redis_lost: lost.0,
                kafka_lost: lost.1,
                unread: None,
            },
        )
    }

    #[test]
    fn a_window_is_the_same_changed_lost_or_mended() {
        let none = (None, None);
        let same = judged(sum(100, 100), sum(100, 100), none, true);
        assert_eq!(same.now, Now::Same);
        let altered = judged(sum(100, 100), sum(100, 7), none, true);
        assert_eq!(
            (altered.now, altered.changed),
            (Now::Changed, vec!["kafka"])
        );
        let both = judged(sum(99, 1), sum(101, 2), none, true);
        assert_eq!(both.changed, ["redis", "kafka"]);
        let trimmed = judged(
            sum(40, 1),
            sum(100, 100),
            (Some(Why::RedisTrimmed), None),
            true,
        );
        assert_eq!(
            (trimmed.now, trimmed.why),
            (Now::Unverifiable, Some(Why::RedisTrimmed))
        );
        let expired = (Some(Why::RedisTrimmed), Some(Why::KafkaExpired));
        let one_side = judged(sum(40, 1), sum(100, 7), (expired.0, None), true);
        assert_eq!(
            one_side.now,
            Now::Changed,
            "a trim excuses Redis, not Kafka"
        );
        let unused = judged(sum(100, 100), sum(90, 7), expired, true);
        assert_eq!(
            (unused.now, unused.why),
            (Now::Unverifiable, Some(Why::KafkaExpired))
        );
        let mut on_the_way = crate::cli::parity::samples::window("s", 0, 100, true);
        on_the_way.records = 97;
        on_the_way.kafka_digest = format!("{:032x}", 97);
        let arrived = Again {
            redis: sum(100, 100),
            kafka: sum(100, 100),
            redis_lost: None,
            kafka_lost: None,
            unread: None,
        };
        assert_eq!(judge(on_the_way, &arrived).now, Now::Mended);
        let mended = judged(sum(100, 100), sum(100, 100), none, false);
        assert_eq!(mended.now, Now::Mended);
        let still = judged(sum(100, 100), sum(100, 101), none, false);
        assert_eq!(still.now, Now::Same, "apart as it was");
    }

    #[test]
    fn a_window_whose_stream_cannot_be_read_has_neither_changed_nor_stayed() {
        let window = crate::cli::parity::samples::window("s", 0, 100, true);
        let again = Again {
            redis: Sum::default(),
            kafka: Sum::default(),
            redis_lost: None,
            kafka_lost: None,
            unread: Some("the key holds a list, not a stream".to_owned()),
        };
        let judged = judge(window, &again);
        assert_eq!((judged.now, judged.changed.len()), (Now::Unverifiable, 0));
        assert_eq!(what(&judged), "the key holds a list, not a stream");
    }

    #[test]
    fn a_report_that_was_altered_is_not_the_stores_word() {
        let shown = text(
            &report(),
            Some("the chain breaks at window 2 of 3"),
            &[],
            Look::default(),
        );
        assert!(shown.contains("≠ NOT AS IN THE REPORT") && shown.contains("window 2 of 3"));
        assert_eq!(exit(true, &[]), Exit::Troubled);
        assert_eq!(exit(false, &[]), Exit::Unknown, "no windows, no answer");
    }

    #[test]
    fn each_window_that_is_not_the_same_is_named() {
        let none = (None, None);
        let all = [
            judged(sum(100, 100), sum(100, 100), none, true),
            judged(sum(100, 100), sum(99, 7), none, true),
            judged(
                sum(40, 1),
                sum(100, 100),
                (Some(Why::RedisTrimmed), None),
                true,
            ),
        ];
        let report = report();
        let shown = text(&report, None, &all, Look::default());
        let expected = format!(
            "\
messages  ≠ NOT AS IN THE REPORT
CHAIN     holds over 3 windows:
          {}
WINDOWS   1 same · 1 changed · 1 unverifiable
CHANGED   0/s 0-0 to 100-0
          Kafka held 100, now 99
LOST      0/s 0-0 to 100-0
          Redis has trimmed its stream past it
NEXT      lockgate parity verify: what differs between the stores now
",
            report.chain
        );
        assert_eq!(shown, expected, "\n{shown}");
        assert!(
            shown.lines().all(|line| line.chars().count() <= 80),
            "{shown}"
        );
        assert_eq!(exit(false, &all), Exit::Troubled);
        assert_eq!(exit(false, &all[..1]), Exit::Done);
        assert_eq!(exit(false, &all[2..]), Exit::Unknown);
        let [same, _, lost] = all;
        let half = [same.clone(), lost.clone()];
        assert_eq!(exit(false, &half), Exit::Done);
        let few = [same, lost.clone(), lost];
        assert_eq!(exit(false, &few), Exit::Unknown);
        let shown = text(&report, None, &few, Look::default());
        assert!(shown.contains("? COULD NOT TELL"), "{shown}");
        assert!(shown.contains("less than half"), "{shown}");
    }

    #[test]
    fn windows_weigh_what_they_held() {
        let held = |entries, records, now| {
            let mut one = judged(sum(100, 100), sum(100, 100), (None, None), true);
            (one.window.entries, one.window.records) = (entries, records);
            one.now = now;
            one
        };
        let empty = held(0, 0, Now::Same);
        let hollow = [empty.clone(), empty, held(70, 70, Now::Unverifiable)];
        assert_eq!(exit(false, &hollow), Exit::Unknown);
        let shown = text(&report(), None, &hollow, Look::default());
        assert!(shown.contains("less than half"), "{shown}");
        assert_eq!(exit(false, &hollow[..2]), Exit::Unknown);
        let shown = text(&report(), None, &hollow[..2], Look::default());
        assert!(shown.contains("nothing to check"), "{shown}");

        let lost = held(60, 60, Now::Unverifiable);
        let one_side = [held(0, 60, Now::Same), lost.clone()];
        assert_eq!(exit(false, &one_side), Exit::Done);
        let many = [held(10, 10, Now::Same), held(10, 10, Now::Mended), lost];
        assert_eq!(exit(false, &many), Exit::Unknown);
    }
}
