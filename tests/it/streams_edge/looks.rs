//! Looks at keys without reading them, Lockgate's own keys, and that nothing else is ever written.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use lockgate::config;
use lockgate::entry::{Database, EntryId};
use lockgate::streams::{ErrorKind, GroupState, Inspected, Redis};

use super::{config_of, connect, id, name, packed, plain, tell};

#[tokio::test]
async fn keys_are_inspected_and_counted_in_one_atomic_look() {
    let server = plain();
    for entry in [b"1-0", b"2-0", b"3-0"] {
        tell(server.port, &[b"XADD", b"s", entry, b"k", b"v"]);
    }
    tell(server.port, &[b"XDEL", b"s", b"1-0"]);
    tell(server.port, &[b"XGROUP", b"CREATE", b"s", b"g", b"0"]);
    tell(server.port, &[b"SET", b"text", b"x"]);
    let mut redis = connect(&config_of(&server)).await;
    let found = redis
        .inspect(&[name("s"), name("none"), name("text")])
        .await
        .expect("inspected");
    let Inspected::Stream(state) = &found[0] else {
        panic!("{:?}", found[0]);
    };
    assert_eq!(
        (state.length, state.groups, state.entries_added),
        (2, 1, Some(3))
    );
    assert_eq!(
        (state.last_generated_id, state.first),
        (id("3-0"), Some(id("2-0")))
    );
    assert_eq!(state.max_deleted_entry_id, Some(id("1-0")));
    assert_eq!(
        found[1..],
        [
            Inspected::Absent,
            Inspected::NotAStream("string".to_owned())
        ]
    );

    let (inspected, entries) = redis
        .stocktake(&name("s"), id("2-0"), 10)
        .await
        .expect("stock");
    assert_eq!(inspected, found[0]);
    assert_eq!(
        entries.iter().map(|e| e.id).collect::<Vec<_>>(),
        [id("3-0")]
    );
    assert_eq!(
        redis
            .stocktake(&name("s"), id("3-0"), 10)
            .await
            .expect("stock")
            .1,
        []
    );
    assert_eq!(
        redis
            .stocktake(&name("none"), EntryId::ZERO, 10)
            .await
            .expect("stock"),
        (Inspected::Absent, vec![])
    );
    let (inspected, entries) = redis
        .stocktake(&name("text"), EntryId::ZERO, 10)
        .await
        .expect("stock");
    assert_eq!(
        (inspected, entries.len()),
        (Inspected::NotAStream("string".to_owned()), 0)
    );

    let many: Vec<_> = (0..350).map(|n| name(&format!("m{n}"))).collect();
    assert_eq!(
        redis.inspect(&many).await.expect("inspected"),
        vec![Inspected::Absent; 350]
    );
    assert!(redis.is_usable());
}

#[tokio::test]
async fn streams_are_found_by_pattern_and_only_streams() {
    let server = plain();
    for n in 0..1500 {
        tell(
            server.port,
            &[b"XADD", format!("job:{n}").as_bytes(), b"*", b"k", b"v"],
        );
    }
    tell(server.port, &[b"SET", b"job:text", b"x"]);
    tell(server.port, &[b"XADD", b"other", b"*", b"k", b"v"]);
    let mut redis = connect(&config_of(&server)).await;
    let (mut found, mut cursor) = (std::collections::BTreeSet::new(), 0);
    loop {
        let (next, names) = redis.scan(b"job:*", cursor).await.expect("scan");
        found.extend(names);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(found.len(), 1500);
}

#[tokio::test]
async fn what_was_started_is_kept_under_lockgates_own_key_and_nowhere_else() {
    let server = plain();
    let mut redis = connect(&config_of(&server)).await;
    let (key, streams) = (b"lockgate:test:started", [name("a"), name("b")]);
    redis
        .mark_started(key, &streams[..1])
        .await
        .expect("marked");
    assert_eq!(
        redis.started(key, &streams).await.expect("asked"),
        [true, false]
    );
    assert_eq!(redis.started(key, &[]).await.expect("asked"), [false; 0]);
    let error = redis
        .mark_started(b"users", &streams)
        .await
        .expect_err("not ours");
    assert!(error.to_string().contains("lockgate:"), "{error}");
    assert!(redis.is_usable());
    assert!(tell(server.port, &[b"EXISTS", b"users"]).starts_with(":0"));
}

#[tokio::test]
async fn each_connection_has_its_own_database() {
    let server = plain();
    let redis = Redis::new(&config_of(&server)).expect("configuration");
    let mut three = redis.connect(Database(3)).await.expect("connected");
    three
        .mark_started(b"lockgate:t:started", &[name("a")])
        .await
        .expect("marked");
    let mut zero = redis.connect(Database(0)).await.expect("connected");
    assert_eq!(
        zero.started(b"lockgate:t:started", &[name("a")])
            .await
            .expect("asked"),
        [false]
    );
    let error = redis
        .connect(Database(5000))
        .await
        .err()
        .expect("there are not so many");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("SELECT"), "{error}");
}

