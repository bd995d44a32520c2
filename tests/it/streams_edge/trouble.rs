//! Each trouble of a server has its own name, and the connection is usable afterwards where it can be.

use std::time::{Duration, Instant};

use lockgate::config;
use lockgate::entry::{Database, EntryId};
use lockgate::streams::{ErrorKind, Redis, Role};

use super::{config_of, connect, name, plain, tell, with};
use crate::harness::free_port;

#[tokio::test]
async fn a_key_of_another_type_is_named_so_and_leaves_the_connection_usable() {
    let server = plain();
    tell(server.port, &[b"SET", b"text", b"x"]);
    let mut redis = connect(&config_of(&server)).await;
    let streams = [(name("s"), EntryId::ZERO), (name("text"), EntryId::ZERO)];
    for block in [None, Some(Duration::from_millis(50))] {
        let error = redis
            .read(&streams, 10, block)
            .await
            .expect_err("wrong type");
        assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
    }
    assert!(redis.is_usable() && redis.server().await.is_ok());
}

#[tokio::test]
async fn replicas_refuse_writes_and_stale_ones_refuse_reads() {
    let master = plain();
    let replica = with(&[&format!("replicaof 127.0.0.1 {}", master.port)]);
    let mut redis = connect(&config_of(&replica)).await;
    let error = redis
        .mark_started(b"lockgate:t:started", &[name("a")])
        .await
        .expect_err("read-only");
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    assert_eq!(redis.replication().await.expect("read").role, Role::Replica);

    let stale = with(&["replica-serve-stale-data no"]);
    let nobody = free_port().to_string();
    tell(stale.port, &[b"REPLICAOF", b"127.0.0.1", nobody.as_bytes()]);
    let mut redis = connect(&config_of(&stale)).await;
    let error = redis
        .read(&[(name("s"), EntryId::ZERO)], 1, None)
        .await
        .expect_err("no master");
    assert_eq!(error.kind(), ErrorKind::MasterDown, "{error}");
}

#[tokio::test]
async fn a_promoted_replica_says_which_history_it_had() {
    let master = plain();
    tell(master.port, &[b"XADD", b"s", b"1-0", b"k", b"v"]);
    let replica = with(&[&format!("replicaof 127.0.0.1 {}", master.port)]);
    let mut redis = connect(&config_of(&replica)).await;
    let until = Instant::now() + Duration::from_secs(60);
    let mut masters = connect(&config_of(&master)).await;
    // A master takes a new name when its first replica joins.
    let before = loop {
        let name = masters.replication().await.expect("read").replid;
        if redis.replication().await.expect("read").replid == name {
            break name;
        }
        assert!(Instant::now() < until, "it never joined");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    tell(replica.port, &[b"REPLICAOF", b"NO", b"ONE"]);
    let after = redis
        .read(&[(name("s"), EntryId::ZERO)], 1, None)
        .await
        .expect("read")
        .replication;
    assert_eq!(
        (after.role, after.replid2.as_deref()),
        (Role::Master, Some(&before[..]))
    );
    assert!(after.replid != before && after.second_offset.is_some());
}

#[tokio::test]
async fn full_memory_and_clusters_and_too_many_clients_are_told_apart() {
    let full = with(&["maxmemory 1", "maxmemory-policy noeviction"]);
    let mut redis = connect(&config_of(&full)).await;
    let error = redis
        .mark_started(b"lockgate:t:started", &[name("a")])
        .await
        .expect_err("full");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    let said = redis.server().await.expect("server");
    assert!(!said.may_evict_streams() && said.maxmemory == 1 && said.used_memory > 1);

    // The bus would listen 10 000 ports higher, where outgoing connections have theirs.
    let bus = format!("cluster-port {}", free_port());
    let node = with(&["cluster-enabled yes", "databases 16", &bus]);
    let mut redis = connect(&config_of(&node)).await;
    let error = redis
        .read(&[(name("s"), EntryId::ZERO)], 1, None)
        .await
        .expect_err("no slots");
    assert_eq!(error.kind(), ErrorKind::Cluster, "{error}");
    assert!(redis.server().await.expect("server").cluster_enabled);

    let busy = with(&["maxclients 1"]);
    let redis = Redis::new(&config_of(&busy)).expect("configuration");
    let until = Instant::now() + Duration::from_secs(10);
    let _only = loop {
        // The harness's own look at the port may not be over yet.
        match redis.connect(Database(0)).await {
            Ok(connection) => break connection,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    let error = redis.connect(Database(0)).await.err().expect("no room");
    assert!(
        error.to_string().contains("max number of clients"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_still_loads_says_so_and_is_waited_for() {
    let slow = with(&[
        "key-load-delay 5000",
        "loading-process-events-interval-bytes 1024",
    ]);
    for n in 0..400 {
        tell(
            slow.port,
            &[b"SET", format!("k{n}").as_bytes(), &[b'x'; 2000]],
        );
    }
    tell(slow.port, &[b"SAVE"]);
    slow.kill();
    slow.launch();
    let until = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", slow.port)).is_err() {
        assert!(Instant::now() < until, "it did not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut redis = connect(&config_of(&slow)).await;
    assert!(redis.server().await.expect("server").loading);
    let streams = [(name("s"), EntryId::ZERO)];
    let error = redis.read(&streams, 1, None).await.expect_err("loading");
    assert_eq!(error.kind(), ErrorKind::Loading, "{error}");
    let until = Instant::now() + Duration::from_secs(20);
    while redis.read(&streams, 1, None).await.is_err() {
        assert!(redis.is_usable() && Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn nobody_there_and_a_name_that_is_none_are_unreachable() {
    for url in [
        format!("redis://127.0.0.1:{}", free_port()),
        "redis://no-such-host.invalid:1".to_owned(),
        "unix:///nowhere/redis.sock".to_owned(),
    ] {
        let config = config::Redis {
            url,
            ..config::Redis::default()
        };
        let error = Redis::new(&config)
            .expect("configuration")
            .connect(Database(0))
            .await
            .err()
            .expect("nobody");
        assert_eq!(
            (error.kind(), error.edge_kind()),
            (ErrorKind::Unreachable, "connect"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_frozen_server_is_a_timeout_and_the_end_of_the_connection() {
    let server = plain();
    let config = config::Redis {
        connect_timeout: Duration::from_millis(400),
        response_timeout: Duration::from_millis(300),
        ..config_of(&server)
    };
    let mut redis = connect(&config).await;
    server.pause();
    let began = Instant::now();
    let error = redis
        .read(
            &[(name("s"), EntryId::ZERO)],
            1,
            Some(Duration::from_millis(200)),
        )
        .await
        .expect_err("frozen");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(!redis.is_usable() && (500..1500).contains(&(began.elapsed().as_millis() as u64)));
    let again = Redis::new(&config)
        .expect("configuration")
        .connect(Database(0))
        .await;
    assert!(again.is_err(), "the kernel accepts, but nobody answers");
    server.resume();
    assert!(
        redis.replication().await.is_err(),
        "late answers are not taken for new ones"
    );
    connect(&config).await;
}
