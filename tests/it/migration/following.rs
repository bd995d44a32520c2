//! Applications that follow: acknowledgements in Redis, those that are expected by name, and the flags' file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lockgate::config::HeldWrites;
use lockgate::entry::{Database, StreamRef};
use lockgate::flags::file;
use lockgate::migration::driver::now_ms;
use lockgate::migration::gate::Answer;
use lockgate::migration::measure::{Heard, summary};
use lockgate::migration::phase::Step;
use lockgate::migration::step::{Name, Outcome, Verb};
use lockgate::placement::Shard;
use lockgate::status::{Board, Observation};
use tokio::sync::watch;

use super::site::{LONG, Running, Site, runtime, who};
use crate::harness::{Scratch, eventually_async, redis};

#[test]
fn a_step_waits_for_each_application_by_name_and_redis_is_a_way_to_answer() {
    runtime().block_on(async {
        let mut site = Site::new("following");
        site.flags.clients = vec!["search".to_owned()];
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        let clients = || running.gate("clients").expect("a gate");
        eventually_async(LONG, "the silent one stands in the way", async || {
            let gate = clients();
            (gate.verdict == Answer::Fail)
                .then_some(())
                .ok_or(gate.reason)
        })
        .await;
        let name = &site.name;
        let acknowledge = |client: &str, version: &str, life: &str| {
            let set = format!("SADD lockgate:{name}:flags-clients {client}");
            redis().command::<()>(site.database, &set);
            let key = format!("SET lockgate:{name}:flags-ack:{client} {version} {life}");
            redis().command::<()>(site.database, &key);
        };
        let version = || running.flags.borrow().expect("told").version;
        acknowledge("search", &version().to_string(), "EX 40");
        eventually_async(LONG, "it answered in Redis", async || {
            let gate = clients();
            (gate.verdict == Answer::Pass && gate.samples == 2)
                .then_some(())
                .ok_or(gate.reason)
        })
        .await;
        // None of these is an answer: a version that was never told, a text, a key that would count for ever.
        let no_answers = [
            ("early", "1000000", "EX 600"),
            ("babbling", "yes", "EX 600"),
            ("eternal", "1", ""),
        ];
        for (client, version, life) in no_answers {
            acknowledge(client, version, life);
        }
        eventually_async(LONG, "all three are waited for", async || {
            let gate = clients();
            gate.reason
                .contains("3 of 5")
                .then_some(())
                .ok_or(gate.reason)
        })
        .await;
        for (client, ..) in no_answers {
            let key = format!("DEL lockgate:{name}:flags-ack:{client}");
            redis().command::<()>(site.database, &key);
        }
        eventually_async(LONG, "they are forgotten", async || {
            clients().verdict == Answer::Pass
        })
        .await;

        running
            .handle
            .rehearse(who(), Step::consumers(5))
            .await
            .expect("proven");
        running.promote(Verb::Promote, name).await;
        let said = eventually_async(LONG, "the step says who has not followed", async || {
            let waiting = running.handle.view().waiting.clone()?;
            (waiting.contains("search") && !waiting.contains("billing")).then_some(waiting)
        })
        .await;
        assert!(said.contains("version"), "{said}");
        acknowledge("search", &version().to_string(), "EX 40");
        running.at(Step::consumers(5), Name::Steady).await;
        running.stop().await;
    });
}

/// Says by HTTP, to this instance alone, that it follows `version`.
async fn tell(running: &Running, client: &str, version: u64) {
    let followers = &running.handle.measurements.followers;
    assert!(followers.acknowledged(client, version, 40_000, now_ms()));
    followers.kept().await;
}

fn told(running: &Running) -> u64 {
    running.flags.borrow().expect("told").version
}

