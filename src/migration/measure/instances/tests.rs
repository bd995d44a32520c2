//! Never a whole where a shard has nobody, or two, or somebody who may be long gone; and no fault that is seen is left out.

use proptest::prelude::*;

use super::*;
use crate::migration::step::OfRoute;

const LIMIT: Duration = Duration::from_secs(5);
const NOW: i64 = 1_800_000_000_000;
const SHARDS: u32 = 4;
const ME: u64 = 1;

fn said(boot: u64, shards: &[u32], after_ms: i64) -> Summary {
    Summary {
        v: VERSION,
        boot,
        at_ms: after_ms,
        heard: Some(Heard {
            boot: ME,
            at_ms: after_ms,
        }),
        began: None,
        shards: shards.iter().map(|shard| (*shard, Some(3))).collect(),
        lag_seconds: Some(0.1),
        carried_seconds: Some(0.5),
        stream_entries: Some(1_000 * boot),
        entries: 100 * boot,
        dead: boot,
        audited: shards.iter().copied().collect(),
        open: 0,
        parity: Ok(compared(1_000, 1)),
        topics: Some(Topics::from([(
            "r".to_owned(),
            shards.iter().map(|shard| format!("t.{shard}")).collect(),
        )])),
        kafka: Some(true),
        tells: Some(1),
        judges_by: Some(1),
        strays: 0,
        stray_seconds: None,
        held: None,
        redis_groups: Some(Backlog {
            lag: 10 * boot,
            pending: boot,
        }),
    }
}

#[test]
fn what_groups_at_redis_have_before_them_is_known_of_all_streams_or_not_at_all() {
    let other = said(2, &[2, 3], NOW);
    let both = together(&[0, 1], &[("other", other.clone())]);
    let sum = Backlog {
        lag: 30,
        pending: 3,
    };
    assert_eq!(both.redis_groups, Some(sum));
    assert_eq!(together(&[0, 1], &[]).redis_groups, None);
    let silent = Summary {
        redis_groups: None,
        ..other
    };
    assert_eq!(together(&[0, 1], &[("other", silent)]).redis_groups, None);
}

fn compared(verified: u64, differ: u64) -> Compared {
    Compared {
        verified,
        differ,
        routes: [("r".to_owned(), OfRoute { verified, differ })].into(),
    }
}

fn together(own: &[u32], others: &[(&str, Summary)]) -> Sight {
    let others = others
        .iter()
        .map(|(name, said)| ((*name).to_owned(), said.clone()))
        .collect();
    Look {
        name: "me",
        own: &said(ME, own, NOW),
        others: &others,
        shards: SHARDS,
        limit: LIMIT,
        now_ms: NOW,
    }
    .together()
}

#[track_caller]
fn unknown(sight: &Sight) -> (String, String) {
    let lag = sight.lag.clone().expect_err("not all is seen");
    assert_eq!(sight.counts.whole, Err(lag.clone()));
    assert_eq!(sight.topics, Err(lag.clone()));
    assert_eq!((sight.lag_seconds, sight.carried_ms), (None, None));
    let parity = sight.counts.parity.clone().expect_err("not all is seen");
    (lag, parity)
}

#[test]
fn who_does_not_tell_routes_apart_is_no_evidence() {
    let mut older = said(2, &[1, 3], NOW);
    older.parity = Ok(Compared {
        routes: BTreeMap::new(),
        ..compared(1_000, 0)
    });
    let parity = {
        let sight = together(&[0, 2], &[("b", older)]);
        sight.counts.parity.expect_err("not by route")
    };
    assert!(
        parity.contains("b does not tell its routes apart"),
        "{parity}"
    );
}

#[test]
fn parts_that_make_the_whole_are_added_up() {
    let sight = together(&[0, 2], &[("b", said(2, &[1, 3], NOW - 1_200))]);
    assert_eq!(sight.lag, Ok(12));
    assert_eq!(sight.at_ms, NOW - 1_200, "as old as its oldest part");
    assert_eq!(sight.carried_ms, Some(NOW - 1_700));
    assert_eq!(sight.inconsistency, Reading::Value(0.0));
    assert_eq!(sight.counts.parity, Ok(compared(2_000, 2)));
    let dead: Vec<_> = sight
        .counts
        .processes
        .iter()
        .map(|(boot, one)| (*boot, one.dead))
        .collect();
    assert_eq!(dead, [(1, 1), (2, 2)]);
    assert_eq!(sight.topics.expect("known")["r"].len(), 4);
    assert_eq!(together(&[0, 1, 2, 3], &[]).at_ms, NOW);
}

