//! The harness's own tests: a harness that does not do what it says makes every other test worthless.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::harness::{
    Cut, Daemon, Fault, KafkaCluster, KafkaOptions, RedisOptions, RedisServer, Way, eventually,
    free_port, kafka, redis, unique,
};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_shared_servers_answer() {
    let begin = Instant::now();
    let database = redis().own_database();
    let id: String = redis().command(database, "XADD a * field value");
    println!("shared Redis, first use: {:?}", begin.elapsed());
    assert!(id.contains('-'));
    let begin = Instant::now();
    let topic = unique("answers");
    kafka().create_topic(&topic, 3, &[("compression.type", "lz4")]);
    println!("shared Kafka, first use and a topic: {:?}", begin.elapsed());
    assert!(kafka().describe_topic(&topic).contains("PartitionCount: 3"));
    assert_eq!(kafka().end_offsets(&topic).len(), 3);
    assert_eq!(kafka().leader(&topic, 2), Some(0));
}

#[test]
fn a_redis_with_an_append_only_file_comes_back_whole() {
    let server = RedisServer::start(RedisOptions {
        aof: true,
        ..RedisOptions::default()
    });
    server.command::<()>(1, "XADD a 5-1 field value");
    server.kill();
    assert!(server.try_connection(1).is_err());
    let begin = Instant::now();
    server.restart();
    println!("Redis again after a kill: {:?}", begin.elapsed());
    assert_eq!(server.command::<u32>(1, "XLEN a"), 1);
}

#[test]
fn a_replica_follows_and_is_promoted() {
    let master = RedisServer::start(RedisOptions::default());
    master.command::<()>(0, "SET a 1");
    let replica = RedisServer::start(RedisOptions {
        replica_of: Some(master.port),
        ..RedisOptions::default()
    });
    replica.caught_up_with(&master);
    let before = replica.info("master_replid");
    master.kill();
    replica.promote();
    assert_eq!(replica.info("role").as_deref(), Some("master"));
    assert_ne!(replica.info("master_replid"), before);
    assert_eq!(replica.command::<u32>(0, "GET a"), 1);
}

#[test]
fn a_redis_has_password_users_limits_tls_and_socket_as_asked() {
    let server = RedisServer::start(RedisOptions {
        password: Some("owner".to_owned()),
        users: vec!["user mirror on >secret ~* -@all +select +xlen".to_owned()],
        maxmemory: Some((64 << 20, "allkeys-lru")),
        tls: true,
        unix_socket: true,
        ..RedisOptions::default()
    });
    assert_eq!(
        server.info("maxmemory_policy").as_deref(),
        Some("allkeys-lru")
    );
    let ask = |url: String, command: &str| {
        let client = redis::Client::open(url).unwrap();
        redis::cmd(command)
            .arg("a")
            .query::<u32>(&mut client.get_connection()?)
    };
    let port = server.port;
    let mirror = format!("redis://mirror:secret@127.0.0.1:{port}/1");
    assert_eq!(ask(mirror.clone(), "XLEN").unwrap(), 0);
    assert_eq!(ask(mirror, "INCR").unwrap_err().code(), Some("NOPERM"));
    assert!(ask(server.bare_url(1), "XLEN").is_err(), "no password");
    assert!(server.socket_url(1).starts_with("unix:///"));
    let mut socket = redis::Client::open(format!("{}&pass=owner", server.socket_url(1)))
        .unwrap()
        .get_connection()
        .unwrap();
    assert_eq!(redis::cmd("INCR").arg("a").query(&mut socket), Ok(1));
    assert!(server.tls_file("ca.pem").is_file());
    TcpStream::connect((Ipv4Addr::LOCALHOST, server.tls_port())).unwrap();
}

#[test]
fn monitor_shows_what_a_server_was_asked() {
    let server = RedisServer::start(RedisOptions::default());
    let monitor = server.monitor();
    server.command::<u32>(7, "XLEN a");
    let asked = monitor.finish();
    let found: Vec<_> = asked.iter().filter(|asked| asked.database == 7).collect();
    assert!(
        found.iter().any(|asked| asked.words == ["XLEN", "a"]),
        "{asked:?}"
    );
}

