//! Who may enter, with which permissions, and by which way: password, ACL user, Unix socket, TLS.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use lockgate::config;
use lockgate::entry::{Database, EntryId};
use lockgate::streams::{Connection, ErrorKind, Redis};

use super::{config_of, connect, name, packed, plain, tell};
use crate::harness::{RedisOptions, RedisServer};

#[tokio::test]
async fn who_may_not_enter_is_told_so_without_the_password() {
    let server = RedisServer::start(RedisOptions {
        password: Some("secret-one".to_owned()),
        ..RedisOptions::default()
    });
    let with = |user: Option<&str>, password: Option<&str>| config::Redis {
        username: user.map(str::to_owned),
        password: password.map(config::Secret::new),
        ..config_of(&server)
    };
    for config in [
        with(None, None),
        with(None, Some("wrong-secret")),
        with(Some("nobody"), Some("wrong-secret")),
    ] {
        let redis = Redis::new(&config).expect("configuration");
        let error = redis.connect(Database(0)).await.err().expect("no entry");
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        assert!(
            !format!("{error} {error:?}").contains("wrong-secret"),
            "{error}"
        );
    }
    connect(&with(None, Some("secret-one"))).await;
    connect(&with(Some("default"), Some("secret-one"))).await;
}

const MINIMAL: &[&str] = &[
    "+info",
    "+select",
    "+xread",
    "+xinfo|stream",
    "+xrange",
    "+xrevrange",
    "+scan",
    "+type",
    "+multi",
    "+exec",
    "+smismember",
    "+sadd",
];

/// Every call once, as the forward mirror makes them.
async fn everything(redis: &mut Connection) -> Result<(), lockgate::streams::Error> {
    let (s, key) = (name("msg:1"), b"lockgate:t:started");
    redis
        .read(
            &[(s.clone(), EntryId::ZERO)],
            10,
            Some(Duration::from_millis(5)),
        )
        .await?;
    redis
        .inspect(&[s.clone(), name("msg:none"), name("msg:text")])
        .await?;
    redis.stocktake(&s, EntryId::ZERO, 10).await?;
    redis.range(&s, EntryId::ZERO, EntryId::MAX, 10).await?;
    redis
        .range_back(&s, EntryId::MAX, EntryId::ZERO, 10)
        .await?;
    redis.scan(b"msg:*", 0).await?;
    redis.server().await?;
    redis.started(key, std::slice::from_ref(&s)).await?;
    redis.mark_started(key, std::slice::from_ref(&s)).await
}

#[tokio::test]
async fn the_minimal_user_is_enough_and_nothing_of_it_is_too_much() {
    let server = plain();
    for database in 0..2u8 {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("it runs");
        let mut all = packed(&[b"SELECT", &[b'0' + database]]);
        all.extend(packed(&[b"XADD", b"msg:1", b"1-0", b"k", b"v"]));
        all.extend(packed(&[b"SET", b"msg:text", b"x"]));
        all.extend(packed(&[b"XADD", b"private", b"1-0", b"k", b"v"]));
        socket.write_all(&all).expect("sent");
        let _ = socket.read(&mut [0; 512]);
    }
    let grant = |commands: &[&str]| {
        let mut words: Vec<&[u8]> = vec![
            b"ACL",
            b"SETUSER",
            b"lockgate",
            b"reset",
            b"on",
            b">pw",
            b"resetchannels",
            b"-@all",
        ];
        words.extend(commands.iter().map(|c| c.as_bytes()));
        words.extend([&b"%R~msg:*"[..], b"~lockgate:*"]);
        assert!(tell(server.port, &words).starts_with("+OK"));
    };
    let config = config::Redis {
        username: Some("lockgate".to_owned()),
        password: Some(config::Secret::new("pw")),
        ..config_of(&server)
    };
    let redis = Redis::new(&config).expect("configuration");
    grant(MINIMAL);
    let mut connection = redis.connect(Database(1)).await.expect("connected");
    everything(&mut connection).await.expect("enough");
    let error = connection
        .read(&[(name("private"), EntryId::ZERO)], 1, None)
        .await
        .expect_err("another's key");
    assert_eq!(error.kind(), ErrorKind::NoPermission);
    assert!(
        error.to_string().contains("one of the keys of XREAD"),
        "{error}"
    );
    assert!(connection.is_usable());

    for left_out in MINIMAL {
        let commands: Vec<_> = MINIMAL.iter().copied().filter(|c| c != left_out).collect();
        grant(&commands);
        let outcome = match redis.connect(Database(1)).await {
            Ok(mut connection) => everything(&mut connection).await,
            Err(error) => Err(error),
        };
        if *left_out == "+type" {
            outcome.expect("only the name of a wrong type is missing without TYPE");
            continue;
        }
        let error = outcome.expect_err(left_out);
        assert_eq!(error.kind(), ErrorKind::NoPermission, "{left_out}: {error}");
        assert!(
            error.to_string().contains(&format!("`{}`", &left_out[1..])),
            "{left_out}: {error}"
        );
    }
}

#[tokio::test]
async fn a_unix_socket_serves_like_any_other() {
    let server = RedisServer::start(RedisOptions {
        unix_socket: true,
        ..RedisOptions::default()
    });
    let config = config::Redis {
        url: server.socket_url(2),
        ..config::Redis::default()
    };
    let mut redis = connect(&config).await;
    assert!(
        redis
            .read(&[(name("s"), EntryId::ZERO)], 1, None)
            .await
            .expect("read")
            .streams
            .is_empty()
    );
    assert!(server.socket_url(2).contains(&redis.peer().at));
}

#[tokio::test]
async fn tls_checks_both_sides_and_says_what_fails() {
    let server = RedisServer::start(RedisOptions {
        tls: true,
        tls_client_certificates: true,
        // A second address, which the certificate does not name.
        config: vec!["bind 127.0.0.1 127.0.0.2".to_owned()],
        ..RedisOptions::default()
    });
    let tls_port = server.tls_port();
    let config = |host: &str, ca: &str, client: bool| config::Redis {
        url: format!("rediss://{host}:{tls_port}/1"),
        tls_ca_file: Some(server.tls_file(ca)),
        tls_cert_file: client.then(|| server.tls_file("client.pem")),
        tls_key_file: client.then(|| server.tls_file("client.key")),
        ..config_of(&server)
    };
    let mut redis = connect(&config("localhost", "ca.pem", true)).await;
    let streams = [(name("s"), EntryId::ZERO)];
    assert!(
        redis
            .read(&streams, 1, Some(Duration::from_millis(20)))
            .await
            .expect("read")
            .streams
            .is_empty()
    );

    for (wrong, why) in [
        (config("localhost", "client.pem", true), "authority"),
        (config("127.0.0.2", "ca.pem", true), "name"),
        (config("localhost", "ca.pem", false), "client certificate"),
    ] {
        let error = Redis::new(&wrong)
            .expect("configuration")
            .connect(Database(1))
            .await
            .err()
            .expect(why);
        assert_eq!(error.kind(), ErrorKind::Tls, "{why}: {error}");
    }
    let plain = config::Redis {
        url: format!("rediss://localhost:{}", server.port),
        ..config("localhost", "ca.pem", true)
    };
    let error = Redis::new(&plain)
        .expect("configuration")
        .connect(Database(0))
        .await
        .err()
        .expect("no TLS there");
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    let missing = Redis::new(&config("localhost", "nowhere.pem", true)).expect_err("no such file");
    assert!(
        missing.to_string().contains("redis.tls_ca_file"),
        "{missing}"
    );
}
