//! Where a stream begins hangs on its route's `start` and on when it came, and on nothing else: not on which streams of the route
//! could be mirrored first, on a stop in between, or on what `start` was before anything was looked for.

use crate::harness::{Daemon, DaemonOptions, RedisOptions, RedisServer, eventually, kafka};
use crate::plan::{Plan, SOON, Topic, add, await_level, drain};

/// The same migration, begun otherwise.
fn plan(server: &RedisServer, name: Option<&str>, streams: &[&str], start: &str) -> Plan {
    let mut plan = Plan::on("starts", server, 0, kafka());
    if let Some(name) = name {
        name.clone_into(&mut plan.name);
    }
    plan.route("r", streams, &format!("start = \"{start}\"\n"))
}

/// Not all that it is told can be mirrored, so nobody waits until it is ready.
fn begun(plan: &Plan) -> Daemon {
    Daemon::start_with(&plan.toml(), DaemonOptions::default())
}

#[test]
fn what_could_not_be_looked_for_begins_as_the_route_says_when_it_can() {
    for (before, now) in [("earliest", "latest"), ("latest", "earliest")] {
        let server = RedisServer::start(RedisOptions::default());
        let streams = ["named", "globbed:*"];
        let early = plan(&server, None, &streams, before);
        kafka().create_topic(&early.topic("r"), 1, &[]);
        let named = add(&server, 0, "named", "old", 3);
        let old = add(&server, 0, "globbed:1", "old", 3);
        server.command::<()>(0, "ACL SETUSER default -scan");
        let mut daemon = begun(&early);
        let mut topic = Topic::new(&early.topic("r"));
        if before == "earliest" {
            topic.await_values("named", &named);
        }
        eventually(SOON, "it runs", || daemon.status().is_some());
        drain(&mut daemon);

        server.command::<()>(0, "ACL SETUSER default +scan");
        let late = plan(&server, Some(&early.name), &streams, now);
        let daemon = late.daemon();
        let seen = await_level(&daemon, "globbed:1");
        assert_eq!(seen["began"], now, "{seen}");
        let new = add(&server, 0, "globbed:1", "new", 3);
        let left_out = if now == "latest" { 3 } else { 0 };
        topic.await_values("globbed:1", &[&old[left_out..], &new].concat());
        let found = add(&server, 0, "globbed:2", "found", 3);
        topic.await_values("globbed:2", &found);
        topic.await_values("named", &named);
    }
}

#[test]
fn a_stream_that_could_not_begin_with_its_route_begins_as_the_route_says() {
    let server = RedisServer::start(RedisOptions::default());
    let plan = plan(&server, None, &["q:*"], "latest");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    for name in ["q:a", "q:b"] {
        add(&server, 0, name, "old", 3);
    }
    server.command::<()>(0, "ACL SETUSER default resetkeys ~q:a ~lockgate:*");
    let mut daemon = begun(&plan);
    await_level(&daemon, "q:a");
    let a = add(&server, 0, "q:a", "new", 3);
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("q:a", &a);
    drain(&mut daemon);

    server.command::<()>(0, "ACL SETUSER default allkeys");
    let c = add(&server, 0, "q:c", "came", 3);
    let daemon = plan.daemon();
    topic.await_values("q:c", &c);
    let seen = await_level(&daemon, "q:b");
    assert_eq!(seen["began"], "latest", "{seen}");
    let b = add(&server, 0, "q:b", "new", 3);
    topic.await_values("q:b", &b);
    topic.await_values("q:a", &a);
}