/// A server that answers each byte with the same byte.
fn echo() -> u16 {
    let port = free_port();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut back = stream.try_clone().unwrap();
                std::io::copy(&mut &stream, &mut back)
            });
        }
    });
    port
}

fn talk(cut: &Cut) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, cut.port())).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

#[test]
fn a_cut_closes_stalls_and_counts_to_the_byte() {
    let cut = Cut::to_port(echo());
    let mut answer = [0; 5];
    let mut stream = talk(&cut);
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    cut.cut();
    assert_eq!(stream.read(&mut answer).unwrap_or(0), 0, "closed");
    assert_eq!(talk(&cut).read(&mut answer).unwrap_or(0), 0, "and new ones");
    cut.mend();
    let mut stream = talk(&cut);
    cut.stall();
    stream.write_all(b"again").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(stream.read(&mut answer).is_err(), "held back");
    cut.mend();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"again", "and delivered later");
    cut.after(Way::Answering, 3, Fault::Close);
    stream.write_all(b"third").unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    assert_eq!(all, b"thi");
    assert!(!cut.is_armed());
    assert_eq!(cut.passed(Way::Answering), 13);
}

#[test]
fn kafka_is_reached_through_a_cut_and_by_a_user_with_acls() {
    let cluster = KafkaCluster::start_options(KafkaOptions {
        cut: true,
        sasl: true,
        ..KafkaOptions::default()
    });
    cluster.create_topic("a", 1, &[]);
    let mut client = cluster.client();
    client.set("bootstrap.servers", cluster.bootstrap_through_cut());
    client.set("reconnect.backoff.max.ms", "100");
    let consumer: BaseConsumer = client.create().unwrap();
    let look = |consumer: &BaseConsumer| {
        consumer
            .fetch_metadata(Some("a"), Duration::from_millis(500))
            .map(|seen| seen.topics()[0].error().is_none())
    };
    eventually(SOON, "the topic is seen through the cut", || {
        look(&consumer).unwrap_or(false)
    });
    cluster.cut(0).cut();
    eventually(SOON, "and not when it is cut", || look(&consumer).is_err());
    cluster.cut(0).mend();
    eventually(SOON, "and again", || look(&consumer).unwrap_or(false));

    let mut client = cluster.client();
    for (key, value) in cluster.sasl_properties() {
        client.set(key, value);
    }
    let user: BaseConsumer = client.create().unwrap();
    eventually(SOON, "a user without an ACL is refused", || {
        look(&user).is_ok_and(|fine| !fine)
    });
    cluster.allow_user("--topic", "a", "Describe");
    eventually(SOON, "and permitted with one", || {
        look(&user).unwrap_or(false)
    });
}

#[test]
#[ignore = "long: make soak"]
fn three_nodes_survive_the_loss_of_a_leader() {
    let begin = Instant::now();
    let cluster = KafkaCluster::start(3);
    println!("three nodes: {:?}", begin.elapsed());
    cluster.create_topic("a", 3, &[]);
    let leader = cluster.leader("a", 0).unwrap();
    cluster.kill(leader);
    let next = eventually(Duration::from_secs(60), "another node leads", || {
        cluster.leader("a", 0).filter(|&node| node != leader)
    });
    let begin = Instant::now();
    cluster.restart(leader);
    println!("one of three again: {:?}", begin.elapsed());
    cluster.pause(next);
    cluster.resume(next);
    assert!(cluster.describe_topic("a").contains("PartitionCount: 3"));
}

#[test]
fn a_daemon_gets_a_port_of_its_own_and_its_end_is_seen() {
    let mut daemon = Daemon::start("name = \"not a name\"\nroutes = []\n");
    let written = std::fs::read_to_string(daemon.config_file()).unwrap();
    let listen = format!("listen = \"127.0.0.1:{}\"", daemon.port);
    assert!(written.contains(&listen), "{written}");
    daemon.wait(SOON);
    assert_eq!(daemon.status(), None);
    assert_eq!(daemon.metrics(), "");
    daemon.restart();
    daemon.kill9();
    assert!(daemon.exited().is_some());
}
