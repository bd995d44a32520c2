//! The migration driver on real stores: a whole cutover, two drivers at once, takeover, lost states, zombies.
//!
//! The drivers run in this process; what parity, the mirror and applications would measure is put in by the test.

pub mod evidence;
mod faults;
mod following;
mod rights;
mod site;
mod tripwires;

use std::time::Duration;

use lockgate::flags::FlagsWriter;
use lockgate::migration::driver::now_ms;
use lockgate::migration::gate::{Measure, Reading, Sample};
use lockgate::migration::phase::{Course, Share, Step};
use lockgate::migration::step::{Ask, Name, Outcome, Record, Refusal, State, Verb};
use lockgate::migration::store::topic;
use lockgate::placement::Partition;
use lockgate::streams::{DriverSaved, Lease};
use lockgate::topics::{Headers, Record as KafkaRecord, Writer};

use crate::harness::{eventually_async, redis};
use site::{LONG, Site, WHY, runtime, who};

#[test]
fn a_state_is_saved_by_one_of_two_and_its_journal_is_never_overwritten() {
    runtime().block_on(async {
        let site = Site::new("cas");
        let (mut one, mut two) = (site.store("one"), site.store("two"));
        assert!(one.load().await.expect("read").is_none());
        let mut state = State::first(1, "one");
        state.version = 1;
        let record = |n, note: &str| Record {
            n,
            at_ms: 1,
            epoch: 1,
            who: "ana".to_owned(),
            origin: "here".to_owned(),
            verb: Verb::Hold,
            from: Step::SHADOW,
            to: Step::SHADOW,
            reason: String::new(),
            outcome: Outcome::Done,
            note: note.to_owned(),
            evidence: Vec::new(),
        };
        assert_eq!(
            one.save(&state, 0, &[record(1, "first")])
                .await
                .expect("saved"),
            DriverSaved::Saved
        );
        let late = two
            .save(&state, 0, &[record(1, "late")])
            .await
            .expect("answered");
        assert_eq!(late, DriverSaved::Conflict { found: 1 });
        let found = two.load().await.expect("read").expect("stored");
        assert_eq!(found, (state.clone(), 1), "it reads back as it was");
        state.version = 2;
        let again = two
            .save(&state, 1, &[record(1, "again"), record(2, "second")])
            .await
            .expect("saved");
        assert_eq!(again, DriverSaved::Saved);
        let notes: Vec<_> = one
            .journal(1..=3)
            .await
            .expect("read")
            .into_iter()
            .map(|record| record.note)
            .collect();
        assert_eq!(notes, ["first", "second"]);

        let length = Duration::from_secs(30);
        assert_eq!(one.lease(length).await.expect("asked"), Lease::Taken);
        assert_eq!(
            two.lease(length).await.expect("asked"),
            Lease::Other("one".to_owned())
        );
        two.release().await.expect("asked");
        assert_eq!(
            one.lease(length).await.expect("asked"),
            Lease::Kept,
            "another's lease is not given back"
        );
        one.release().await.expect("given back");
        assert_eq!(two.lease(length).await.expect("asked"), Lease::Taken);
    });
}

