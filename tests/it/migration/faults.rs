//! Rollback from everywhere, two operators at once, and the network cut between the driver and either store.

use std::time::Duration;

use lockgate::flags::Flags;
use lockgate::migration::phase::{Course, Step};
use lockgate::migration::step::{Ask, Name, NotSaved, Outcome, Refusal, State, Trouble, Verb};
use lockgate::migration::store::Error;

use super::site::{LONG, Running, Site, WHY, runtime, who};
use crate::harness::{
    Cut, KafkaCluster, KafkaOptions, RedisOptions, RedisServer, eventually_async, kafka, redis,
};

#[test]
fn every_step_is_taken_back_and_taken_again_until_it_is_complete() {
    runtime().block_on(async {
        let site = Site::new("everystep");
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        let course = Course::new(&site.config);
        for step in course.steps().iter().skip(1) {
            if *step == Step::DONE {
                break;
            }
            let before = course.previous(*step).expect("not the first");
            running.climb(&site, *step).await;
            running.rollback(None).await.expect("accepted");
            running.at(before, Name::Steady).await;
            tells(&site, &running, before).await;
            running.climb(&site, *step).await;
            tells(&site, &running, *step).await;
        }
        assert_eq!(running.state().expect("known").step, Step::CLEANUP);
        let refused = running.plan(Verb::Promote).await.expect_err("for good");
        assert!(
            refused.to_string().contains("lockgate complete"),
            "{refused}"
        );
        running.promote(Verb::Complete, &site.name).await;
        running.at(Step::DONE, Name::Steady).await;
        tells(&site, &running, Step::DONE).await;
        let refused = running.rollback(Some(Step::SHADOW)).await;
        let refused = refused.expect_err("complete is for good");
        assert!(matches!(*refused, Refusal::NoWay { .. }), "{refused}");
        tells(&site, &running, Step::DONE).await;
        running.stop().await;
    });
}

/// What applications are told is the step's, in Redis and in this process alike.
async fn tells(site: &Site, running: &Running, step: Step) {
    let fields = site.fields().await;
    let of = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let buckets = u64::from(step.share().ingress) * 1_024;
    assert_eq!(of("kafka_buckets"), buckets.div_ceil(100).to_string());
    assert_eq!(of("held_buckets"), of("kafka_buckets"), "nothing is held");
    assert_eq!(
        of("kafka_partitions_percent"),
        step.share().consumers.to_string()
    );
    let told = running.flags.borrow().expect("told");
    assert_eq!(of("version"), told.version.to_string());
    assert_eq!(
        (told.consumers, told.ingress, told.hold_ingress_to),
        (step.share().consumers, step.share().ingress, None)
    );
}

#[test]
fn of_two_operators_at_once_one_promotes_and_the_other_is_told() {
    runtime().block_on(async {
        let site = Site::new("operators");
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        running
            .handle
            .rehearse(who(), Step::consumers(5))
            .await
            .expect("proven");
        open(&running).await;
        let (one, two) = (running.plan(Verb::Promote), running.plan(Verb::Promote));
        let (one, two) = tokio::join!(one, two);
        let (one, two) = (one.expect("a plan"), two.expect("a plan"));
        let (a, b, again) = tokio::join!(
            running.apply(&one),
            running.apply(&two),
            running.apply(&one)
        );
        let all = [a, b, again];
        let done = all.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(done, 1, "{all:?}");
        for refused in all.iter().filter_map(|answer| answer.as_ref().err()) {
            // The epoch turned, and with it every plan of the old one went.
            let told = matches!(**refused, Refusal::NoPlan | Refusal::Moved { .. });
            assert!(told, "{refused}");
        }
        running.at(Step::consumers(5), Name::Steady).await;

        // One holds while the other rolls back: both are done, in the order in which they came.
        let (hold, back) = (
            running.handle.ask(
                who(),
                Ask::Hold {
                    reason: WHY.to_owned(),
                },
            ),
            running.rollback(None),
        );
        let (hold, back) = tokio::join!(hold, back);
        hold.expect("held");
        back.expect("rolled back");
        running.at(Step::SHADOW, Name::Held).await;
        running.stop().await;
    });
}

