//! Records that are no entry's, as the continuous auditor counts them: each once, by whichever of several instances, however
//! many there are, and until Kafka has removed them. None of them goes without notice.

use serde_json::json;

use crate::harness::{Daemon, Entry, eventually};
use crate::parity::hand::{Hand, Outgoing};
use crate::parity_audit::{
    assert_counts_are_verifys, await_level, await_parity, parity, rig, twin,
};
use crate::rig::{LONG, Rig, pass, shared_out};

/// A route whose streams have a topic each, and one whose streams share one.
fn with_found_streams(mut rig: Rig<'static>) -> Rig<'static> {
    (rig.kafka).create_topic(&format!("{}.more", rig.name), 2, &[]);
    let routes = [
        ("captured", "cap:*", "cap.$1"),
        ("shared", "more:*", "more"),
    ];
    for (name, streams, topic) in routes {
        rig.routes += &format!(
            "[[routes]]\nname = \"{name}\"\nstreams = [\"{streams}\"]\ntopic = \"{}.{topic}\"\npartitions = 2\n\
             value = {{ field = \"payload\" }}\n",
            rig.name
        );
    }
    rig
}

fn add_one(rig: &Rig<'_>, stream: &str) {
    let mut connection = rig.redis.connection(rig.database);
    let mut command = redis::cmd("XADD");
    command.arg(stream).arg("*").arg("payload").arg("one");
    command.query::<()>(&mut connection).unwrap();
}

/// A record of the test's own, wherever it says and of whomever.
fn foreign(rig: &Rig<'_>, topic: &str, of: Option<(&str, &str)>, like: &Entry) -> Outgoing {
    let mut record = twin(rig, like);
    record.topic = topic.to_owned();
    record.partition = 0;
    match of {
        Some((stream, id)) => {
            record.set_header("redis-stream", stream.as_bytes());
            record.set_header("redis-id", id.as_bytes());
        }
        None => record.remove_header("redis-id"),
    }
    record
}

fn open_extra(daemons: &[&Daemon]) -> u64 {
    let open = daemons
        .iter()
        .map(|daemon| parity(daemon)["open"]["extra"].as_u64());
    open.map(|extra| extra.unwrap_or(0)).sum()
}

#[test]
fn a_record_of_a_stream_that_never_was_is_extra_though_a_route_would_take_it() {
    let rig = with_found_streams(rig("never-was"));
    let added = rig.add(0, 200).count;
    add_one(&rig, "more:1");
    let daemon = rig.daemon();
    await_level(&daemon, added + 1);
    let topic = format!("{}.more", rig.name);
    let like = &rig.ledger().entries()[0];
    let of = Some(("more:2", "1700000000000-0"));
    let place = Hand::new(rig.kafka).commit([&foreign(&rig, &topic, of, like)])[0];
    let seen = await_parity(&daemon, "it is found", |seen| seen["state"] == "apart");
    let open = &seen["open_differences"][0];
    assert_eq!(
        (&open["class"], &open["why"], &open["stream"]),
        (&json!("extra"), &json!("unknown-stream"), &json!("more:2"))
    );
    assert_eq!(open["records"][0]["offset"], place.1);
    assert_counts_are_verifys(&[&daemon]);
    // A stream that begins later is nobody's fault.
    add_one(&rig, "more:3");
    await_parity(&daemon, "the new stream is compared", |seen| {
        seen["compared"] == added + 3
    });
    assert_eq!(open_extra(&[&daemon]), 1);
}

#[test]
fn of_several_instances_one_counts_each_record_that_is_no_entrys() {
    let rig = with_found_streams(rig("shared-strays"));
    let added = rig.add(0, 400).count;
    let captured: Vec<String> = (0..8).map(|n| format!("cap:{n}")).collect();
    captured.iter().for_each(|stream| add_one(&rig, stream));
    let (first, second) = (rig.daemon(), rig.daemon());
    let both = [&first, &second];
    eventually(LONG, "both audit, and all is compared", || {
        let seen = both.map(parity);
        let compared: u64 = seen.iter().filter_map(|one| one["compared"].as_u64()).sum();
        let level = seen.iter().all(|one| one["state"] == "level");
        if level && compared == added + 8 {
            Ok(())
        } else {
            Err(format!("{compared}"))
        }
    });
    let like = rig.ledger().entries().remove(0);
    let mut strangers = Vec::new();
    // Ids that the streams have not come to, in the one topic of all and in topics of their own.
    let future = "9999999999999-0";
    for n in 0..16 {
        let stream = format!("msg:stream:{n}");
        strangers.push(foreign(&rig, &rig.topic, Some((&stream, future)), &like));
    }
    for stream in &captured {
        let topic = format!("{}.{}", rig.name, stream.replace(':', "."));
        strangers.push(foreign(&rig, &topic, Some((stream, future)), &like));
        strangers.push(foreign(&rig, &topic, None, &like));
        strangers.push(foreign(&rig, &topic, Some(("nobody's", "1-1")), &like));
    }
    strangers.push(foreign(&rig, &rig.topic, None, &like));
    Hand::new(rig.kafka).commit(&strangers);
    let all = strangers.len() as u64;
    eventually(LONG, "each is counted once", || {
        let found = open_extra(&both);
        if found == all {
            Ok(())
        } else {
            Err(format!("{found} of {all}"))
        }
    });
    assert_counts_are_verifys(&both);
}

#[test]
fn thousands_of_records_without_identity_count_once_while_entries_flow_and_after_a_crash() {
    let rig = rig("many-strays");
    let load = rig.load(1_000);
    let (mut first, second) = (rig.daemon(), rig.daemon());
    shared_out(&[&first, &second]);
    let like = eventually(LONG, "an entry is there", || {
        rig.ledger().entries().pop().ok_or("none")
    });
    let stranger = foreign(&rig, &rig.topic, None, &like);
    Hand::new(rig.kafka).commit(vec![&stranger; 2_500]);
    let count = |daemons: &[&Daemon]| {
        eventually(LONG, "all of them are counted", || {
            let found = open_extra(daemons);
            if found == 2_500 {
                Ok(())
            } else {
                Err(format!("{found}"))
            }
        });
    };
    count(&[&first, &second]);
    first.kill9();
    count(&[&second]);
    first.restart();
    shared_out(&[&first, &second]);
    pass(&load, 3_000);
    count(&[&first, &second]);
    load.stop();
    assert_counts_are_verifys(&[&first, &second]);
}

#[test]
#[ignore = "long: make soak"]
fn a_flood_of_repeats_is_compared_in_windows_and_none_of_them_is_forgotten() {
    let rig = rig("flood");
    let added = rig.add(0, 300).count;
    let daemon = rig.daemon();
    await_level(&daemon, added);
    let entries = rig.ledger().entries();
    let copies: Vec<Outgoing> = entries.iter().map(|entry| twin(&rig, entry)).collect();
    // More than one pass keeps beside its windows.
    let flood = copies.iter().cycle().take(60_000);
    Hand::new(rig.kafka).commit(flood);
    let seen = await_parity(&daemon, "every entry is a duplicate", |seen| {
        seen["open"]["duplicate"] == added
    });
    assert_eq!(
        (&seen["state"], &seen["compared"]),
        (&json!("apart"), &json!(added))
    );
    let log = daemon.log();
    assert!(log.contains("compared anew") && !log.contains("do not add up"));
    assert_counts_are_verifys(&[&daemon]);
}