#[test]
fn an_application_is_waited_for_whichever_instance_it_asks_and_after_that_one_died() {
    runtime().block_on(async {
        let site = Site::new("heard");
        let steers = site.start("one");
        steers.at(Step::SHADOW, Name::Steady).await;
        let stands_by = site.start("two");
        eventually_async(LONG, "it shows what is told", async || {
            stands_by.flags.borrow().is_some()
        })
        .await;
        tell(&stands_by, "search", told(&stands_by)).await;
        eventually_async(LONG, "the one who steers knows it", async || {
            let gate = steers.gate("clients").ok_or("no gate")?;
            (gate.samples == 2).then_some(()).ok_or(gate.reason)
        })
        .await;
        let rehearsed = steers.handle.rehearse(who(), Step::consumers(5)).await;
        rehearsed.expect("proven");
        steers.promote(Verb::Promote, &site.name).await;
        let waits_for_it = async |running: &Running| {
            eventually_async(LONG, "it is waited for by name", async || {
                let view = running.handle.view();
                let waiting = view.waiting.clone().unwrap_or_default();
                (waiting.contains("search") && !waiting.contains("billing"))
                    .then_some(())
                    .ok_or(format!("{waiting:?} {:?}", view.state))
            })
            .await;
        };
        waits_for_it(&steers).await;
        // Both who heard of it die, and the next one has only ever heard of billing.
        stands_by.kill();
        steers.kill();
        let next = site.start("three");
        waits_for_it(&next).await;
        tell(&next, "search", told(&next)).await;
        next.at(Step::consumers(5), Name::Steady).await;
        next.stop().await;
    });
}

/// Names in the set of applications that acknowledge in Redis, from 1 on, and under each a version where `living`.
fn crowd(site: &Site, names: u32, living: bool) {
    let script = "for i = 1, tonumber(ARGV[2]) do redis.call('SADD', 'lockgate:' .. ARGV[1] .. ':flags-clients', 'pod-' .. i) \
                  if ARGV[3] == 'living' then redis.call('SET', 'lockgate:' .. ARGV[1] .. ':flags-ack:pod-' .. i, '1', 'EX', '600') end end";
    redis::cmd("EVAL")
        .arg(script)
        .arg(0)
        .arg(&site.name)
        .arg(names)
        .arg(if living { "living" } else { "gone" })
        .query::<()>(&mut redis().connection(site.database))
        .expect("written");
}

#[test]
fn processes_that_are_gone_leave_room_and_too_many_are_not_said_to_follow() {
    runtime().block_on(async {
        let site = Site::new("crowd");
        crowd(&site, 10_001, false);
        let living = format!("SADD lockgate:{}:flags-clients search", site.name);
        redis().command::<()>(site.database, &living);
        let key = format!("SET lockgate:{}:flags-ack:search 1 EX 600", site.name);
        redis().command::<()>(site.database, &key);
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        let clients = || running.gate("clients").expect("a gate");
        eventually_async(LONG, "the living one is known", async || {
            let gate = clients();
            (gate.samples == 2).then_some(()).ok_or(gate.reason)
        })
        .await;
        eventually_async(LONG, "the others are struck out", async || {
            let names = format!("SMEMBERS lockgate:{}:flags-clients", site.name);
            let names: Vec<String> = redis().command(site.database, &names);
            (names == ["search"]).then_some(()).ok_or(names.len())
        })
        .await;
        crowd(&site, 10_001, true);
        eventually_async(LONG, "nobody says that all follow", async || {
            let gate = clients();
            let said = gate.reason.contains("more applications");
            (gate.verdict == Answer::Inconclusive && said)
                .then_some(())
                .ok_or(gate.reason)
        })
        .await;
        running.stop().await;
    });
}

#[test]
fn flags_that_redis_lost_or_set_back_are_told_again() {
    runtime().block_on(async {
        let site = Site::new("retold");
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        running.climb(&site, Step::consumers(5)).await;
        running.at(Step::consumers(5), Name::Steady).await;
        let key = format!("lockgate:{}:flags", site.name);
        let version = told(&running).to_string();
        for loss in [
            format!("DEL {key}"),
            format!("HSET {key} version 1 kafka_partitions_percent 0"),
        ] {
            redis().command::<()>(site.database, &loss);
            eventually_async(LONG, "it is told again", async || {
                let fields = format!("HMGET {key} version kafka_partitions_percent");
                let fields: Vec<Option<String>> = redis().command(site.database, &fields);
                let whole = [Some(version.clone()), Some("5".to_owned())];
                (fields == whole).then_some(()).ok_or(format!("{fields:?}"))
            })
            .await;
        }
        running.stop().await;
    });
}

/// Waits until the step on its way does for this.
async fn waits_for(running: &Running, what: &str) {
    eventually_async(LONG, what, async || {
        let waiting = running.handle.view().waiting.clone();
        let state = || format!("{:?}", running.state().map(|state| state.step));
        let waiting = waiting.ok_or_else(state)?;
        waiting.contains(what).then_some(()).ok_or(waiting)
    })
    .await;
}