async fn open(running: &Running) {
    eventually_async(LONG, "the gates are open", async || {
        let view = running.handle.view();
        !view.verdicts.is_empty() && view.verdicts.iter().all(|gate| gate.opens())
    })
    .await;
}

/// Gates open, and nobody follows any more: a step that is begun stays on its way.
async fn begin_and_stay(site: &Site, running: &Running) {
    running
        .handle
        .rehearse(who(), Step::consumers(5))
        .await
        .expect("proven");
    open(running).await;
    running.world.abort();
    running.promote(Verb::Promote, &site.name).await;
    eventually_async(LONG, "it waits for the application", async || {
        let view = running.handle.view();
        view.waiting
            .as_ref()
            .is_some_and(|what| what.contains("billing"))
    })
    .await;
}

/// Redis by a way of its own, which can be cut.
fn cut_off(site: &mut Site) -> Cut {
    cut_off_from(redis(), site)
}

fn cut_off_from(server: &RedisServer, site: &mut Site) -> Cut {
    let port = server.port;
    let cut = Cut::to_port(port);
    site.redis_url = site
        .redis_url
        .replace(&format!(":{port}/"), &format!(":{}/", cut.port()));
    assert!(site.redis_url.contains(&cut.port().to_string()));
    cut
}

#[test]
fn who_was_cut_off_while_another_steered_tells_its_readers_what_that_one_did() {
    runtime().block_on(async {
        let site = Site::new("lapsed");
        let mut lonely = Site {
            name: site.name.clone(),
            topic: site.topic.clone(),
            database: site.database,
            redis_url: site.redis_url.clone(),
            config: site.config.clone(),
            ..Site::new("lapsed")
        };
        let cut = cut_off(&mut lonely);
        let one = lonely.start("one");
        one.at(Step::SHADOW, Name::Steady).await;
        one.climb(&site, Step::consumers(5)).await;
        assert!(one.board.snapshot().driver.steers);
        cut.cut();
        eventually_async(
            LONG,
            "it does not call itself the one who steers",
            async || !one.board.snapshot().driver.steers,
        )
        .await;

        let two = site.start("two");
        two.at(Step::consumers(5), Name::Steady).await;
        two.rollback(None).await.expect("accepted");
        two.at(Step::SHADOW, Name::Steady).await;
        let told = *two.flags.borrow();
        two.stop().await;
        assert_eq!(one.flags.borrow().map(|told| told.consumers), Some(5));
        cut.mend();
        eventually_async(LONG, "its readers are told", async || {
            *one.flags.borrow() == told
        })
        .await;
        one.at(Step::SHADOW, Name::Steady).await;
        one.stop().await;
    });
}

#[test]
fn redis_out_of_reach_in_the_middle_of_a_step_moves_nothing_and_loses_nothing() {
    runtime().block_on(async {
        let mut site = Site::new("rediscut");
        let cut = cut_off(&mut site);
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        begin_and_stay(&site, &running).await;
        let told = *running.flags.borrow();

        cut.cut();
        let refused = running.rollback(None).await.expect_err("not stored");
        assert_eq!(*refused, Refusal::NotStored(NotSaved::Unreachable));
        eventually_async(LONG, "it says why", async || {
            running.handle.view().error.is_some()
        })
        .await;
        assert_eq!(*running.flags.borrow(), told, "readers keep what they had");
        let state = running.state().expect("known");
        assert!(state.motion.is_some(), "neither on nor back: {state:?}");

        cut.mend();
        eventually_async(LONG, "it goes back when it can", async || {
            running.rollback(None).await.map_err(|why| why.to_string())
        })
        .await;
        running.acknowledge();
        running.at(Step::SHADOW, Name::Steady).await;
        let newest: Option<Flags> = *running.flags.borrow();
        assert!(newest.map(|told| told.version) > told.map(|told| told.version));
        running.stop().await;

        // What a process never read it does not tell: its readers keep what they have.
        cut.cut();
        let running = site.start("one");
        eventually_async(LONG, "it says that it cannot read", async || {
            running.handle.view().error.is_some()
        })
        .await;
        assert_eq!(*running.flags.borrow(), None);
        cut.mend();
        running.at(Step::SHADOW, Name::Steady).await;
        eventually_async(LONG, "it tells what was told last", async || {
            *running.flags.borrow() == newest
        })
        .await;
        running.stop().await;
    });
}

