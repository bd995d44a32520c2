//! Kafka's classes as the JVM wants them, kept beside the jars: a broker that starts from there takes two seconds of a
//! processor, and otherwise ten. Without the archive, or with one that is not of these jars and this Java, all works, slower.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use super::kafka::{KafkaCluster, KafkaOptions, libs};
use super::logs;

fn archive() -> PathBuf {
    libs().join("classes.jsa")
}

/// Has a first broker write the archive as it ends, unless it is there.
pub fn keep() {
    static KEPT: Once = Once::new();
    KEPT.call_once(|| {
        if archive().exists() {
            return;
        }
        let written = archive().with_extension(std::process::id().to_string());
        let options = KafkaOptions {
            classes_to: Some(written.clone()),
            ..KafkaOptions::default()
        };
        let log = |_| logs::shared_log_file("kafka-classes");
        let cluster = KafkaCluster::launch_with(options, log);
        cluster.wait_until_all_are_in();
        cluster.stop(0);
        // Only where it is whole.
        let _ = std::fs::rename(written, archive());
    });
}

/// Takes classes from the archive, where there is one. One of another folder or Java is passed over in silence: Java would say so
/// amid what a tool prints.
pub fn share(command: &mut Command) {
    let archive = archive();
    if archive.exists() {
        command.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
        command.arg("-Xlog:disable");
    }
}
