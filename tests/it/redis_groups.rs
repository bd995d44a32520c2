//! The application's groups at Redis, as a daemon shows them of the streams that it mirrors.

use serde_json::Value;

use crate::harness::{Daemon, eventually, kafka, redis};
use crate::plan::{Plan, SOON, add, await_level};

/// What the status shows of the group.
fn shown(daemon: &Daemon) -> Option<Value> {
    let status = daemon.status()?;
    let groups = status["groups"].as_array()?;
    groups
        .iter()
        .find(|group| group["store"] == "redis")
        .cloned()
}

#[test]
fn what_a_group_at_redis_has_not_done_is_shown_and_nothing_of_it_is_touched() {
    let mut plan = Plan::new("redisgroups").route("r", &["a", "b"], "");
    plan.more = "[[migration.groups]]\nname = \"workers-kafka\"\nredis = \"workers\"\n".to_owned();
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    add(redis(), plan.database, "a", "x", 10);
    add(redis(), plan.database, "b", "x", 5);
    let daemon = plan.daemon();
    await_level(&daemon, "a");
    await_level(&daemon, "b");
    let metric = |name: &str, labels: &[(&str, &str)]| {
        daemon.metric(&format!("lockgate_groups_{name}"), labels)
    };
    let workers = [("group", "workers")];
    let at_redis = [("group", "workers"), ("store", "redis")];
    assert_eq!(
        metric("processed_total", &workers),
        Some(0.0),
        "from the first scrape"
    );
    let group = eventually(SOON, "it says that there is no such group", || {
        shown(&daemon).filter(|group| {
            group["reason"]
                .as_str()
                .is_some_and(|why| why.contains("has the group"))
        })
    });
    assert_eq!(group["lag_entries"], Value::Null);
    assert_eq!(metric("lag_entries", &at_redis), None);

    let run = |command: &str| {
        let words: Vec<&str> = command.split(' ').collect();
        redis::cmd(words[0])
            .arg(&words[1..])
            .query::<redis::Value>(&mut redis().connection(plan.database))
            .expect(command)
    };
    for stream in ["a", "b"] {
        run(&format!("XGROUP CREATE {stream} workers 0"));
        run(&format!(
            "XREADGROUP GROUP workers one COUNT 4 STREAMS {stream} >"
        ));
    }
    eventually(SOON, "its lag and what is pending are shown", || {
        let lag = metric("lag_entries", &at_redis);
        let pending = metric("pending_entries", &workers);
        if (lag, pending) == (Some(7.0), Some(8.0)) {
            Ok(())
        } else {
            Err(format!("{lag:?} {pending:?} {:?}", shown(&daemon)))
        }
    });
    assert!(metric("pending_oldest_seconds", &workers) > Some(0.0));
    run("XREADGROUP GROUP workers one COUNT 100 STREAMS a b > >");
    let pending = run("XPENDING a workers - + 100");
    let acknowledge = |stream: &str, reply: redis::Value| {
        let each: Vec<Vec<redis::Value>> = redis::from_redis_value(reply).expect("pending");
        for one in each {
            let id: String = redis::from_redis_value(one[0].clone()).expect("an id");
            run(&format!("XACK {stream} workers {id}"));
        }
    };
    acknowledge("a", pending);
    acknowledge("b", run("XPENDING b workers - + 100"));
    let mut fell = false;
    eventually(SOON, "all is done, and it was seen to fall", || {
        let group = shown(&daemon).ok_or("no group".to_owned())?;
        fell |= group["lag_per_second"]
            .as_f64()
            .is_some_and(|slope| slope < 0.0);
        let all = ["lag_entries", "pending_entries"].map(|name| group[name].as_u64());
        if fell && all == [Some(0), Some(0)] && group["pending_oldest_seconds"] == 0.0 {
            Ok(())
        } else {
            Err(group.to_string())
        }
    });
    assert_eq!(metric("processed_total", &workers), Some(15.0));
    for stream in ["a", "b"] {
        let consumers = format!("{:?}", run(&format!("XINFO CONSUMERS {stream} workers")));
        assert_eq!(consumers.matches("idle").count(), 1, "{consumers}");
        let groups = format!("{:?}", run(&format!("XINFO GROUPS {stream}")));
        assert_eq!(groups.matches("consumers").count(), 1, "{groups}");
    }
}