#[test]
fn a_whole_cutover_and_back_again_on_real_stores() {
    runtime().block_on(async {
        let site = Site::new("cutover");
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        assert_eq!(
            site.fields().await.get("QUEUE_BACKEND").map(String::as_str),
            Some("redis")
        );
        eventually_async(LONG, "a baseline", async || {
            running
                .handle
                .ask(who(), Ask::Baseline)
                .await
                .map(drop)
                .map_err(|refusal| refusal.to_string())
        })
        .await;
        let course = Course::new(&site.config);
        for step in course
            .steps()
            .iter()
            .skip(1)
            .filter(|step| **step < Step::CLEANUP)
        {
            running.promote(Verb::Promote, &site.name).await;
            running.at(*step, Name::Steady).await;
        }
        let fields = site.fields().await;
        assert_eq!(
            fields.get("USE_KAFKA_INGRESS").map(String::as_str),
            Some("true")
        );
        assert_eq!(fields.get("DUAL_WRITE").map(String::as_str), Some("false"));

        let back = Ask::Rollback {
            to: Some(Step::SHADOW),
            reason: WHY.to_owned(),
        };
        running.handle.ask(who(), back).await.expect("accepted");
        running.at(Step::SHADOW, Name::Steady).await;
        let fields = site.fields().await;
        assert_eq!(
            fields.get("USE_KAFKA_CONSUMERS").map(String::as_str),
            Some("false")
        );
        assert_eq!(fields.get("kafka_buckets").map(String::as_str), Some("0"));

        let state = running.state().expect("known");
        let mut store = site.store("reader");
        let journal = store.journal(1..=state.journal).await.expect("read");
        let numbers: Vec<u64> = journal.iter().map(|record| record.n).collect();
        assert_eq!(numbers, (1..=state.journal).collect::<Vec<_>>(), "no gap");
        let begun: Vec<_> = journal
            .iter()
            .filter(|record| {
                record.verb == Verb::Promote
                    && record.who == "ana"
                    && record.outcome == Outcome::Begun
            })
            .collect();
        assert_eq!(begun.len(), 8);
        assert!(
            begun
                .iter()
                .all(|record| !record.evidence.is_empty() && record.reason == WHY)
        );
        running.stop().await;
    });
}

#[test]
fn a_whole_migration_from_shadow_to_done_on_real_stores() {
    runtime().block_on(async {
        let mut site = Site::new("done");
        // The archive is for somebody to speak of.
        site.real = &[Measure::Archive];
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        running.climb(&site, Step::CLEANUP).await;
        running.at(Step::CLEANUP, Name::Steady).await;

        // What blocks it, and what would open it, is in the plan and in the refusal.
        let complete = async || {
            let plan = running.plan(Verb::Complete).await.expect("a plan");
            assert_eq!((plan.to, plan.way_back), (Step::DONE, None));
            running.complete(&plan, &site.name).await
        };
        let archive = async |faults, total, since_ms| {
            let sample = Sample {
                measure: Measure::Archive,
                reading: Reading::Counted {
                    faults,
                    total,
                    since_ms,
                },
                at_ms: now_ms(),
            };
            let said = running.handle.ask(who(), Ask::Evidence(sample)).await;
            said.expect("taken");
        };
        let refused = |why: &str, outcome: Result<(), Box<Refusal>>| {
            let refusal = outcome.expect_err(why).to_string();
            assert!(refusal.contains("archive"), "{refusal}");
            assert!(refusal.contains(why), "{refusal}");
        };
        refused("lockgate evidence archive", complete().await);
        archive(1, 61_220_408, now_ms()).await;
        refused("1 of 61220408 do not", complete().await);
        let before = running.state().expect("known").since_ms - 1;
        archive(0, 61_220_408, before).await;
        refused("from before this step on", complete().await);
        archive(0, 0, now_ms()).await;
        refused("there is none yet", complete().await);
        running.at(Step::CLEANUP, Name::Steady).await;

        archive(0, 61_220_408, now_ms()).await;
        eventually_async(LONG, "it is completed", async || {
            complete().await.map_err(|refusal| refusal.to_string())
        })
        .await;
        running.at(Step::DONE, Name::Steady).await;
        let fields = site.fields().await;
        assert_eq!(
            fields.get("kafka_buckets").map(String::as_str),
            Some("1024")
        );
        let back = running.rollback(None).await.expect_err("for good");
        assert!(matches!(*back, Refusal::NoWay { .. }), "{back}");

        let state = running.state().expect("known");
        let mut store = site.store("reader");
        let journal = store.journal(1..=state.journal).await.expect("read");
        let said: Vec<_> = journal
            .iter()
            .filter(|record| record.verb == Verb::Evidence)
            .map(|record| (record.who.as_str(), record.note.as_str()))
            .collect();
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said.iter().all(|(who, _)| *who == "ana"), "{said:?}");
        assert!(said[0].1.contains("1 of 61220408"), "{said:?}");
        running.stop().await;
    });
}

