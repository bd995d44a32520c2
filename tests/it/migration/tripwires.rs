//! Each threshold that can be measured, crossed in earnest: the step is taken back without anybody asking.

use std::time::Duration;

use lockgate::config::migration::{Action, Group};
use lockgate::migration::driver::now_ms;
use lockgate::migration::gate::{Measure, Reading, Sample};
use lockgate::migration::phase::Step;
use lockgate::migration::step::{Ask, Name, Verb};

use super::evidence::{commit, end, write};
use super::site::{LONG, Running, Site, runtime, who};
use crate::harness::{KafkaCluster, eventually_async, kafka, unique};

/// What the journal says of a tripwire of this measure.
fn fired(running: &Running, measure: Measure) -> bool {
    let view = running.handle.view();
    view.journal
        .iter()
        .any(|record| record.verb == Verb::Tripwire && record.reason.starts_with(measure.as_str()))
}

#[test]
fn a_group_that_falls_behind_takes_the_consumers_back_to_redis() {
    let mut site = Site::new("lagging");
    let group = unique("workers");
    site.real = &[Measure::GroupLag, Measure::UnderReplicated];
    site.config.tripwires.group_lag.beyond = 40;
    site.config.gates.group_lag = 10;
    site.config.groups = vec![Group {
        name: group.clone(),
        routes: Vec::new(),
        redis: None,
    }];
    kafka().create_topic(&site.topic, 4, &[]);
    let client = site.kafka();
    write(&client, &site.topic, 0, 30, 10);
    runtime().block_on(async {
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        running.climb(&site, Step::consumers(5)).await;
        let says = || {
            let gate = running.gate("group-lag").expect("a gate");
            (gate.value, gate.reason)
        };
        eventually_async(LONG, "a group without a commit is not at 0", async || {
            let (value, why) = says();
            (value.is_none() && why.contains("committed nothing"))
                .then_some(())
                .ok_or(why)
        })
        .await;
        commit(&group, &site.topic, 0, 0);
        eventually_async(LONG, "behind, and not too far", async || {
            says().0 == Some(30.0)
        })
        .await;
        assert_eq!(
            running.state().map(|state| state.step),
            Some(Step::consumers(5))
        );
        commit(&group, &site.topic, 0, end(&site.topic, 0));
        eventually_async(LONG, "level", async || says().0 == Some(0.0)).await;

        // The second partition is still Redis's: what lies there is nobody's lag yet.
        write(&client, &site.topic, 1, 100, 100);
        write(&client, &site.topic, 0, 41, 41);
        running.at(Step::SHADOW, Name::Steady).await;
        assert!(fired(&running, Measure::GroupLag));
        let fields = site.fields().await;
        assert_eq!(
            fields.get("kafka_partitions_percent").map(String::as_str),
            Some("0")
        );
        running.stop().await;
    });
}

#[test]
fn what_applications_push_beyond_a_threshold_takes_back_what_it_watches() {
    runtime().block_on(async {
        let mut site = Site::new("pushedtrips");
        site.real = &[
            Measure::Throughput,
            Measure::ErrorRate,
            Measure::ProduceErrors,
            Measure::WriteLatency,
            Measure::ReplicationLag,
            Measure::Disk,
        ];
        site.config.consumers = vec![100];
        site.config.ingress = vec![100];
        site.config.tripwires.rearm_evaluations = 1;
        for alarm in [
            &mut site.config.tripwires.replication_lag.action,
            &mut site.config.tripwires.disk.action,
        ] {
            *alarm = Action::RedisOnly;
        }
        let good = |measure| match measure {
            Measure::Throughput => Reading::Value(1_000.0),
            Measure::ReplicationLag | Measure::Disk => Reading::Value(0.0),
            _ => share(0),
        };
        let push = async |running: &Running, measure, reading| {
            let sample = Sample {
                measure,
                reading,
                at_ms: now_ms(),
            };
            let ask = Ask::Evidence(sample);
            running.handle.ask(who(), ask).await.expect("taken");
        };
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        for (measure, bad, from, to) in [
            (
                Measure::Throughput,
                Reading::Value(490.0),
                Step::consumers(100),
                Step::SHADOW,
            ),
            (
                Measure::ErrorRate,
                share(300),
                Step::consumers(100),
                Step::SHADOW,
            ),
            (
                Measure::ProduceErrors,
                share(300),
                Step::ingress(100),
                Step::consumers(100),
            ),
            (
                Measure::WriteLatency,
                share(900),
                Step::ingress(100),
                Step::consumers(100),
            ),
            (
                Measure::ReplicationLag,
                Reading::Value(11.0),
                Step::ingress(100),
                // Further back readers would leave what they find in Kafka alone.
                Step::consumers(100),
            ),
            (
                Measure::Disk,
                Reading::Value(0.81),
                Step::ingress(100),
                Step::consumers(100),
            ),
        ] {
            // Whoever pushes keeps pushing; here it is done for as long as the way up takes.
            for measure in site.real {
                push(&running, *measure, good(*measure)).await;
            }
            let climbing = running.climb(&site, from);
            let pushing = async {
                loop {
                    for measure in site.real {
                        push(&running, *measure, good(*measure)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::select! {
                () = climbing => {}
                () = pushing => {}
            }
            eventually_async(LONG, "it is taken back", async || {
                // One that is measured in the same millisecond as the last good one is taken for that.
                if !fired(&running, measure) {
                    push(&running, measure, bad.clone()).await;
                }
                let state = running.state();
                let back = |step| step == to && fired(&running, measure);
                state
                    .is_some_and(|state| back(state.step) && state.motion.is_none())
                    .then_some(())
                    .ok_or_else(|| {
                        let last = running.handle.view().journal.last().cloned();
                        format!("{measure}: {last:?}")
                    })
            })
            .await;
            push(&running, measure, good(measure)).await;
            if running.state().is_some_and(|state| state.frozen.is_some()) {
                let reason = "the cause is known".to_owned();
                running
                    .handle
                    .ask(who(), Ask::Resume { reason })
                    .await
                    .expect("resumed");
            }
        }
        running.stop().await;
    });
}

fn share(faults: u64) -> Reading {
    Reading::Counted {
        faults,
        total: 10_000,
        since_ms: now_ms(),
    }
}

/// Three brokers, one of them stopped: the tripwire fires, and what lasts is an incident that the gate knows.
#[test]
#[ignore = "three brokers take a minute on a small machine: for make soak"]
fn a_broker_that_is_stopped_fires_the_tripwire_and_becomes_an_incident() {
    let cluster = KafkaCluster::start(3);
    let mut site = Site::new("underreplicated");
    site.bootstrap = cluster.bootstrap();
    site.real = &[Measure::UnderReplicated];
    site.config.gates.incident = Duration::from_secs(2);
    site.config.tripwires.under_replicated.action = Action::Rollback;
    cluster.create_topic(&site.topic, 4, &[]);
    runtime().block_on(async {
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        running.climb(&site, Step::consumers(5)).await;
        cluster.stop(2);
        running.at(Step::SHADOW, Name::Steady).await;
        assert!(fired(&running, Measure::UnderReplicated));
        eventually_async(LONG, "it is an incident", async || {
            let gate = running.gate("incidents").ok_or("no gate")?;
            (gate.value == Some(1.0)).then_some(()).ok_or(gate.reason)
        })
        .await;
        cluster.restart(2);
        eventually_async(LONG, "it is over", async || {
            let gate = running.gate("incidents").ok_or("no gate")?;
            (gate.value == Some(0.0)).then_some(()).ok_or(gate.reason)
        })
        .await;
        running.stop().await;
    });
}
