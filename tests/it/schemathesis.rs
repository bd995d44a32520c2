//! The API against its own description: schemathesis sends what the description permits and what it forbids, and holds every
//! answer against it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{Daemon, DaemonOptions, Role, eventually};
use crate::rig::{LONG, Rig};

const VERSION: &str = "4.32.5";

/// From the Python package index into `target`, once.
fn schemathesis() -> PathBuf {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/schemathesis");
    let program = place.join(format!("bin/schemathesis-{VERSION}"));
    if !program.exists() {
        let script = format!(
            "python3 -m venv --clear '{place}' && '{place}/bin/pip' install --quiet schemathesis=={VERSION} \
             && ln '{place}/bin/schemathesis' '{program}'",
            place = place.display(),
            program = program.display()
        );
        let installed = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(
            installed.status.success(),
            "python3 with venv and the package index are needed: {}",
            said(&installed)
        );
    }
    program
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(&[out.as_slice(), err].concat()).into_owned()
}

#[test]
#[ignore = "long, and needs the Python package index: make soak"]
fn every_answer_is_as_described_whoever_asks() {
    let program = schemathesis();
    let rig = Rig::new("schemathesis");
    let tokens = Role::Admin.token_file().with_file_name("tokens");
    let mut daemon = Daemon::start_with(
        &rig.config(),
        DaemonOptions {
            http: Some(format!(
                "tokens_file = {tokens:?}\nrequests_per_second = 1000000\n"
            )),
            ..DaemonOptions::default()
        },
    );
    daemon.wait_ready();
    eventually(LONG, "the driver has read its state", || {
        let shown = daemon.get("/v1/migration");
        shown.is_ok_and(|(_, shown)| shown.contains("\"shadow\""))
    });
    for role in [Role::Admin, Role::Viewer] {
        let output = Command::new(&program)
            .arg("run")
            .arg(format!("{}/v1/openapi.json", daemon.url()))
            .args([
                "--header",
                &format!("Authorization: {}", role.authorization()),
            ])
            .args(["--phases", "examples,coverage,fuzzing"])
            .args(["--max-examples", "100"])
            .args(["--checks", "all", "--continue-on-failure"])
            // It leaves a cache where it runs.
            .args(["--generation-deterministic", "--no-color"])
            .current_dir(program.parent().expect("it lies in a folder"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{role:?}: {}", said(&output));
    }
    assert!(daemon.exited().is_none());
    assert!(!daemon.log().contains("panicked"));
}