#[test]
fn another_takes_over_in_the_middle_of_a_step() {
    runtime().block_on(async {
        let site = Site::new("takeover");
        let one = site.start("one");
        one.at(Step::SHADOW, Name::Steady).await;
        let two = site.start("two");
        let holder = eventually_async(LONG, "the second stands by", async || {
            two.handle.view().holder.clone()
        })
        .await;
        assert_eq!(holder, "one");
        let hold = Ask::Hold {
            reason: WHY.to_owned(),
        };
        let refused = two
            .handle
            .ask(who(), hold)
            .await
            .expect_err("it does not steer");
        assert!(matches!(*refused, Refusal::Elsewhere(_)), "{refused}");

        one.handle
            .rehearse(who(), Step::consumers(5))
            .await
            .expect("proven");
        eventually_async(LONG, "the gates are open", async || {
            let view = one.handle.view();
            !view.verdicts.is_empty() && view.verdicts.iter().all(|verdict| verdict.opens())
        })
        .await;
        // Nobody follows any more, whichever instance is asked, so that the step stays on its way.
        one.world.abort();
        two.world.abort();
        one.promote(Verb::Promote, &site.name).await;
        eventually_async(LONG, "it waits for the application", async || {
            one.handle
                .view()
                .waiting
                .as_ref()
                .is_some_and(|what| what.contains("billing"))
        })
        .await;
        let before = one.state().expect("known").epoch;
        one.kill();
        let two = two.with_a_new_world(&site);
        two.at(Step::consumers(5), Name::Steady).await;
        let state = two.state().expect("known");
        assert!(state.epoch >= before);
        assert_eq!(
            state.told.share,
            Share {
                consumers: 5,
                ingress: 0
            }
        );
        assert_eq!(two.flags.borrow().map(|told| told.consumers), Some(5));
        assert_eq!(two.handle.view().holder, None);
        two.stop().await;
    });
}

/// Waits until Kafka has a copy of the state at this step.
async fn copied(site: &Site, step: Step) {
    eventually_async(LONG, "it is copied", async || {
        let copied = site.copy().read().await;
        match copied.map_err(|error| error.to_string())? {
            Some(copied) if copied.step == step => Ok(()),
            other => Err(format!("{:?}", other.map(|state| state.step))),
        }
    })
    .await;
}

#[test]
fn what_redis_lost_is_gone_on_with_from_the_copy() {
    runtime().block_on(async {
        let site = Site::new("lost");
        let one = site.start("one");
        one.at(Step::SHADOW, Name::Steady).await;
        one.promote(Verb::Promote, &site.name).await;
        one.at(Step::consumers(5), Name::Steady).await;
        let epoch = one.state().expect("known").epoch;
        copied(&site, Step::consumers(5)).await;
        one.stop().await;
        redis().command::<()>(site.database, "FLUSHDB");

        let two = site.start("two");
        two.at(Step::consumers(5), Name::Steady).await;
        assert!(two.state().expect("known").epoch >= epoch);
        let stored = site
            .store("reader")
            .load()
            .await
            .expect("read")
            .expect("stored again");
        assert_eq!(stored.0.step, Step::consumers(5));
        two.stop().await;
    });
}

#[test]
fn flags_that_redis_lost_with_the_state_are_told_anew() {
    runtime().block_on(async {
        let site = Site::new("lostflags");
        let one = site.start("one");
        one.at(Step::SHADOW, Name::Steady).await;
        one.climb(&site, Step::consumers(5)).await;
        copied(&site, Step::consumers(5)).await;
        let version = one.flags.borrow().expect("told").version.to_string();
        redis().command::<()>(site.database, "FLUSHDB");
        let fields = eventually_async(LONG, "the hash is there again", async || {
            let fields = site.fields().await;
            let view = one.handle.view();
            if fields.contains_key("version") {
                Ok(fields)
            } else {
                Err(format!("{:?} {:?}", view.error, view.trouble))
            }
        })
        .await;
        assert_eq!(fields["version"], version);
        assert_eq!(fields["kafka_partitions_percent"], "5");
        eventually_async(LONG, "the state is there again", async || {
            let stored = site.store("reader").load().await.expect("read");
            let step = stored.map(|(state, _)| state.step);
            (step == Some(Step::consumers(5)))
                .then_some(())
                .ok_or(format!("{step:?}"))
        })
        .await;
        one.stop().await;
    });
}

