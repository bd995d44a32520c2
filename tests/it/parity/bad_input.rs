//! What `verify` cannot do is refused before anything is read, with exit code 2 and words that say what and why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::scene::Scene;
use super::script::Script;
use crate::harness::{eventually, lockgate, lockgate_beside};

const LONG: Duration = Duration::from_secs(60);

/// Refused, with all these words in what it says and nothing on standard output.
#[track_caller]
fn refused(scene: &Scene, arguments: &[&str], words: &[&str]) {
    let output = lockgate(&scene.stage.verify_words(arguments));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: no `{word}` in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
}

#[test]
fn what_cannot_be_meant_is_refused_in_clear_words() {
    let scene = Scene::new("refused");
    for (arguments, words) in [
        (&["--route", "massages"][..], &["massages", "messages"][..]),
        (&["--stream", "msg:stream:77"], &["msg:stream:77"]),
        (
            &["--from", "200-0", "--to", "100-0"],
            &["--from", "--to", "200-0", "100-0"],
        ),
        (
            &[
                "--from",
                "2026-03-02T00:00:00Z",
                "--to",
                "2026-03-01T00:00:00Z",
            ],
            &["--from", "--to", "2026-03-02"],
        ),
        (&["--from", "1h ago", "--to", "2h ago"], &["--from", "--to"]),
        (&["--from", "yesterday"], &["yesterday"]),
        (&["--to", "12-x"], &["12-x"]),
        (&["--sample", "0"], &["--sample"]),
        (&["--sample", "101%"], &["101"]),
        (&["--sample", "many"], &["many"]),
        (&["--sample", "-3"], &["-3"]),
        (&["--whole"], &["--whole"]),
    ] {
        refused(&scene, arguments, words);
    }
}

/// The state of a verification that was broken off at once.
fn broken_off(scene: &Scene, arguments: &[&str]) -> PathBuf {
    Script::new(&scene.stage, &scene.twins).play(&scene.hand, &BTreeSet::new());
    let state = scene.stage.file("state.json");
    let more = ["--state", state.to_str().unwrap(), "--rate", "20"];
    let mut process = lockgate_beside(&scene.stage.verify_words(&[arguments, &more].concat()));
    eventually(LONG, "the state is saved", || {
        assert!(process.exited().is_none(), "{}", process.log());
        fs::metadata(&state).is_ok_and(|file| file.len() > 0)
    });
    process.signal(Signal::SIGINT);
    process.wait(LONG);
    assert!(state.is_file(), "what was done is kept: {}", process.log());
    state
}

fn with_state<'a>(state: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["--state", state.to_str().unwrap()], more].concat()
}

#[test]
fn the_state_of_another_run_is_refused_and_left_as_it_was() {
    let scene = Scene::new("another-run");
    let state = broken_off(&scene, &["--stream", "msg:stream:0"]);
    let before = fs::read(&state).unwrap();
    let name = state.to_str().unwrap();
    refused(&scene, &with_state(&state, &[]), &[name]);
    let other = with_state(&state, &["--stream", "msg:stream:1"]);
    refused(&scene, &other, &[name]);
    let other = with_state(&state, &["--stream", "msg:stream:0", "--to", "5-0"]);
    refused(&scene, &other, &[name]);
    // Another migration with the same words.
    let stranger = Scene::new("another-migration");
    refused(
        &stranger,
        &with_state(&state, &["--stream", "msg:stream:0"]),
        &[name],
    );
    // The same migration with another route.
    let mut changed = scene;
    changed.stage.route = changed.stage.route.replace("\"abs\"", "\"mask31\"");
    refused(
        &changed,
        &with_state(&state, &["--stream", "msg:stream:0"]),
        &[name],
    );
    assert_eq!(fs::read(&state).unwrap(), before);
    // And accepted where it belongs.
    changed.stage.route = changed.stage.route.replace("\"mask31\"", "\"abs\"");
    let verified = changed
        .stage
        .verify(&with_state(&state, &["--stream", "msg:stream:0"]));
    assert_eq!(verified.code, Some(0), "{}", verified.said);
}

#[test]
fn a_state_file_that_is_none_is_refused_and_left_as_it_was() {
    let scene = Scene::new("no-state");
    let good = fs::read(broken_off(&scene, &[])).unwrap();
    let half = &good[..good.len() / 2];
    let other: [&[u8]; 6] = [b"garbage", b"{}", b"[1, 2]", b"\xff\xfe\x00", half, b"null"];
    for (n, bytes) in other.into_iter().enumerate() {
        let file = scene.stage.file(&format!("state-{n}"));
        fs::write(&file, bytes).unwrap();
        refused(&scene, &with_state(&file, &[]), &[file.to_str().unwrap()]);
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }
    let folder = scene.stage.file("folder");
    fs::create_dir(&folder).unwrap();
    refused(
        &scene,
        &with_state(&folder, &[]),
        &[folder.to_str().unwrap()],
    );
    let nowhere = scene.stage.file("no-such-folder").join("state.json");
    refused(
        &scene,
        &with_state(&nowhere, &[]),
        &[nowhere.to_str().unwrap()],
    );
}