#[test]
fn a_promotion_waits_until_kafka_has_a_copy_of_it_and_a_rollback_does_not() {
    let site = Site::new("uncopied");
    // No state is so small.
    let copy = format!("lockgate.{}.state", site.name);
    kafka().create_topic(&copy, 1, &[("max.message.bytes", "64")]);
    runtime().block_on(async {
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        eventually_async(LONG, "it says that it cannot be copied", async || {
            running.handle.view().copied.error.is_some()
        })
        .await;
        running.promote(Verb::Promote, &site.name).await;
        eventually_async(LONG, "it waits for the copy, and says why", async || {
            let waits = running.handle.view().waiting.clone().unwrap_or_default();
            let says = waits.contains("copy of the state in Kafka to be written: ");
            says.then_some(()).ok_or(waits)
        })
        .await;
        let fields = site.fields().await;
        let told = fields.get("kafka_partitions_percent").map(String::as_str);
        assert_eq!(told, Some("0"), "nobody is told");
        running.rollback(None).await.expect("accepted");
        running.at(Step::SHADOW, Name::Steady).await;
        running.stop().await;
    });
}

#[test]
fn kafka_out_of_reach_stops_a_promotion_and_no_rollback() {
    runtime().block_on(async {
        let cluster = KafkaCluster::start_options(KafkaOptions {
            cut: true,
            ..KafkaOptions::default()
        });
        let mut site = Site::new("kafkacut");
        site.bootstrap = cluster.bootstrap_through_cut();
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        begin_and_stay(&site, &running).await;
        cluster.cut(0).cut();
        running.rollback(None).await.expect("accepted");
        running.acknowledge();
        running.at(Step::SHADOW, Name::Steady).await;

        // The way back worked without Kafka; the way forward does not begin without it, and says so.
        let running = running.with_a_new_world(&site);
        open(&running).await;
        running.promote(Verb::Promote, &site.name).await;
        let note = eventually_async(LONG, "it returns to where it was", async || {
            let view = running.handle.view();
            let undone =
                view.journal.iter().rev().find(|record| {
                    record.verb == Verb::Promote && record.outcome == Outcome::Undone
                })?;
            Some(format!("{} {}", undone.note, undone.reason))
        })
        .await;
        assert!(note.contains("Kafka"), "{note}");
        running.at(Step::SHADOW, Name::Steady).await;
        let told = running.flags.borrow().expect("told");
        assert_eq!((told.consumers, told.ingress), (0, 0));

        cluster.cut(0).mend();
        running.promote(Verb::Promote, &site.name).await;
        running.at(Step::consumers(5), Name::Steady).await;
        running.stop().await;
    });
}

