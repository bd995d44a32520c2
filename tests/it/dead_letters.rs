//! Entries that cannot become records: found, kept whole in the dead-letter topic with their reason, and passed.
//!
//! What the route cannot encode is known before it is sent. What only the broker refuses fails its whole transaction and
//! has to be found: the rest of the stream, its order and its neighbours must not suffer for it.

use std::fmt::Write as _;

use lockgate::routing::dead_letter;

use crate::harness::{Daemon, Record, kafka, redis};
use crate::plan::{
    Plan, Topic, add, await_level, await_state, causes, drain, gaps, header, letters, resume,
};

/// Text that lz4 cannot make shorter by much.
pub fn noise(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 16);
    let mut state = 0x9e37_79b9_u64;
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        write!(text, "{:016x}", state ^ (state >> 29)).unwrap();
    }
    text.truncate(bytes);
    text
}

fn xadd(plan: &Plan, stream: &str, fields: &[(&[u8], &[u8])]) -> String {
    let mut command = redis::cmd("XADD");
    command.arg(stream).arg("*");
    for (name, value) in fields {
        command.arg(*name).arg(*value);
    }
    command
        .query(&mut redis().connection(plan.database))
        .unwrap()
}

fn fields_of(letter: &Record) -> Vec<(Vec<u8>, Vec<u8>)> {
    let fields = dead_letter::decode(letter.value.as_deref().unwrap()).unwrap();
    fields
        .into_iter()
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect()
}

fn letters_topic(plan: &Plan, route: &str) -> Topic {
    Topic::new(&format!("lockgate.{}.dead-letters.{route}", plan.name))
}

type Pair<'a> = (&'a [u8], &'a [u8]);

#[test]
fn what_the_route_cannot_encode_is_kept_whole_with_its_reason() {
    let plan = Plan::new("unroutable").route(
        "r",
        &["s"],
        "max_message_bytes = 2000\nvalue = { json = [\"id\", { field = \"meta\", as = \"json\" }] }\n",
    );
    kafka().create_topic(&plan.topic("r"), 1, &[("max.message.bytes", "2000")]);
    let large = noise(3000);
    let bad: [(&str, Vec<Pair>); 3] = [
        (
            "missing_field",
            vec![
                (b"id", b"1"),
                (b"", b"\x00\xff\xfe"),
                (b"twice", b"a"),
                (b"twice", b""),
            ],
        ),
        ("encode", vec![(b"id", b"2"), (b"meta", b"{\"open\":")]),
        (
            "too_large",
            vec![(b"id", large.as_bytes()), (b"meta", b"{}")],
        ),
    ];
    let mut ids = Vec::new();
    for (n, (_, fields)) in bad.iter().enumerate() {
        xadd(
            &plan,
            "s",
            &[
                (b"id", format!("good{n}").as_bytes()),
                (b"meta", b"{\"a\": 1}"),
            ],
        );
        ids.push(xadd(&plan, "s", fields));
    }
    xadd(&plan, "s", &[(b"id", b"last"), (b"meta", b"null")]);
    let daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    let good =
        ["good0", "good1", "good2"].map(|id| format!("{{\"id\":\"{id}\",\"meta\":{{\"a\": 1}}}}"));
    let expected = [&good[..], &["{\"id\":\"last\",\"meta\":null}".to_owned()]].concat();
    topic.await_values("s", &expected);
    let mut letter_topic = letters_topic(&plan, "r");
    let found = letter_topic.await_count(3);
    for ((letter, (reason, fields)), id) in found.iter().zip(&bad).zip(&ids) {
        assert_eq!(letter.key.as_deref(), Some(&b"s"[..]));
        let headers =
            ["reason", "route", "redis-stream", "redis-id"].map(|name| header(letter, name));
        assert_eq!(headers, [reason, "r", "s", id]);
        let raw: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect();
        assert_eq!(fields_of(letter), raw, "{reason}");
    }
    assert_eq!(
        letters(&daemon, "r"),
        causes(&[("missing_field", 1), ("encode", 1), ("too_large", 1)])
    );
    let seen = await_level(&daemon, "s");
    assert_eq!(
        (
            seen["mirrored_entries"].as_u64(),
            seen["dead_letters"].as_u64()
        ),
        (Some(4), Some(3))
    );
    assert!(
        !daemon.log().contains("\\xff") && !daemon.log().contains("\"open\""),
        "a payload in the log"
    );
}

