//! Trouble with Redis: it evicts, is full, refuses, changes its history, or gets new secrets.

use lockgate::config::{self, Digest, Token};

use crate::harness::{
    DaemonOptions, Prometheus, RedisOptions, RedisServer, Role, Rules, Scratch, eventually, kafka,
    lockgate,
};
use crate::operator::walk::Walk;
use crate::plan::{Plan, SOON, Topic, add, await_level, await_state};
use crate::redis_failover::{Ids, Pair};

fn on(server: &RedisServer, what: &str) -> Plan {
    let plan = Plan::on(what, server, 0, kafka()).route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    plan
}

/// Redis goes and comes back.
pub fn edge_down(book: &str) {
    let server = RedisServer::start(RedisOptions {
        aof: true,
        ..RedisOptions::default()
    });
    let plan = on(&server, "book-edge");
    add(&server, 0, "a", "x", 10);
    let daemon = plan.daemon();
    await_level(&daemon, "a");
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    server.kill();
    prometheus.await_firing(book, "warning");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    server.restart();
    walk.until("Verify");
    walk.finish();
}

/// Large keys fill a Redis that makes room by taking any key.
pub fn evicting(book: &str) {
    let server = RedisServer::start(RedisOptions {
        maxmemory: Some((12 << 20, "allkeys-lru")),
        ..RedisOptions::default()
    });
    let plan = on(&server, "book-evicting");
    add(&server, 0, "a", "x", 10);
    let daemon = plan.daemon();
    await_level(&daemon, "a");
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_scrape();
    let mut connection = server.connection(0);
    let mut n = 0;
    eventually(SOON, "the alert fires while Redis evicts", || {
        n += 1;
        redis::cmd("SET")
            .arg(format!("filler{n}"))
            .arg("x".repeat(1 << 20))
            .query::<()>(&mut connection)
            .unwrap();
        let firing = prometheus.firing()?;
        let wanted = (book.to_owned(), "critical".to_owned());
        if firing.contains(&wanted) {
            Ok(())
        } else {
            Err(format!("{firing:?}"))
        }
    });
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    server.command::<()>(0, "CONFIG SET maxmemory-policy noeviction");
    server.command::<()>(0, "CONFIG SET maxmemory 1gb");
    walk.until("Verify");
    walk.finish();
}

/// `maxmemory` is set a little above what is used.
pub fn memory_high(book: &str) {
    let server = RedisServer::start(RedisOptions::default());
    let plan = on(&server, "book-memory");
    add(&server, 0, "a", "x", 10);
    let daemon = plan.daemon();
    await_level(&daemon, "a");
    let used: u64 = server.info("used_memory").unwrap().parse().unwrap();
    let limit = used * 100 / 95;
    server.command::<()>(0, &format!("CONFIG SET maxmemory {limit}"));
    eventually(SOON, "the share is seen", || {
        daemon.metric("lockgate_redis_memory_used_ratio", &[]) > Some(0.9)
    });
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    server.command::<()>(0, "CONFIG SET maxmemory 8gb");
    walk.until("Verify");
    walk.finish();
}

/// The mirror's user may not read streams.
pub fn refuses(book: &str) {
    let server = RedisServer::start(RedisOptions {
        users: vec!["user mirror on >word ~* &* +@all".to_owned()],
        ..RedisOptions::default()
    });
    let mut plan = on(&server, "book-refuses");
    plan.redis_more = "username = \"mirror\"\n".to_owned();
    let word = ("LOCKGATE_REDIS__PASSWORD", "word");
    let daemon = plan.daemon_with(DaemonOptions {
        env: vec![(word.0.to_owned(), word.1.to_owned())],
        ..DaemonOptions::default()
    });
    add(&server, 0, "a", "x", 10);
    await_level(&daemon, "a");
    server.command::<()>(0, "ACL SETUSER mirror -xread");
    server.command::<()>(0, "CLIENT KILL USER mirror");
    await_state(&daemon, "a", "waiting", "redis-noperm");
    let mut walk = Walk::new(book, &plan, &daemon, "a").with(word.0, word.1);
    walk.through("First minute");
    server.command::<()>(0, "ACL SETUSER mirror +xread");
    walk.until("Verify");
    walk.finish();
}

/// A password gets a successor while both are valid; the daemon is restarted with the new one.
pub fn rotate_secrets(book: &str) {
    let server = RedisServer::start(RedisOptions {
        users: vec!["user mirror on >old ~* &* +@all".to_owned()],
        ..RedisOptions::default()
    });
    let mut plan = on(&server, "book-secrets");
    plan.redis_more = "username = \"mirror\"\n".to_owned();
    let folder = Scratch::new("secrets");
    let (tokens, token) = (
        folder.path().join("tokens"),
        folder.path().join("ana.token"),
    );
    let old = std::fs::read_to_string(Role::Admin.token_file().with_file_name("tokens")).unwrap();
    std::fs::write(&tokens, &old).unwrap();
    let with = |word: &str| DaemonOptions {
        env: vec![("LOCKGATE_REDIS__PASSWORD".to_owned(), word.to_owned())],
        http: Some(format!("tokens_file = {tokens:?}")),
        ..DaemonOptions::default()
    };
    let mut daemon = plan.daemon_with(with("old"));
    add(&server, 0, "a", "x", 10);
    await_level(&daemon, "a");
    server.command::<()>(0, "ACL SETUSER mirror >new");
    let mut walk = Walk::new(book, &plan, &daemon, "a")
        .with("LOCKGATE_REDIS__PASSWORD", "new")
        .with("TOKEN_FILE", &token.display().to_string());
    walk.until("First minute");
    walk.through("Repair");
    let secret = std::fs::read_to_string(&token).unwrap();
    let new = Token {
        role: config::Role::Operator,
        name: "ana".to_owned(),
        digest: Digest::of(secret.trim()),
    };
    std::fs::write(&tokens, format!("{old}{new}\n")).unwrap();
    eventually(SOON, "the new token is good before any restart", || {
        let good = token.display().to_string();
        let words = ["journal", "--url", &daemon.url(), "--token-file", &good];
        lockgate(&words).status.success()
    });
    daemon.restart_with(with("new"));
    daemon.wait_ready();
    server.command::<()>(0, "ACL SETUSER mirror <old");
    walk.until("Verify");
    walk.finish();
    for good in [token, Role::Operator.token_file()] {
        let good = good.display().to_string();
        let words = ["journal", "--url", &daemon.url(), "--token-file", &good];
        let output = lockgate(&words);
        assert!(output.status.success(), "{good}: {output:?}");
    }
}

/// A replica takes over that lacks a suffix, and what came instead is trimmed already.
pub fn failover(book: &str) {
    let pair = Pair::start();
    let plan = pair.plan("book-failover", "");
    let ids = Ids::now();
    ids.add(&pair.master, "a", "old", 1..=10);
    let daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_count(10);
    pair.replica.caught_up_with(&pair.master);
    pair.link.cut();
    ids.add(&pair.master, "a", "lost", 11..=15);
    topic.await_count(15);
    await_level(&daemon, "a");
    pair.fail_over();
    ids.add(&pair.replica, "a", "instead", 12..=14);
    pair.replica.command::<()>(0, "XTRIM a MAXLEN 2");
    pair.address.lead_to(pair.replica.port);
    await_state(&daemon, "a", "halted", "failover-history-trimmed");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}
