//! The mirror only reads: seen from Redis's side over a whole run, and shown by a user who may do nothing else.

use crate::harness::{DaemonOptions, RedisOptions, RedisServer, kafka};
use crate::plan::{Plan, SOON, Topic, await_level, await_state, drain, resume};

const READS: [&str; 7] = [
    "XREAD",
    "XINFO",
    "XRANGE",
    "XREVRANGE",
    "SCAN",
    "TYPE",
    "INFO",
];
const FRAME: [&str; 8] = [
    "MULTI", "EXEC", "AUTH", "HELLO", "CLIENT", "SELECT", "PING", "COMMAND",
];
const OWN: [&str; 5] = ["SMISMEMBER", "SMEMBERS", "SADD", "HMGET", "HGETALL"];
/// What the migration driver's scripts do, each to a key of Lockgate's own, its first word.
const SCRIPTED: [&str; 11] = [
    "SADD", "GET", "SET", "DEL", "HGET", "HGETALL", "HSET", "HSETNX", "PUBLISH", "SMEMBERS", "PTTL",
];

#[test]
fn a_whole_run_reads_and_the_least_user_suffices() {
    let server = RedisServer::start(RedisOptions {
        users: vec![
            "user lockgate reset on >least resetchannels -@all +info +select +xread +xinfo|stream +xrange \
             +xrevrange +scan +type +multi +exec +smismember +sadd +eval +smembers +pttl +hmget +hgetall +hget +hset +hsetnx +get +set +del +publish \
             &lockgate:* %R~msg:* ~lockgate:*"
                .to_owned(),
        ],
        ..RedisOptions::default()
    });
    let mut plan = Plan::on("shadow", &server, 3, kafka())
        .route("named", &["msg:one", "msg:gap", "msg:other"], "")
        .route("found", &["msg:found:*"], "topic = \"TOPIC.$1\"\n");
    let toml = plan.toml().replace("TOPIC", &plan.topic("found"));
    plan.redis_more = "username = \"lockgate\"\ndiscovery_interval = \"200ms\"\n".to_owned();
    let toml = toml.replacen("\n\n[kafka]", &format!("\n{}\n[kafka]", plan.redis_more), 1);
    kafka().create_topic(&plan.topic("named"), 1, &[]);
    // All of this test's own commands come from one connection.
    let mut connection = server.connection(3);
    let info: String = redis::cmd("CLIENT")
        .arg("INFO")
        .query(&mut connection)
        .unwrap();
    let own_address = info
        .split(' ')
        .find_map(|part| part.strip_prefix("addr="))
        .unwrap()
        .to_owned();
    let mut ask = |words: &str| {
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        command.query::<redis::Value>(&mut connection).unwrap();
    };
    let monitor = server.monitor();

    ask("SET msg:other text");
    for n in 0..20 {
        ask(&format!("XADD msg:one * data {n}"));
        ask(&format!("XADD msg:gap * data {n}"));
    }
    ask("XGROUP CREATE msg:one workers 0");
    let mut daemon = crate::harness::Daemon::start_with(
        &toml,
        DaemonOptions {
            env: vec![("LOCKGATE_REDIS__PASSWORD".to_owned(), "least".to_owned())],
            ..DaemonOptions::default()
        },
    );
    daemon.wait_ready();
    let mut topic = Topic::new(&plan.topic("named"));
    topic.await_count(40);
    await_state(&daemon, "msg:other", "halted", "not-a-stream");
    ask("XADD msg:found:x * data found");
    let mut found = Topic::new(&plan.topic("found.x"));
    await_level(&daemon, "msg:found:x");
    found.await_count(1);
    drain(&mut daemon);
    for n in 0..5 {
        ask(&format!("XADD msg:gap * data {n}"));
    }
    ask("XTRIM msg:gap MAXLEN 2");
    daemon.restart();
    daemon.wait_ready();
    await_state(&daemon, "msg:gap", "halted", "entries-trimmed");
    resume(&daemon, 3, "msg:gap", None);
    topic.await_count(42);
    ask("DEL msg:other");
    ask("XADD msg:other * data now");
    topic.await_count(43);
    daemon.term();
    assert!(daemon.wait(SOON).success());

    let own_key = format!("lockgate:{}:", plan.name);
    let asked = monitor.finish();
    let ours: Vec<_> = asked
        .iter()
        .filter(|one| one.client != own_address && one.words[0] != "PING")
        .collect();
    for command in ["XREAD", "XINFO", "SCAN", "SADD", "SMISMEMBER"] {
        assert!(
            ours.iter().any(|one| one.words[0] == command),
            "no {command} was seen: MONITOR shows too little"
        );
    }
    for one in ours {
        let word = one.words[0].as_str();
        let fine = if one.client == "lua" {
            SCRIPTED.contains(&word) && one.words[1].starts_with(&own_key)
        } else if word == "EVAL" {
            let keys = one.words[2].parse().expect("how many keys it has");
            let mut keys = one.words[3..].iter().take(keys);
            keys.all(|key| key.starts_with(&own_key))
        } else if OWN.contains(&word) {
            one.words[1].starts_with(&own_key)
        } else {
            READS.contains(&word) || FRAME.contains(&word)
        };
        assert!(fine, "{:?}", one.words);
        if word == "XINFO" {
            assert_eq!(one.words[1].to_uppercase(), "STREAM", "{:?}", one.words);
        }
    }
    let groups: redis::Value = redis::cmd("XINFO")
        .arg("GROUPS")
        .arg("msg:one")
        .query(&mut connection)
        .unwrap();
    assert!(
        matches!(groups, redis::Value::Array(groups) if groups.len() == 1),
        "the user's group alone"
    );
}