/// A stream whose n-th entry is far too large for the topic, and a neighbour in the same shard.
fn with_poison(plan: &Plan, places: &[u64]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let mut expected = Vec::new();
    let mut poison = Vec::new();
    let large = noise(3000);
    for n in 0..300 {
        if places.contains(&n) {
            poison.push(xadd(
                plan,
                "bad",
                &[(b"data", large.as_bytes()), (b"raw", b"\xff\x00")],
            ));
        } else {
            let value = format!("v{n}");
            xadd(plan, "bad", &[(b"data", value.as_bytes())]);
            expected.push(value);
        }
    }
    (
        expected,
        poison,
        add(redis(), plan.database, "good", "n", 300),
    )
}

#[test]
fn what_the_broker_refuses_is_found_and_the_rest_goes_on_in_order_once() {
    let plan = Plan::new("rejected").route("r", &["bad", "good"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[("max.message.bytes", "1500")]);
    let (expected, poison, neighbour) = with_poison(&plan, &[100, 101, 250]);
    let daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("bad", &expected);
    topic.await_values("good", &neighbour);
    let mut letter_topic = letters_topic(&plan, "r");
    let found = letter_topic.await_count(3);
    for (letter, id) in found.iter().zip(&poison) {
        assert_eq!(
            (header(letter, "reason"), header(letter, "redis-id")),
            ("rejected".to_owned(), id.clone())
        );
        let detail = header(letter, "detail");
        assert!(
            detail.contains(&plan.topic("r")) && detail.contains("large"),
            "{detail}"
        );
        assert_eq!(
            fields_of(letter)[1],
            (b"raw".to_vec(), b"\xff\x00".to_vec())
        );
    }
    assert_eq!(letters(&daemon, "r"), causes(&[("rejected", 3)]));
    // And afterwards at full pace again.
    let more = add(redis(), plan.database, "bad", "more", 500);
    topic.await_values("bad", &[expected, more].concat());
    await_level(&daemon, "bad");
}

#[test]
fn where_the_dead_letters_refuse_too_the_stream_halts_and_its_neighbours_go_on() {
    let mut plan = Plan::new("refused-letters");
    let letters_name = plan.topic("letters");
    plan = plan.route(
        "r",
        &["bad", "good"],
        &format!("dead_letters = \"{letters_name}\"\n"),
    );
    kafka().create_topic(&plan.topic("r"), 1, &[("max.message.bytes", "1500")]);
    kafka().create_topic(&letters_name, 1, &[("max.message.bytes", "1500")]);
    let (expected, poison, neighbour) = with_poison(&plan, &[50]);
    let daemon: Daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    let seen = await_state(&daemon, "bad", "halted", "dead-letter-refused");
    assert!(
        seen["last_error"].as_str().unwrap().contains(&poison[0]),
        "{seen}"
    );
    topic.await_values("good", &neighbour);
    topic.await_values("bad", &expected[..50]);
    let more = add(redis(), plan.database, "good", "more", 10);
    topic.await_values("good", &[neighbour, more].concat());
    // The operator makes room, and lifts the halt.
    kafka().configure("topics", &letters_name, "max.message.bytes=100000");
    resume(&daemon, plan.database, "bad", None);
    topic.await_values("bad", &expected);
    assert_eq!(Topic::new(&letters_name).await_count(1).len(), 1);
    assert_eq!(letters(&daemon, "r"), causes(&[("rejected", 1)]));
}

#[test]
fn a_gap_before_what_the_broker_refuses_is_counted_once() {
    let plan = Plan::new("gap-rejected").route("r", &["bad"], "on_gap = \"record\"\n");
    kafka().create_topic(&plan.topic("r"), 1, &[("max.message.bytes", "1500")]);
    let mut expected = add(redis(), plan.database, "bad", "old", 10);
    let mut daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("bad", &expected);
    drain(&mut daemon);

    add(redis(), plan.database, "bad", "gone", 5);
    redis().command::<()>(plan.database, "XTRIM bad MAXLEN 0");
    expected.extend(add(redis(), plan.database, "bad", "left", 10));
    xadd(&plan, "bad", &[(b"data", noise(3_000).as_bytes())]);
    expected.extend(add(redis(), plan.database, "bad", "more", 10));
    daemon.restart();
    daemon.wait_ready();
    topic.await_values("bad", &expected);
    await_level(&daemon, "bad");
    assert_eq!(letters(&daemon, "r"), causes(&[("rejected", 1)]));
    assert_eq!(gaps(&daemon, "r"), causes(&[("trimmed", 5)]));
}