#[test]
fn flags_left_over_in_a_later_version_are_outrun_at_a_start_and_on_the_way() {
    runtime().block_on(async {
        let site = Site::new("leftover");
        let (writer, _) = FlagsWriter::new(&site.name);
        let leave = async |version| {
            let redis = site.redis();
            let mut connection = redis
                .connect(redis.default_database())
                .await
                .expect("connected");
            let mut flags = lockgate::flags::Flags::redis_only(version, 90);
            flags.ingress = 100;
            let told = writer.tell(&mut connection, flags).await.expect("told");
            assert_eq!(told, None);
        };
        leave(57).await;
        let one = site.start("one");
        one.at(Step::SHADOW, Name::Steady).await;
        let told = async |past: u64| {
            eventually_async(
                LONG,
                "the hash and the readers here say the same",
                async || {
                    let state = one.state().ok_or("no state")?;
                    let fields = site.fields().await;
                    let version = fields.get("version").cloned().unwrap_or_default();
                    let shown = one.flags.borrow().map(|told| told.version.to_string());
                    (state.told.version > past
                        && version == state.told.version.to_string()
                        && shown.as_ref() == Some(&version))
                    .then_some(fields)
                    .ok_or(format!("{version} {shown:?}"))
                },
            )
            .await
        };
        assert_eq!(told(57).await["kafka_buckets"], "0");
        one.climb(&site, Step::consumers(5)).await;
        leave(900).await;
        one.rollback(None).await.expect("accepted");
        one.at(Step::SHADOW, Name::Steady).await;
        let fields = told(900).await;
        assert_eq!(fields["kafka_buckets"], "0");
        assert_eq!(fields["kafka_partitions_percent"], "0");
        let journal = &one.handle.view().journal;
        assert!(journal.iter().any(|record| record.note.contains("900")));
        one.stop().await;
    });
}

#[test]
fn a_change_of_what_is_asked_or_of_who_is_waited_for_is_journaled_and_shown() {
    runtime().block_on(async {
        let mut site = Site::new("settings");
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        let rehearsed = running.handle.rehearse(who(), Step::consumers(5)).await;
        rehearsed.expect("proven");
        running.stop().await;

        site.flags.clients = vec!["search".to_owned()];
        site.prometheus.url = Some("http://127.0.0.1:9".to_owned());
        site.prometheus.queries = vec![lockgate::config::Query {
            measure: lockgate::config::Asked::Disk,
            value: Some("max(used)".to_owned()),
            faults: None,
            total: None,
            buckets: None,
            window: LONG,
        }];
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        let (journal, _) = running.handle.journal(0, 1_000).await.expect("read");
        let changed = journal.iter().rfind(|one| one.verb == Verb::Configure);
        let note = &changed.expect("journaled").note;
        for part in [
            r#"flags.clients: [] to ["search"]"#,
            "prometheus.queries.disk.value: max(used)",
        ] {
            assert!(note.contains(part), "{note}");
        }
        let reason = running.gate("rehearsal").map(|gate| gate.reason);
        assert!(
            reason
                .as_ref()
                .is_some_and(|why| why.contains("settings changed")),
            "{reason:?}"
        );
        running.stop().await;
    });
}