#[test]
fn who_is_missing_is_said_with_the_shards_and_the_time() {
    let old = said(2, &[1, 3], NOW - 5_001);
    let (lag, parity) = unknown(&together(&[0, 2], &[("b", old)]));
    assert_eq!(
        lag,
        "no instance tells of shards 1, 3 now; b did last, at 2027-01-15T07:59:54Z"
    );
    assert!(
        parity.starts_with("no instance audits shards 1, 3 now; b"),
        "{parity}"
    );
    let (lag, _) = unknown(&together(&[0, 1, 2], &[]));
    assert_eq!(lag, "no instance tells of shard 3 now");
    let (lag, _) = unknown(&together(&[0, 1, 2], &[("b", said(2, &[2, 3], NOW))]));
    assert_eq!(lag, "more than one instance tells of shard 2: me and b");
    let (lag, _) = unknown(&together(&[0, 1, 2, 3], &[("b", said(2, &[4], NOW))]));
    assert_eq!(lag, "b tells of shard 4, and there are 4 shards");
}

#[test]
fn stamps_of_another_or_of_a_clock_that_was_set_back_are_none() {
    for heard in [
        None,
        Some(Heard {
            boot: 9,
            at_ms: NOW,
        }),
        Some(Heard {
            boot: ME,
            at_ms: NOW + 1,
        }),
    ] {
        let other = Summary {
            heard,
            ..said(2, &[1, 3], NOW)
        };
        unknown(&together(&[0, 2], &[("b", other)]));
    }
    // What a process of the own name left is not added to what it sees now.
    let before = said(7, &[1, 3], NOW);
    unknown(&together(&[0, 2], &[("me", before)]));
}

#[test]
fn what_one_does_not_know_nobody_knows_and_a_fault_is_one_all_the_same() {
    let apart = |open, parity: Result<Compared, String>| Summary {
        open,
        parity,
        ..said(2, &[1, 3], NOW)
    };
    let unseen = apart(0, Err("Kafka is out of reach".to_owned()));
    let sight = together(&[0, 2], &[("b", unseen)]);
    let why = "b: Kafka is out of reach".to_owned();
    assert_eq!(sight.counts.parity, Err(why.clone()));
    assert_eq!(sight.inconsistency, Reading::Unknown(why.clone()));
    let sight = together(&[0, 2], &[("b", apart(2, Err("it".to_owned())))]);
    assert_eq!(sight.inconsistency, Reading::Value(2.0));
    assert!(sight.counts.parity.is_err());

    let mut blind = said(2, &[1, 3], NOW);
    blind.shards.insert(3, None);
    let lag = together(&[0, 2], &[("b", blind)]).lag;
    assert_eq!(
        lag,
        Err("the mirror does not know the lag of shard 3 now".to_owned())
    );
    let idle = Summary {
        parity: Err("this instance owns no shard".to_owned()),
        ..said(3, &[], NOW)
    };
    let sight = together(&[0, 1, 2, 3], &[("c", idle)]);
    assert!(sight.counts.parity.is_ok() && sight.lag.is_ok());
}

#[test]
fn what_the_streams_hold_is_known_where_all_who_mirror_know_it() {
    let held = |other: Summary| together(&[0, 2], &[("b", other)]).stream_entries;
    let other = said(2, &[1, 3], NOW);
    assert_eq!(held(other.clone()), Ok(3_000));
    let unread = Summary {
        stream_entries: None,
        ..other.clone()
    };
    let why = held(unread).expect_err("not of all");
    assert!(why.starts_with("b does not know"), "{why}");
    let idle = Summary {
        stream_entries: None,
        ..said(2, &[], NOW)
    };
    let sight = together(&[0, 1, 2, 3], &[("b", idle)]);
    assert_eq!(sight.stream_entries, Ok(1_000));
    let why = together(&[0, 2], &[]).stream_entries;
    assert!(why.expect_err("shards of nobody").contains("shards 1, 3"));
}