#[test]
fn a_backup_of_redis_is_steered_without_kafka_and_never_written_over_the_later_copy() {
    runtime().block_on(async {
        let cluster = KafkaCluster::start_options(KafkaOptions {
            cut: true,
            ..KafkaOptions::default()
        });
        let mut site = Site::new("kafkablind");
        site.bootstrap = cluster.bootstrap_through_cut();
        let one = site.start("one");
        one.at(Step::SHADOW, Name::Steady).await;
        one.climb(&site, Step::consumers(5)).await;
        let mut store = site.store("operator");
        let (backup, _) = store.load().await.expect("read").expect("stored");
        one.climb(&site, Step::consumers(25)).await;
        let copied = async || {
            let copy = site
                .copy()
                .read()
                .await
                .map_err(|error| error.to_string())?;
            copy.ok_or_else(|| "no copy".to_owned())
        };
        let later = eventually_async(LONG, "the last step is copied", async || {
            let copy = copied().await?;
            (copy.step == Step::consumers(25))
                .then_some(copy)
                .ok_or_else(String::new)
        })
        .await;
        one.stop().await;

        cluster.cut(0).cut();
        redis().command::<()>(site.database, &format!("DEL lockgate:{}:driver", site.name));
        store.save(&backup, 0, &[]).await.expect("restored");
        // Nobody waits for Kafka: the way back is open before it could have been read once.
        let copy = site.copy();
        let two = tokio::select! {
            _ = copy.read() => panic!("the driver waited for Kafka"),
            two = async {
                let two = site.start("two");
                two.at(Step::consumers(5), Name::Steady).await;
                two.rollback(None).await.expect("accepted");
                two.at(Step::SHADOW, Name::Steady).await;
                two
            } => two,
        };
        let told = (*two.flags.borrow(), site.fields().await);
        cluster.cut(0).mend();
        let trouble = eventually_async(LONG, "the copy is held against it", async || {
            two.handle.view().trouble.clone()
        })
        .await;
        assert_eq!(
            trouble,
            Trouble::Fork {
                epoch: backup.epoch + 1
            }
        );
        let refused = two.rollback(None).await.expect_err("nothing is moved");
        assert!(matches!(*refused, Refusal::Trouble(_)), "{refused}");
        let state = two.state().expect("known");
        let written = site.copy().write(&mut store, &state).await;
        assert!(matches!(written, Err(Error::Further(_))), "{written:?}");
        assert_eq!(copied().await, Ok(later.clone()), "it is there as it was");
        assert!(told.0.is_some());
        let tells = (*two.flags.borrow(), site.fields().await);
        assert_eq!(tells, told, "readers keep what they had");
        two.stop().await;

        // The operator keeps Kafka's.
        redis().command::<()>(site.database, &format!("DEL lockgate:{}:driver", site.name));
        redis().command::<()>(site.database, &format!("DEL lockgate:{}:flags", site.name));
        let three = site.start("three");
        three.at(Step::consumers(25), Name::Steady).await;
        assert_eq!(three.state().expect("known").epoch, later.epoch);
        three.stop().await;
    });
}

/// The state that the store holds is put back to an earlier one, as by a failover that lost saves.
async fn put_back(server: &RedisServer, site: &Site, earlier: &State) {
    for key in ["driver", "flags"] {
        let key = format!("lockgate:{}:{key}", site.name);
        server.command::<()>(site.database, &format!("DEL {key}"));
    }
    let mut store = site.store("operator");
    store.save(earlier, 0, &[]).await.expect("restored");
}

