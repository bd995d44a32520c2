//! What is asked for is what is judged: a route, a stream, a span of ids; and where there is nothing to judge, or nothing
//! that has been mirrored yet, there is no verdict.

use std::collections::BTreeSet;

use super::hand::Hand;
use super::scene::{Scene, flip};
use super::script::Script;
use super::stage::Stage;
use super::verdict::Expectation;
use crate::harness::kafka;

#[test]
fn what_lies_behind_the_checkpoint_is_pending_and_no_fault() {
    let scene = Scene::new("pending");
    let mut script = Script::new(&scene.stage, &scene.twins);
    let pending: BTreeSet<usize> = (285..300).collect();
    for &at in &pending {
        script.pending(at);
    }
    let expected = script.play(&scene.hand, &pending);
    scene.stage.verify(&[]).assert_is(&expected);
}

#[test]
fn nothing_against_nothing_is_no_verdict() {
    let stage = Stage::new("nothing", 3);
    stage.checkpoints(&Hand::new(kafka()), &[]);
    let verified = stage.verify(&[]);
    assert_eq!(
        (verified.code, verified.json["verdict"].as_str()),
        (Some(6), Some("unknown")),
        "{}",
        verified.said
    );
    assert!(verified.json["unknown_because"].is_string());
}

#[test]
fn where_everything_is_pending_there_is_no_verdict() {
    let scene = Scene::new("all-pending");
    let before: Vec<_> = (0..3).map(|n| format!("msg:stream:{n}")).collect();
    let before: Vec<_> = before
        .iter()
        .map(|name| (name.as_str(), (0, 0), 0))
        .collect();
    scene.stage.checkpoints(&scene.hand, &before);
    let verified = scene.stage.verify(&[]);
    assert_eq!(
        (verified.code, verified.json["verdict"].as_str()),
        (Some(6), Some("unknown")),
        "{}",
        verified.said
    );
    assert_eq!(verified.count("pending"), 300);
}

#[test]
fn one_route_or_one_stream_is_judged_alone() {
    let scene = Scene::new("alone");
    let mut script = Script::new(&scene.stage, &scene.twins);
    script.missing(150);
    let expected = script.play(&scene.hand, &BTreeSet::new());
    let bad = &scene.twins[150].stream;
    for stream in ["msg:stream:0", "msg:stream:1", "msg:stream:2"] {
        let verified = scene.stage.verify(&["--stream", stream]);
        let code = if stream == bad { 5 } else { 0 };
        assert_eq!(verified.code, Some(code), "{stream}: {}", verified.said);
        let findings = if stream == bad {
            &expected.findings[..]
        } else {
            &[]
        };
        assert_eq!(verified.findings(), findings);
        assert_eq!(verified.json["counts"]["redis_entries"], 100);
    }
    let of_route = scene.stage.verify(&["--route", "messages"]);
    of_route.assert_is(&expected);
}

#[test]
fn a_record_that_is_no_entrys_counts_by_the_time_it_was_written_with() {
    let scene = Scene::new("stray-span");
    let script = Script::new(&scene.stage, &scene.twins);
    script.play(&scene.hand, &BTreeSet::new());
    let mut nameless = scene.twins[150].record.clone();
    nameless.remove_header("redis-id");
    let unknown = super::scene::false_identity(&nameless, "nobodys", "5-0");
    let now = i64::try_from(crate::rig::now_ms()).unwrap();
    let [nameless, unknown] = [nameless, unknown].map(|record| super::hand::Outgoing {
        timestamp_ms: now,
        ..record
    });
    scene.hand.commit([&nameless, &unknown]);
    let all = scene.stage.verify(&[]);
    assert_eq!((all.code, all.count("extra")), (Some(5), 2), "{}", all.said);
    let last = super::stage::text(scene.twins[299].id);
    let before = scene.stage.verify(&["--to", &last]);
    assert_eq!(
        (before.code, before.count("extra"), before.count("match")),
        (Some(0), 0, all.count("match")),
        "{}",
        before.said
    );
    let since = scene
        .stage
        .verify(&["--from", &super::stage::text(scene.twins[100].id)]);
    assert_eq!((since.code, since.count("extra")), (Some(5), 2));
    // A sample speaks of what it was drawn from: of that all matches.
    let drawn = scene.stage.verify(&["--sample", "50%"]);
    assert_eq!((drawn.code, drawn.count("extra")), (Some(5), 2));
    let level = drawn.count("match") + drawn.count("dead_lettered");
    let bound = 0.05_f64.powf(1.0 / level as f64);
    let said = drawn.json["lower_bound"].as_f64().unwrap();
    assert!((said - bound).abs() < 1e-9, "{said} for {level}");
}

#[test]
fn a_span_of_ids_is_judged_alone() {
    let scene = Scene::new("span");
    let mut script = Script::new(&scene.stage, &scene.twins);
    script.missing(60);
    script.twice(150, 150);
    script.altered(240, "value", |record| flip(record.value.as_mut().unwrap()));
    let expected = script.play(&scene.hand, &BTreeSet::new());
    let id = |at: usize| super::stage::text(scene.twins[at].id);
    // Ids ascend over all streams together, so a span is one stretch of entries.
    for (from, to, found) in [
        (0, 59, 0),
        (60, 60, 1),
        (61, 149, 0),
        (100, 299, 2),
        (150, 239, 1),
    ] {
        let verified = scene.stage.verify(&["--from", &id(from), "--to", &id(to)]);
        let of_span: Vec<_> = expected
            .findings
            .iter()
            .filter(|finding| {
                let at = scene
                    .twins
                    .iter()
                    .position(|twin| finding.id.as_deref() == Some(&super::stage::text(twin.id)));
                (from..=to).contains(&at.unwrap())
            })
            .cloned()
            .collect();
        assert_eq!(of_span.len(), found);
        let mut of_span = Expectation {
            findings: of_span,
            ..Expectation::default()
        };
        of_span.findings.sort();
        assert_eq!(verified.findings(), of_span.findings, "{from} to {to}");
        assert_eq!(
            verified.json["counts"]["redis_entries"].as_u64(),
            Some((to - from + 1) as u64),
            "{from} to {to}"
        );
    }
}