#[test]
fn findings_are_added_up_by_the_shards_that_they_speak_of() {
    let audits = |boot, owned: &[u32], audited: &[u32]| Summary {
        audited: audited.iter().copied().collect(),
        ..said(boot, owned, NOW)
    };
    let sight = |own: Summary, other: Summary| {
        let others = BTreeMap::from([("b".to_owned(), other)]);
        let (name, limit, now_ms) = ("me", LIMIT, NOW);
        let look = Look {
            name,
            own: &own,
            others: &others,
            shards: SHARDS,
            limit,
            now_ms,
        };
        look.together()
    };
    // Two shards have just moved here, and the other's last round still speaks of them: once each.
    let moved = sight(audits(ME, &[0, 1, 2, 3], &[0, 2]), audits(2, &[], &[1, 3]));
    assert!(moved.lag.is_ok() && moved.counts.parity.is_ok());
    // Both have: what was found in one shard would count twice.
    let twice = sight(
        audits(ME, &[0, 1, 2, 3], &[0, 1, 2, 3]),
        audits(2, &[], &[1, 3]),
    );
    assert!(twice.lag.is_ok());
    assert_eq!(
        twice.counts.parity,
        Err("more than one instance audits shards 1, 3: me and b".to_owned())
    );
    assert!(matches!(twice.inconsistency, Reading::Unknown(_)));
}

#[test]
fn who_began_under_this_one_is_told_apart() {
    let mut young = said(2, &[1, 3], NOW);
    young.began = Some(Heard { boot: ME, at_ms: 5 });
    let mut older = said(3, &[], NOW);
    older.began = Some(Heard { boot: 8, at_ms: 5 });
    let sight = together(&[0, 2], &[("b", young), ("c", older)]);
    let began: Vec<_> = sight
        .counts
        .processes
        .values()
        .map(|one| one.began_here)
        .collect();
    assert_eq!(began, [false, true, false]);
}

/// One instance of the model; `skew_ms`: how far its clock is from the true time.
#[derive(Clone, Debug)]
struct One {
    boot: u64,
    skew_ms: i64,
    shards: BTreeSet<u32>,
    open: u64,
    heard: Option<Heard>,
}

#[derive(Clone, Debug)]
enum Event {
    Pass(i64),
    /// It takes a shard; whoever had it may not know yet.
    Takes(usize, u32),
    Loses(usize, u32),
    Restarts(usize),
    /// It reads who steers, ...
    Hears(usize),
    /// ... and only later, perhaps, says what it sees.
    Says(usize),
    Differs(usize, u64),
    Looks,
}

fn event() -> impl Strategy<Value = Event> {
    let one = 0..3_usize;
    prop_oneof![
        (0..2_000_i64).prop_map(Event::Pass),
        (one.clone(), 0..SHARDS).prop_map(|(i, shard)| Event::Takes(i, shard)),
        (one.clone(), 0..SHARDS).prop_map(|(i, shard)| Event::Loses(i, shard)),
        one.clone().prop_map(Event::Restarts),
        one.clone().prop_map(Event::Hears),
        one.clone().prop_map(Event::Says),
        one.clone().prop_map(Event::Says),
        (one, 0..3_u64).prop_map(|(i, open)| Event::Differs(i, open)),
        Just(Event::Looks),
        Just(Event::Looks),
    ]
}

