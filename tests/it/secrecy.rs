//! No payload and no secret is shown: not in a log at any level, not in a metric, the status or the command line.

use crate::harness::{DaemonOptions, RedisOptions, RedisServer, kafka};
use crate::plan::{Plan, Topic, await_level, await_state};

#[test]
fn no_payload_and_no_secret_is_shown_anywhere() {
    const SECRET: &str = "s3cretMARKERpassword";
    const PAYLOAD: &str = "pAyLoAdMaRkEr";
    let server = RedisServer::start(RedisOptions {
        password: Some(SECRET.to_owned()),
        ..RedisOptions::default()
    });
    let plan = Plan::on("silent", &server, 0, kafka()).route(
        "r",
        &["a"],
        "key = { field = \"key\", optional = true }\npartition = { hash = \"murmur2\" }\nheaders = { h = { field = \"data\" } }\n",
    );
    let mut plan = plan;
    plan.more = "[kafka.properties]\n\"sasl.password\" = \"s3cretMARKERkafka\"\n".to_owned();
    kafka().create_topic(&plan.topic("r"), 1, &[("max.message.bytes", "1500")]);
    let mut pipe = redis::pipe();
    for n in 0..50 {
        pipe.cmd("XADD")
            .arg("a")
            .arg("*")
            .arg("data")
            .arg(format!("{PAYLOAD}{n}"))
            .arg("key")
            .arg(PAYLOAD)
            .ignore();
    }
    // One that the route cannot encode, and one that the broker refuses.
    pipe.cmd("XADD")
        .arg("a")
        .arg("*")
        .arg("other")
        .arg(PAYLOAD)
        .ignore();
    pipe.query::<()>(&mut server.connection(0)).unwrap();
    let large: String = (0..400).map(|n| format!("{PAYLOAD}{n}")).collect();
    redis::cmd("XADD")
        .arg("a")
        .arg("*")
        .arg("data")
        .arg(large)
        .query::<()>(&mut server.connection(0))
        .unwrap();
    let daemon = plan.daemon_with(DaemonOptions {
        env: vec![("LOCKGATE_REDIS__PASSWORD".to_owned(), SECRET.to_owned())],
        arguments: ["--log-level", "trace"].map(str::to_owned).into(),
        ..DaemonOptions::default()
    });
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_count(50);
    let seen = await_level(&daemon, "a");
    assert_eq!(seen["dead_letters"], 2);
    // Errors of both edges as well.
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("requirepass")
        .arg("another")
        .query::<()>(&mut server.connection(0))
        .unwrap();
    server.pause();
    server.resume();
    drop(server);
    await_state(&daemon, "a", "waiting", "redis-unreachable");
    let log = daemon.log();
    assert!(log.contains("TRACE"), "not at the level of trace");
    let command_line =
        std::fs::read_to_string(format!("/proc/{}/cmdline", daemon.process().pid())).unwrap();
    let views = [
        ("the log", log),
        ("the metrics", daemon.metrics()),
        ("the status", daemon.status().unwrap().to_string()),
        ("the command line", command_line),
    ];
    for (view, text) in views {
        assert!(!text.is_empty(), "{view} is empty");
        for marker in ["s3cretMARKER", PAYLOAD] {
            let line = text.lines().find(|line| line.contains(marker));
            assert!(line.is_none(), "{marker} in {view}: {line:?}");
        }
    }
}