#[tokio::test]
async fn only_read_commands_reach_the_users_streams() {
    let server = plain();
    tell(server.port, &[b"XADD", b"s", b"1-0", b"k", b"v"]);
    let mut monitor = TcpStream::connect(("127.0.0.1", server.port)).expect("it runs");
    monitor.write_all(&packed(&[b"MONITOR"])).expect("sent");
    std::thread::sleep(Duration::from_millis(100));
    let mut redis = connect(&config_of(&server)).await;
    let (s, key) = (name("s"), b"lockgate:t:started");
    redis
        .read(
            &[(s.clone(), EntryId::ZERO)],
            10,
            Some(Duration::from_millis(5)),
        )
        .await
        .expect("read");
    redis
        .inspect(std::slice::from_ref(&s))
        .await
        .expect("inspected");
    redis.stocktake(&s, EntryId::ZERO, 10).await.expect("stock");
    redis
        .range(&s, EntryId::ZERO, EntryId::MAX, 10)
        .await
        .expect("range");
    redis
        .range_back(&s, EntryId::MAX, EntryId::ZERO, 10)
        .await
        .expect("range");
    redis.scan(b"*", 0).await.expect("scan");
    redis.server().await.expect("server");
    redis
        .started(key, std::slice::from_ref(&s))
        .await
        .expect("asked");
    redis
        .mark_started(key, std::slice::from_ref(&s))
        .await
        .expect("marked");
    tell(server.port, &[b"PING", b"the-end"]);
    let mut seen = String::new();
    let mut piece = [0; 4096];
    monitor
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set");
    while !seen.contains("the-end") {
        let length = monitor.read(&mut piece).expect("monitored");
        seen.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    for line in seen.lines().filter(|line| line.contains('"')) {
        let words: Vec<_> = line.split('"').skip(1).step_by(2).collect();
        let read = [
            "XREAD",
            "INFO",
            "XINFO",
            "MULTI",
            "EXEC",
            "XRANGE",
            "XREVRANGE",
            "SCAN",
            "PING",
            "SMISMEMBER",
        ]
        .contains(&words[0]);
        let own = words[0] == "SADD" && words[1].starts_with("lockgate:");
        assert!(read || own, "{line}");
    }
}

#[tokio::test]
async fn groups_are_looked_at_where_they_are() {
    let server = plain();
    for words in [
        &[&b"XADD"[..], b"a", b"1000-0", b"k", b"v"][..],
        &[b"XADD", b"a", b"2000-0", b"k", b"v"],
        &[b"XADD", b"a", b"3000-0", b"k", b"v"],
        &[b"XADD", b"b", b"1-0", b"k", b"v"],
        &[b"SET", b"text", b"x"],
        &[b"XGROUP", b"CREATE", b"a", b"others", b"$"],
        &[b"XGROUP", b"CREATE", b"a", b"workers", b"0"],
        &[
            b"XREADGROUP",
            b"GROUP",
            b"workers",
            b"one",
            b"COUNT",
            b"2",
            b"STREAMS",
            b"a",
            b">",
        ],
        &[b"XACK", b"a", b"workers", b"1000-0"],
    ] {
        assert!(!tell(server.port, words).starts_with('-'));
    }
    let mut redis = connect(&config_of(&server)).await;
    let names = ["a", "b", "none", "text"].map(name);
    let found = redis.group_states(&names, "workers").await.expect("looked");
    let found: Vec<_> = found.into_iter().map(|one| one.expect("seen")).collect();
    let workers = GroupState {
        pending: 1,
        oldest_pending: Some("2000-0".parse().expect("an id")),
        entries_read: Some(2),
        lag: Some(1),
    };
    assert_eq!(found, [Some(workers), None, None, None]);
    let many: Vec<_> = (0..120).map(|n| name(&format!("m{n}"))).collect();
    let none = redis.group_states(&many, "workers").await.expect("looked");
    assert_eq!(none.len(), 120);
    assert!(redis.is_usable());

    let least = [
        &b"ACL"[..],
        b"SETUSER",
        b"least",
        b"on",
        b">pw",
        b"~*",
        b"+info",
        b"+xinfo|groups",
    ];
    assert!(tell(server.port, &least).starts_with("+OK"));
    let mut least = connect(&config::Redis {
        username: Some("least".to_owned()),
        password: Some(config::Secret::new("pw")),
        ..config_of(&server)
    })
    .await;
    let found = least
        .group_states(&names[..2], "workers")
        .await
        .expect("looked");
    assert!(
        matches!(&found[0], Err(error) if error.kind() == ErrorKind::NoPermission),
        "{found:?}"
    );
    assert!(matches!(found[1], Ok(None)), "{found:?}");
}