/// Another instance, of which nothing is there but what it says: whom it heard, and the version that it tells.
async fn another(site: Site, mut says: watch::Receiver<(Option<Heard>, u64)>) {
    let mut store = site.store("other");
    let board = Board::new(&site.name, "other", [("r", site.topic.as_str())]);
    loop {
        let (heard, tells) = *says.borrow_and_update();
        let mut said = summary(&board.snapshot(), 7, heard, now_ms());
        said.tells = Some(tells);
        store.say(&said, &[]).await.expect("said");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_step_waits_for_every_instance_that_lives_and_for_all_shards() {
    runtime().block_on(async {
        let site = Site::new("asked");
        let mut running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        // It lives and has not heard yet who steers, so that nobody knows what it tells.
        let (says, said) = watch::channel((None, 1));
        let twin = Site {
            name: site.name.clone(),
            database: site.database,
            redis_url: site.redis_url.clone(),
            ..Site::new("asked")
        };
        let other = tokio::spawn(another(twin, said));
        let mut store = site.store("reader");
        let one = eventually_async(LONG, "both are on the table", async || {
            let mut all = store.summaries().await.expect("read");
            let other = all.contains_key("other");
            all.remove("one").filter(|_| other)
        })
        .await;
        running.promote(Verb::Promote, &site.name).await;
        waits_for(&running, "other to say which version it tells").await;
        let heard = Heard {
            boot: one.boot,
            at_ms: now_ms() + 60_000,
        };
        says.send_replace((Some(heard), 1));
        waits_for(&running, "other to tell version").await;
        // It tells what the others do, and nobody sees what the streams of a shard hold.
        running.world.abort();
        let ended = (&mut running.world).await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
        running.acknowledge();
        running.board.disown_shard(Shard(0));
        says.send_replace((Some(heard), told(&running)));
        waits_for(&running, "no instance tells of shard 0 now").await;
        let running = running.with_a_new_world(&site);
        running.at(Step::consumers(5), Name::Steady).await;
        other.abort();
        running.stop().await;
    });
}

#[test]
fn what_is_asked_of_an_instance_that_does_not_steer_is_in_the_journal_once() {
    runtime().block_on(async {
        let site = Site::new("noted");
        let steers = site.start("one");
        steers.at(Step::SHADOW, Name::Steady).await;
        let stands_by = site.start("two");
        eventually_async(LONG, "it knows who steers", async || {
            stands_by.handle.view().holder.is_some()
        })
        .await;
        for nth in ["first", "second"] {
            stands_by.handle.note(who(), Outcome::Done, nth.to_owned());
        }
        let notes = async || {
            let (records, _) = steers.handle.journal(0, 1_000).await.expect("read");
            let calls = records.into_iter().filter(|one| one.verb == Verb::Call);
            calls
                .map(|one| (one.who, one.note))
                .collect::<Vec<(String, String)>>()
        };
        let noted = eventually_async(LONG, "both are noted", async || {
            let noted = notes().await;
            (noted.len() >= 2).then_some(noted)
        })
        .await;
        let of = |nth: &str| (who().name, format!("{nth} (asked of two)"));
        assert_eq!(noted, [of("first"), of("second")]);
        let left = format!("SMEMBERS lockgate:{}:notes", site.name);
        let left: Vec<String> = redis().command(site.database, &left);
        assert_eq!(left, [""; 0], "each left the set as it was journaled");
        // Nobody steers for a while: what is noted meanwhile waits.
        steers.kill();
        stands_by
            .handle
            .note(who(), Outcome::Done, "third".to_owned());
        eventually_async(LONG, "the next one journals it", async || {
            let (records, _) = stands_by.handle.journal(0, 1_000).await?;
            let last = records.last().map(|one| one.note.clone());
            (last.as_deref() == Some("third"))
                .then_some(())
                .ok_or(format!("{last:?}"))
        })
        .await;
        stands_by.stop().await;
    });
}

#[test]
fn held_buckets_wait_for_a_look_that_was_begun_after_applications_followed() {
    runtime().block_on(async {
        let mut site = Site::new("looked");
        (site.config.consumers, site.config.ingress) = (vec![100], vec![100]);
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        running.climb(&site, Step::consumers(100)).await;
        let stream = StreamRef::new(Database(0), "msg:a");
        let board = &running.board;
        board.own_stream(&stream, "r", &site.topic, Shard(0));
        let look = |added: u64, mirrored: u64| {
            board.stream(&stream, |cell| {
                cell.added_at_checkpoint = Some(mirrored);
                let seen = Observation {
                    at_ms: now_ms(),
                    entries_added: added,
                    length: added,
                };
                cell.observe(seen, Instant::now());
                // As Redis's clock has it, which is ahead.
                cell.oldest_unmirrored_ms = (added > mirrored).then(|| now_ms() + 3_000_000);
            });
        };
        look(5, 5);
        running.promote(Verb::Promote, &site.name).await;
        waits_for(&running, "looked for and at again").await;
        look(6, 5);
        waits_for(&running, "1 entries to be mirrored").await;
        // The last look for other streams was begun before.
        let before = Instant::now().checked_sub(LONG);
        board.found(Some(before.expect("the machine runs for longer")), 0);
        board.stream(&stream, |cell| cell.added_at_checkpoint = Some(6));
        waits_for(&running, "looked for and at again").await;
        board.found(Some(Instant::now()), 0);
        running.at(Step::ingress(100), Name::Steady).await;
        running.stop().await;
    });
}

#[test]
fn who_writes_what_is_held_keeps_a_step_waiting_unless_that_is_only_recorded() {
    runtime().block_on(async {
        for held_writes in [HeldWrites::Wait, HeldWrites::Record] {
            let mut site = Site::new("heldwrites");
            (site.config.consumers, site.config.ingress) = (vec![100], vec![100]);
            site.config.settle = Duration::from_millis(300);
            site.config.held_writes = held_writes;
            let running = site.start("one");
            running.at(Step::SHADOW, Name::Steady).await;
            running.climb(&site, Step::consumers(100)).await;
            let stream = StreamRef::new(Database(0), "msg:a");
            running
                .board
                .own_stream(&stream, "r", &site.topic, Shard(0));
            let writes = Arc::new(AtomicBool::new(true));
            let (board, goes_on) = (Arc::clone(&running.board), Arc::clone(&writes));
            let flags = running.flags.clone();
            // All is mirrored at every look.
            let mirror = tokio::spawn(async move {
                loop {
                    let told = flags.borrow().filter(|told| told.hold_ingress_to.is_some());
                    if let Some(told) = told.filter(|_| goes_on.load(Ordering::Relaxed)) {
                        board.held(told.version, &stream, 7);
                    }
                    board.stream(&stream, |cell| {
                        cell.added_at_checkpoint = Some(5);
                        let seen = Observation {
                            at_ms: now_ms(),
                            entries_added: 5,
                            length: 5,
                        };
                        cell.observe(seen, Instant::now());
                    });
                    board.found(Some(Instant::now()), 0);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            running.promote(Verb::Promote, &site.name).await;
            if held_writes == HeldWrites::Wait {
                waits_for(&running, "stream msg:a, bucket 7").await;
                writes.store(false, Ordering::Relaxed);
            }
            running.at(Step::ingress(100), Name::Steady).await;
            mirror.abort();
            running.stop().await;
        }
    });
}

#[test]
fn the_flags_file_follows_and_is_left_as_it_was_while_nothing_is_known() {
    runtime().block_on(async {
        let folder = Scratch::new("flags");
        let path = folder.path().join("flags.json");
        std::fs::write(&path, "as it was").expect("written");
        let site = Site::new("flagsfile");
        let running = site.start("one");
        let stop = tokio_util::sync::CancellationToken::new();
        let (writer, untold) = lockgate::flags::FlagsWriter::new("untold");
        let kept = file::keep(path.clone(), untold, stop.clone());
        let ended = tokio::time::timeout(Duration::from_millis(50), kept).await;
        assert!(ended.is_err(), "it waits to be told");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "as it was");
        drop(writer);

        running.at(Step::SHADOW, Name::Steady).await;
        let keeping = tokio::spawn(file::keep(
            path.clone(),
            running.flags.clone(),
            stop.clone(),
        ));
        running.climb(&site, Step::consumers(5)).await;
        let version = running.flags.borrow().expect("told").version;
        eventually_async(LONG, "the file says what is told", async || {
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            let found: serde_json::Value =
                serde_json::from_str(&text).map_err(|error| error.to_string())?;
            (found["metadata"]["version"] == version)
                .then_some(())
                .ok_or(text)
        })
        .await;
        stop.cancel();
        keeping.await.expect("it ends").expect("well");
        running.stop().await;
    });
}
