//! Kafka's own tools as a witness that shares nothing with Lockgate: topics, groups and offsets as Kafka sees them.
//!
//! Each call starts a JVM and takes a second or two.

use std::collections::BTreeMap;

use super::eventually;
use super::kafka::{KafkaCluster, START, java_tool};

impl KafkaCluster {
    /// Runs a tool of `org.apache.kafka.tools` against the cluster and gives what it printed; panics when it fails.
    #[track_caller]
    pub fn tool(&self, name: &str, arguments: &[&str]) -> String {
        let output = java_tool()
            .arg(format!("org.apache.kafka.tools.{name}"))
            .args(["--bootstrap-server", &self.bootstrap()])
            .args(arguments)
            .output()
            .expect("java starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{name} {arguments:?}: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// `TopicCommand --describe`.
    pub fn describe_topic(&self, topic: &str) -> String {
        self.tool("TopicCommand", &["--describe", "--topic", topic])
    }

    /// `TopicCommand --delete`, until no broker shows the topic any more.
    #[track_caller]
    pub fn delete_topic(&self, topic: &str) {
        self.tool("TopicCommand", &["--delete", "--topic", topic]);
        eventually(START, &format!("topic {topic} is gone"), || {
            self.leader(topic, 0).is_none()
        });
    }

    /// `ConsumerGroupCommand --describe`: members, positions and lag of a group.
    pub fn describe_group(&self, group: &str) -> String {
        self.tool(
            "consumer.group.ConsumerGroupCommand",
            &["--describe", "--group", group],
        )
    }

    /// `ConfigCommand --alter`: sets one property of a topic, a client or a broker.
    pub fn configure(&self, entity: &str, name: &str, setting: &str) {
        let java = java_tool()
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error")
            .arg("kafka.admin.ConfigCommand")
            .args(["--bootstrap-server", &self.bootstrap(), "--alter"])
            .args(["--entity-type", entity, "--entity-name", name])
            .args(["--add-config", setting])
            .output()
            .expect("java starts");
        assert!(
            java.status.success(),
            "{setting} of {name}: {}{}",
            String::from_utf8_lossy(&java.stdout),
            String::from_utf8_lossy(&java.stderr)
        );
    }

    /// `GetOffsetShell`: partition to end offset, transaction markers included.
    pub fn end_offsets(&self, topic: &str) -> BTreeMap<i32, i64> {
        let text = self.tool("GetOffsetShell", &["--topic", topic, "--time", "latest"]);
        text.lines()
            .filter_map(|line| {
                let (rest, offset) = line.rsplit_once(':')?;
                let (_, partition) = rest.rsplit_once(':')?;
                Some((partition.parse().ok()?, offset.trim().parse().ok()?))
            })
            .collect()
    }

    /// Gives `user` of the SASL listener one permission: `allow_user("--topic", "messages", "Read")`.
    pub fn allow_user(&self, resource: &str, name: &str, operation: &str) {
        self.tool(
            "AclCommand",
            &[
                "--add",
                "--allow-principal",
                "User:user",
                resource,
                name,
                "--operation",
                operation,
            ],
        );
    }
}