proptest! {
    #[test]
    fn never_a_whole_with_a_shard_unaccounted_for(
        events in prop::collection::vec(event(), 1..200),
        skews in prop::array::uniform3(-600_000..600_000_i64),
    ) {
        let mut now = NOW;
        let mut boots = 10;
        let mut all: Vec<One> = skews
            .into_iter()
            .zip([vec![0, 1], vec![2], vec![3]])
            .map(|(skew_ms, shards)| {
                boots += 1;
                let shards = shards.into_iter().collect();
                One { boot: boots, skew_ms, shards, open: 0, heard: None }
            })
            .collect();
        // The first steers. What was left: by whom, and when that was seen in truth.
        let mut left: BTreeMap<String, Summary> = BTreeMap::new();
        let mut seen_at: BTreeMap<String, i64> = BTreeMap::new();
        let mut stamp: Option<Heard> = None;
        for event in events {
            match event {
                Event::Pass(ms) => now += ms,
                Event::Takes(i, shard) => drop(all[i].shards.insert(shard)),
                Event::Loses(i, shard) => drop(all[i].shards.remove(&shard)),
                Event::Differs(i, open) => all[i].open = open,
                Event::Restarts(i) => {
                    boots += 1;
                    let skew_ms = all[i].skew_ms;
                    all[i] = One { boot: boots, skew_ms, shards: BTreeSet::new(), open: 0, heard: None };
                }
                Event::Hears(i) => all[i].heard = stamp,
                Event::Says(i) if i > 0 => {
                    let one = &all[i];
                    let shards: Vec<u32> = one.shards.iter().copied().collect();
                    let summary = Summary {
                        at_ms: now + one.skew_ms,
                        heard: one.heard,
                        open: one.open,
                        ..said(one.boot, &shards, 0)
                    };
                    left.insert(i.to_string(), summary);
                    seen_at.insert(i.to_string(), now);
                }
                Event::Says(_) => {}
                Event::Looks => {
                    let (one, by_clock) = (&all[0], now + all[0].skew_ms);
                    stamp = Some(Heard { boot: one.boot, at_ms: by_clock });
                    let shards: Vec<u32> = one.shards.iter().copied().collect();
                    let own = Summary { open: one.open, ..said(one.boot, &shards, by_clock) };
                    let look = Look {
                        name: "0", own: &own, others: &left, shards: SHARDS, limit: LIMIT, now_ms: by_clock,
                    };
                    let sight = look.together();
                    let young: Vec<&Summary> = left
                        .iter()
                        .filter(|(name, _)| now - seen_at[*name] <= millis(LIMIT))
                        .map(|(_, said)| said)
                        .chain([&own])
                        .collect();
                    let speakers = |shard| young.iter().filter(|said| said.shards.contains_key(&shard)).count();
                    if sight.counts.whole.is_ok() {
                        for shard in 0..SHARDS {
                            prop_assert!(speakers(shard) >= 1, "nobody spoke for {shard} within the limit");
                        }
                        prop_assert_eq!(sight.lag, Ok(3 * u64::from(SHARDS)), "each counts once");
                        prop_assert!(sight.at_ms >= by_clock - millis(LIMIT));
                        prop_assert!(sight.counts.parity.is_ok());
                    }
                    // Who heard this one lately and speaks of a fault is believed.
                    let believed = left.values().chain([&own]).filter(|said| {
                        said.boot == own.boot || said.heard.is_some_and(|heard| {
                            heard.boot == own.boot && by_clock - heard.at_ms <= millis(LIMIT)
                        })
                    });
                    let open: u64 = believed.map(|said| said.open).sum();
                    if open > 0 {
                        #[expect(clippy::cast_precision_loss, reason = "few")]
                        let open = Reading::Value(open as f64);
                        prop_assert_eq!(&sight.inconsistency, &open);
                    } else if sight.counts.parity.is_err() {
                        prop_assert!(matches!(sight.inconsistency, Reading::Unknown(_)));
                    }
                    // No counter that was ever left is passed over.
                    for said in left.values() {
                        prop_assert!(sight.counts.processes.contains_key(&said.boot));
                    }
                }
            }
        }
    }
}

#[test]
fn kafka_has_to_answer_everybody_who_mirrors() {
    let with = |kafka, shards: &[u32]| {
        let other = Summary {
            kafka,
            ..said(2, shards, NOW - 1_000)
        };
        together(&[0, 2], &[("b", other)]).kafka
    };
    assert_eq!(with(Some(true), &[1, 3]), Ok(true));
    assert_eq!(with(Some(false), &[1, 3]), Ok(false));
    let why = with(None, &[1, 3]).expect_err("an older version");
    assert!(why.contains("b does not say"), "{why}");
    assert_eq!(with(Some(false), &[]), Ok(true), "it mirrors nothing");
    let gone = said(2, &[1, 3], NOW - 6_000);
    let gone = Summary {
        kafka: Some(false),
        ..gone
    };
    assert_eq!(
        together(&[0, 2], &[("b", gone)]).kafka,
        Ok(true),
        "long ago"
    );
}

#[test]
fn a_stray_counts_whoever_sees_it_and_none_is_known_only_where_all_look() {
    let mine = &[0, 2];
    let other = |judges_by, strays| Summary {
        judges_by: Some(judges_by),
        strays,
        ..said(2, &[1, 3], NOW)
    };
    let strays = |others: &[(&str, Summary)]| together(mine, others).strays;
    assert_eq!(strays(&[("b", other(1, 0))]), Reading::Value(0.0));
    assert_eq!(strays(&[("b", other(1, 3))]), Reading::Value(3.0));
    assert!(matches!(strays(&[("b", other(2, 3))]), Reading::Unknown(why) if why.contains('b')));
    assert!(matches!(strays(&[]), Reading::Unknown(why) if why.contains("shards 1, 3")));
}

#[test]
fn of_entries_in_held_buckets_the_last_is_known_whoever_saw_it() {
    let other = |bucket, seconds| Summary {
        held: Some(HeldStatus {
            bucket,
            seconds,
            ..HeldStatus::default()
        }),
        ..said(bucket.into(), &[], NOW)
    };
    let held = |others: &[(&str, Summary)]| {
        let held = together(&[0, 1, 2, 3], others).held;
        held.map(|held| held.bucket)
    };
    assert_eq!(held(&[]), None);
    assert_eq!(held(&[("b", other(7, 2.0)), ("c", other(8, 0.5))]), Some(8));
}
