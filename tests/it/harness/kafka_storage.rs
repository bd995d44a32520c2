//! A node's server.properties, and its storage formatted by Kafka's own tool.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use super::kafka::{KafkaCluster, START, java_tool};
use super::process::Process;

const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

impl KafkaCluster {
    pub(super) fn properties_file(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("server-{node}.properties"))
    }

    /// Writes each node's properties and has Kafka's tool format its storage, all nodes at once.
    pub(super) fn format(&self) {
        let formatting: Vec<_> = (0..self.nodes.len())
            .map(|node| {
                fs::write(self.properties_file(node), self.properties(node))
                    .expect("server.properties");
                let mut command = java_tool();
                command
                    .arg("kafka.tools.StorageTool")
                    .args(["format", "-t", CLUSTER_ID, "-c"])
                    .arg(self.properties_file(node));
                if self.nodes.len() == 1 {
                    command.arg("--standalone");
                } else {
                    command.args(["--initial-controllers", &self.initial_controllers()]);
                }
                Process::start("kafka storage format", &command, &self.nodes[node].log)
            })
            .collect();
        for mut process in formatting {
            let status = process.wait(START);
            assert!(status.success(), "{}", process.explain_end(status));
        }
    }

    fn initial_controllers(&self) -> String {
        let all = self.nodes.iter().enumerate().map(|(index, node)| {
            format!(
                "{}@127.0.0.1:{}:{}",
                index + 1,
                node.controller,
                node.directory_id
            )
        });
        all.collect::<Vec<_>>().join(",")
    }

    fn properties(&self, index: usize) -> String {
        let node = &self.nodes[index];
        let several = self.nodes.len() > 1;
        let mut listeners = format!("CLIENT://127.0.0.1:{}", node.port);
        let mut advertised = listeners.clone();
        if let Some(cut) = &node.cut {
            write!(listeners, ",CUT://127.0.0.1:{}", node.behind_cut).unwrap();
            write!(advertised, ",CUT://127.0.0.1:{}", cut.port()).unwrap();
        }
        if self.options.sasl {
            write!(listeners, ",SASL://127.0.0.1:{}", node.sasl).unwrap();
            write!(advertised, ",SASL://127.0.0.1:{}", node.sasl).unwrap();
        }
        write!(listeners, ",CONTROLLER://127.0.0.1:{}", node.controller).unwrap();
        let replication = if several { 3 } else { 1 };
        let insync = if several { 2 } else { 1 };
        let mut text = format!(
            "process.roles=broker,controller\n\
             node.id={id}\n\
             listeners={listeners}\n\
             advertised.listeners={advertised}\n\
             listener.security.protocol.map=CLIENT:PLAINTEXT,CUT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT\n\
             inter.broker.listener.name=CLIENT\n\
             controller.listener.names=CONTROLLER\n\
             controller.quorum.bootstrap.servers={quorum}\n\
             log.dirs={folder}/data-{index}\n\
             default.replication.factor={replication}\n\
             min.insync.replicas={insync}\n\
             offsets.topic.replication.factor={replication}\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor={replication}\n\
             transaction.state.log.min.isr={insync}\n\
             transaction.state.log.num.partitions=4\n\
             transaction.abort.timed.out.transaction.cleanup.interval.ms=1000\n\
             share.coordinator.state.topic.replication.factor={replication}\n\
             share.coordinator.state.topic.min.isr={insync}\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\n\
             auto.create.topics.enable=false\n\
             log.cleaner.dedupe.buffer.size=8388608\n\
             num.network.threads=2\n\
             num.io.threads=4\n",
            id = index + 1,
            quorum = self.addresses(|node| node.controller),
            folder = self.folder.path().display(),
        );
        if self.options.sasl {
            text.push_str(
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
                 super.users=User:ANONYMOUS\n\
                 sasl.enabled.mechanisms=PLAIN\n\
                 listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
                 required user_user=\"user-secret\";\n",
            );
        }
        for (key, value) in &self.options.properties {
            writeln!(text, "{key}={value}").unwrap();
        }
        text
    }
}
