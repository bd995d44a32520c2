//! `lockgate check` asks for what the driver needs of Redis, and names what is missing.

use crate::harness::{RedisOptions, RedisServer, Scratch, kafka, lockgate, unique};

const LEAST: &str = "user lockgate reset on >least resetchannels -@all +info +select +xread +xinfo|stream +xrange \
    +xrevrange +scan +type +multi +exec +smismember +sadd +eval +smembers +pttl +hmget +hgetall +hget +hset +hsetnx \
    +get +set +del +publish &lockgate:* %R~msg:* ~lockgate:*";

#[test]
fn what_the_driver_may_not_do_is_found_before_it_is_needed() {
    let server = RedisServer::start(RedisOptions {
        users: vec![LEAST.to_owned()],
        ..RedisOptions::default()
    });
    let (name, folder) = (unique("rights"), Scratch::new("rights"));
    kafka().create_topic(&name, 1, &[]);
    let file = folder.path().join("lockgate.toml");
    let check = |migration: &str| {
        let config = format!(
            "name = \"{name}\"\n[redis]\nurl = \"{}\"\nusername = \"lockgate\"\npassword = \"least\"\n\
             [kafka]\nbootstrap_servers = [\"{}\"]\n{migration}\n\
             [[routes]]\nname = \"r\"\nstreams = [\"msg:a\"]\ntopic = \"{name}\"\npartitions = 1\nvalue = {{ field = \"data\" }}\n",
            server.url(0),
            kafka().bootstrap(),
        );
        std::fs::write(&file, config).unwrap();
        let output = lockgate(&["check", "--config", file.to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    };
    let driven = "[migration]\nsettle = \"2s\"";
    let (well, text) = check(driven);
    assert!(well && !text.contains("migration driver"), "{text}");
    for (taken, says) in [
        ("-hsetnx", "HSETNX"),
        ("-pttl", "PTTL"),
        ("-publish", "PUBLISH"),
        ("resetchannels", "PUBLISH"),
        ("-hgetall", "`hgetall`"),
    ] {
        server.command::<()>(0, &format!("ACL SETUSER lockgate {taken}"));
        let (well, text) = check(driven);
        assert!(
            !well && text.contains("migration driver") && text.contains(says),
            "{taken}: {text}"
        );
        let (well, text) = check("");
        assert!(well, "who only mirrors is not asked for it: {text}");
        server.command::<()>(
            0,
            "ACL SETUSER lockgate +hsetnx +pttl +publish &lockgate:* +hgetall",
        );
    }
    server.command::<()>(0, "ACL SETUSER lockgate -sadd");
    let (well, text) = check("");
    assert!(!well && text.contains("sadd"), "{text}");
    let left: Vec<String> = server.command(0, "KEYS *");
    assert_eq!(left, [""; 0], "nothing is left behind");
}