#[test]
fn a_store_that_lost_saves_and_takes_no_writes_holds_up_nobody_who_asks() {
    runtime().block_on(async {
        let server = RedisServer::start(RedisOptions::default());
        let site = Site {
            redis_url: server.url(0),
            database: 0,
            ..Site::new("noreplicas")
        };
        let mut beside = Site {
            name: site.name.clone(),
            redis_url: server.url(0),
            ..Site::new("noreplicas")
        };
        let cut = cut_off_from(&server, &mut beside);
        let one = beside.start("one");
        one.at(Step::SHADOW, Name::Steady).await;
        let (earlier, _) = site
            .store("operator")
            .load()
            .await
            .expect("read")
            .expect("stored");
        one.climb(&site, Step::consumers(5)).await;

        cut.cut();
        put_back(&server, &site, &earlier).await;
        server.command::<()>(0, "CONFIG SET min-replicas-to-write 1");
        cut.mend();
        for _ in 0..2 {
            let hold = Ask::Hold {
                reason: WHY.to_owned(),
            };
            let answer = tokio::time::timeout(LONG, one.handle.ask(who(), hold)).await;
            let refused = answer.expect("answered").expect_err("it cannot be stored");
            assert!(matches!(*refused, Refusal::NotStored(_)), "{refused}");
        }
        let status = one.board.snapshot().driver;
        assert!(status.store_error.is_some(), "{status:?}");
        assert_eq!(one.flags.borrow().map(|told| told.consumers), Some(5));

        server.command::<()>(0, "CONFIG SET min-replicas-to-write 0");
        eventually_async(LONG, "the later state is stored again", async || {
            let stored = site.store("operator").load().await.ok().flatten();
            stored.is_some_and(|(state, _)| state.step == Step::consumers(5))
        })
        .await;
        one.at(Step::consumers(5), Name::Steady).await;
        let mut store = site.store("operator");
        let notes = eventually_async(LONG, "what was lost is journaled", async || {
            let (state, _) = store.load().await.ok().flatten()?;
            let records = store.journal(1..=state.journal).await.ok()?;
            let lost = records
                .iter()
                .any(|record| record.note.contains("Redis had lost"));
            lost.then(|| records.iter().map(|record| record.n).collect::<Vec<u64>>())
        })
        .await;
        // The oldest went with the store; whoever steers has the newest.
        let first = notes.first().copied().expect("some");
        let all: Vec<u64> = (first..).take(notes.len()).collect();
        assert_eq!(notes, all, "the journal has no gap");
        assert!(notes.len() > 20, "{notes:?}");
        one.stop().await;
    });
}

#[test]
fn what_redis_lost_is_not_told_again_while_the_copy_can_say_otherwise() {
    runtime().block_on(async {
        let site = Site::new("lostback");
        let one = site.start("one");
        one.at(Step::SHADOW, Name::Steady).await;
        one.climb(&site, Step::consumers(5)).await;
        let (earlier, _) = site
            .store("operator")
            .load()
            .await
            .expect("read")
            .expect("stored");
        one.rollback(None).await.expect("accepted");
        one.at(Step::SHADOW, Name::Steady).await;
        eventually_async(LONG, "the way back is copied", async || {
            let copy = site.copy().read().await.ok().flatten();
            copy.is_some_and(|copy| copy.step == Step::SHADOW && copy.epoch > earlier.epoch)
        })
        .await;
        one.stop().await;

        put_back(redis(), &site, &earlier).await;
        let two = site.start("two");
        let mut reader = two.flags.clone();
        let seen = tokio::time::timeout(LONG, async {
            let mut seen = Vec::new();
            while seen.is_empty() {
                reader.changed().await.expect("it runs");
                seen.extend(reader.borrow_and_update().map(|told| told.consumers));
            }
            seen
        });
        assert_eq!(seen.await.expect("told"), [0], "nobody jumps forward");
        two.at(Step::SHADOW, Name::Steady).await;
        two.stop().await;
    });
}

#[test]
fn a_step_that_cannot_hear_of_every_stream_within_its_budget_is_not_begun() {
    runtime().block_on(async {
        let mut site = Site::new("seldom");
        site.config.consumers = vec![100];
        site.config.ingress = vec![100];
        site.looks_every = Duration::from_secs(600);
        let one = site.start("one");
        one.at(Step::SHADOW, Name::Steady).await;
        // While buckets are held, streams are looked for without a pause.
        one.climb(&site, Step::ingress(100)).await;
        one.handle
            .rehearse(who(), Step::CLEANUP)
            .await
            .expect("proven");
        open(&one).await;
        let plan = one.plan(Verb::Promote).await.expect("a plan");
        let refused = one.apply(&plan).await.expect_err("it could not end");
        assert!(
            matches!(*refused, Refusal::Budget { needs_ms, .. } if needs_ms >= 600_000),
            "{refused}"
        );
        assert!(one.state().expect("known").motion.is_none());
        one.stop().await;
        site.looks_every = Duration::ZERO;
        let one = site.start("one");
        one.at(Step::ingress(100), Name::Steady).await;
        one.climb(&site, Step::CLEANUP).await;
        one.stop().await;
    });
}