/// PROTOCOLS.md, test 25.
#[test]
fn a_zombie_drivers_late_record_does_not_count() {
    runtime().block_on(async {
        let site = Site::new("zombie");
        let mut store = site.store("one");
        let mut old = State::first(1, "one");
        (old.version, old.epoch) = (1, 1);
        store.save(&old, 0, &[]).await.expect("saved");
        let mut zombie = site.copy();
        assert!(zombie.write(&mut store, &old).await.expect("copied"));

        let mut new = old.clone();
        (new.version, new.epoch) = (2, 2);
        store.save(&new, 1, &[]).await.expect("saved");
        let mut rightful = site.copy();
        assert!(rightful.write(&mut store, &new).await.expect("copied"));

        // It looks into the store and sees that it is late ...
        assert!(!zombie.write(&mut store, &old).await.expect("looked"));
        // ... and one that had looked before it fell asleep is fenced: the store says what it said then.
        let elsewhere = Site {
            name: site.name.clone(),
            ..Site::new("zombie")
        };
        let mut asleep = elsewhere.store("one");
        asleep.save(&old, 0, &[]).await.expect("saved");
        assert!(zombie.write(&mut asleep, &old).await.is_err(), "fenced");
        let found = site.copy().read().await.expect("read").expect("copied");
        assert_eq!(found.epoch, 2);

        // Even a late record that did get in, behind the newer one, does not count.
        let (client, name) = (site.kafka(), site.name.clone());
        let value = serde_json::to_vec(&old).expect("serialises");
        let late = move || {
            let mut writer =
                Writer::open(&client, &format!("{name}.somebody"), LONG).expect("open");
            writer.begin().expect("begin");
            let record = KafkaRecord {
                topic: &topic(&name),
                partition: Partition(0),
                key: Some(b"driver"),
                value: Some(&value),
                headers: Headers::default(),
                timestamp_ms: now_ms(),
            };
            writer.send(record, 0).expect("send");
            writer.commit(LONG).expect("commit");
        };
        tokio::task::spawn_blocking(late).await.expect("written");
        let found = site.copy().read().await.expect("read").expect("copied");
        assert_eq!(found.epoch, 2, "the greater epoch is found");
    });
}

#[test]
fn flags_are_announced_and_an_older_version_is_never_written_over_a_newer() {
    runtime().block_on(async {
        let site = Site::new("flags");
        let (writer, reader) = FlagsWriter::new(&site.name);
        let mut connection = site
            .redis()
            .connect(site.redis().default_database())
            .await
            .expect("connected");
        let channel = format!("lockgate:{}:flags", site.name);
        let mut listening = redis().connection(site.database);
        let mut listener = listening.as_pubsub();
        listener.subscribe(&channel).expect("subscribed");
        let mut flags = lockgate::flags::Flags::redis_only(5, 2);
        flags.ingress = 50;
        let later = writer.tell(&mut connection, flags).await.expect("told");
        assert_eq!(later, None);
        let notice: String = listener
            .get_message()
            .expect("announced")
            .get_payload()
            .expect("a version");
        assert_eq!(notice, "5");
        let late = lockgate::flags::Flags::redis_only(4, 1);
        let later = writer.tell(&mut connection, late).await.expect("answered");
        assert_eq!(later, Some(5));
        assert_eq!(*reader.borrow(), Some(flags));
        let fields = site.fields().await;
        assert_eq!(fields.get("kafka_buckets").map(String::as_str), Some("512"));
        assert_eq!(fields.get("version").map(String::as_str), Some("5"));
    });
}

#[test]
fn entries_that_differ_freeze_it_and_leave_redis_alone_serving() {
    runtime().block_on(async {
        let site = Site::new("apart");
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        running.promote(Verb::Promote, &site.name).await;
        running.at(Step::consumers(5), Name::Steady).await;
        running.board.parity(|cell| {
            for route in cell.routes.values_mut() {
                route.found.open.insert("missing".to_owned(), 1);
            }
        });
        running.at(Step::SHADOW, Name::Frozen).await;
        let fields = site.fields().await;
        assert_eq!(
            fields.get("kafka_partitions_percent").map(String::as_str),
            Some("0")
        );
        let plan = Ask::Plan {
            verb: Verb::Promote,
            to: None,
        };
        let refused = running.handle.ask(who(), plan).await.expect_err("frozen");
        assert!(matches!(*refused, Refusal::Busy { .. }), "{refused}");
        running.stop().await;
    });
}
