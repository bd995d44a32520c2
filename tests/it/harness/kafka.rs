//! The real broker as a child process: one node shared by all tests, and own clusters that a test can break.
//!
//! Each node is broker and controller. Kafka's jars come from `make kafka`; its own tool formats the storage. What a test
//! broker does differently from a common one stands in `kafka_storage`, and is only about size and waiting.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use nix::sys::signal::Signal;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::cut::Cut;
use super::kafka_classes;
use super::logs;
use super::ports::free_port;
use super::process::{Process, Scratch};
use super::wait::eventually;

pub(super) const START: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(60);

/// What an own cluster is to be like.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// 1, or 3 with replication 3 and `min.insync.replicas` 2.
    pub nodes: usize,
    /// A second listener, advertised through a proxy that can be cut: `bootstrap_through_cut`, `cut`.
    pub cut: bool,
    /// A listener with SASL/PLAIN for `user` (password `user-secret`), to whom only ACLs permit anything: `sasl_client`.
    pub sasl: bool,
    /// For much work; others are compiled quickly rather than well.
    pub lasting: bool,
    /// More lines of server.properties.
    pub properties: Vec<(String, String)>,
    /// Where its classes are to be kept when it ends.
    pub classes_to: Option<PathBuf>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            cut: false,
            sasl: false,
            lasting: false,
            properties: Vec::new(),
            classes_to: None,
        }
    }
}

impl KafkaOptions {
    /// One node for much work.
    pub fn lasting() -> Self {
        Self {
            lasting: true,
            ..Self::default()
        }
    }
}

/// Brokers; killed when dropped, their data removed.
pub struct KafkaCluster {
    pub(super) nodes: Vec<Node>,
    pub(super) options: KafkaOptions,
    pub(super) folder: Scratch,
    /// Asks for metadata again and again: one client for all the asking, so that none is torn down while its nodes die.
    asking: OnceLock<BaseConsumer>,
}

pub(super) struct Node {
    pub port: u16,
    pub controller: u16,
    pub behind_cut: u16,
    pub sasl: u16,
    pub directory_id: String,
    pub cut: Option<Cut>,
    pub log: PathBuf,
    process: Mutex<Option<Process>>,
}

/// The one-node broker that all tests of this run share; take own topics and names on it.
pub fn kafka() -> &'static KafkaCluster {
    static SHARED: OnceLock<KafkaCluster> = OnceLock::new();
    SHARED.get_or_init(|| {
        KafkaCluster::start_with(KafkaOptions::lasting(), |_| logs::shared_log_file("kafka"))
    })
}

/// The jars that `make kafka` brought.
pub fn libs() -> PathBuf {
    let libs = logs::target().join("kafka").join("libs");
    assert!(
        libs.is_dir(),
        "Kafka's jars are not in {}: run `make kafka`",
        libs.display()
    );
    libs
}

/// To compile a broker's code well takes six seconds of a processor, before it does anything.
const COMPILED_QUICKLY: &str = "-XX:TieredStopAtLevel=1";

/// `java` with Kafka's jars on its path.
pub fn java(heap: &str) -> Command {
    let mut command = Command::new("java");
    command
        .arg(format!("-Xmx{heap}"))
        .arg("-XX:+UseSerialGC")
        .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
        .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS")
        .arg("-cp")
        .arg(format!("{}/*", libs().display()));
    kafka_classes::share(&mut command);
    command
}

/// The same for a tool that runs for a second: compiled quickly rather than well, silent but for errors.
pub fn java_tool() -> Command {
    let mut command = java("128m");
    command
        .arg(COMPILED_QUICKLY)
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error");
    command
}

impl KafkaCluster {
    /// An own cluster of so many nodes for this test.
    pub fn start(nodes: usize) -> Self {
        Self::start_options(KafkaOptions {
            nodes,
            ..KafkaOptions::default()
        })
    }

    pub fn start_options(options: KafkaOptions) -> Self {
        Self::start_with(options, |node| logs::log_file(&format!("kafka-{node}")))
    }

    fn start_with(options: KafkaOptions, log: impl Fn(usize) -> PathBuf) -> Self {
        kafka_classes::keep();
        let cluster = Self::launch_with(options, log);
        cluster.wait_until_all_are_in();
        cluster
    }

    /// Starts a cluster without waiting for it.
    pub(super) fn launch_with(options: KafkaOptions, log: impl Fn(usize) -> PathBuf) -> Self {
        let nodes = (0..options.nodes)
            .map(|node| Node::new(node, &options, log(node)))
            .collect();
        let cluster = Self {
            nodes,
            options,
            folder: Scratch::new("kafka"),
            asking: OnceLock::new(),
        };
        cluster.format();
        for node in 0..cluster.nodes.len() {
            cluster.launch(node);
        }
        cluster
    }

    pub fn bootstrap(&self) -> String {
        self.addresses(|node| node.port)
    }

    /// The way through the proxies; needs `cut` in the options.
    pub fn bootstrap_through_cut(&self) -> String {
        self.addresses(|node| node.cut.as_ref().expect("started with `cut`").port())
    }

    pub(super) fn addresses(&self, port: impl Fn(&Node) -> u16) -> String {
        let all: Vec<_> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", port(node)))
            .collect();
        all.join(",")
    }

    /// The proxy before one node.
    pub fn cut(&self, node: usize) -> &Cut {
        self.nodes[node].cut.as_ref().expect("started with `cut`")
    }

    /// A client's configuration that reaches the cluster and nothing more.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        config
    }

    /// The properties of `user`, who may do nothing until an ACL permits it.
    pub fn sasl_properties(&self) -> BTreeMap<String, String> {
        assert!(self.options.sasl, "started without SASL");
        [
            ("bootstrap.servers", self.addresses(|node| node.sasl)),
            ("security.protocol", "SASL_PLAINTEXT".to_owned()),
            ("sasl.mechanism", "PLAIN".to_owned()),
            ("sasl.username", "user".to_owned()),
            ("sasl.password", "user-secret".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// Makes a topic with the cluster's replication and waits until its leaders are known.
    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let replication = i32::try_from(self.nodes.len().min(3)).expect("a small number");
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin");
        let made = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(admin.create_topics([&topic], &AdminOptions::new()))
            .expect("an answer about topics");
        for outcome in made {
            outcome.unwrap_or_else(|(name, code)| panic!("topic {name}: {code}"));
        }
        self.wait_for_leaders(name, partitions);
    }

    /// Waits until a topic is known to have so many partitions, each with a leader.
    #[track_caller]
    pub fn wait_for_leaders(&self, name: &str, partitions: i32) {
        let consumer: BaseConsumer = self.client().create().expect("a consumer");
        eventually(START, &format!("topic {name} has leaders"), || {
            let seen = consumer.fetch_metadata(Some(name), Duration::from_secs(5));
            seen.is_ok_and(|seen| {
                let topic = seen.topics().iter().find(|topic| topic.name() == name);
                let led = topic.map_or(0, |topic| {
                    let all = topic.partitions().iter();
                    all.filter(|partition| partition.leader() >= 0).count()
                });
                i32::try_from(led).is_ok_and(|led| led == partitions)
            })
        });
    }

    /// The node that leads a partition, or `None` while none does.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let asking = self
            .asking
            .get_or_init(|| self.client().create().expect("a consumer"));
        let metadata = asking
            .fetch_metadata(Some(topic), Duration::from_secs(5))
            .ok()?;
        let topic = metadata.topics().first()?;
        let found = topic.partitions().iter().find(|p| p.id() == partition)?;
        usize::try_from(found.leader() - 1).ok()
    }

    /// SIGTERM to one node: it hands its partitions over and ends.
    pub fn stop(&self, node: usize) {
        if let Some(mut process) = self.nodes[node].process.lock().unwrap().take() {
            process.signal(Signal::SIGTERM);
            process.wait(STOP);
        }
    }

    /// SIGKILL.
    pub fn kill(&self, node: usize) {
        *self.nodes[node].process.lock().unwrap() = None;
    }

    /// Freezes a node: its connections stay open and nothing answers.
    pub fn pause(&self, node: usize) {
        self.signal(node, Signal::SIGSTOP);
    }

    pub fn resume(&self, node: usize) {
        self.signal(node, Signal::SIGCONT);
    }

    fn signal(&self, node: usize, signal: Signal) {
        let process = self.nodes[node].process.lock().unwrap();
        process.as_ref().expect("the node runs").signal(signal);
    }

    /// Starts a node again with its data on its ports, and waits until it is in.
    pub fn restart(&self, node: usize) {
        self.kill(node);
        self.launch(node);
        self.wait_until_all_are_in();
    }

    /// Starts a node without waiting.
    pub fn launch(&self, node: usize) {
        let heap = if self.nodes.len() == 1 {
            "512m"
        } else {
            "256m"
        };
        let mut command = java(heap);
        if !self.options.lasting {
            command.arg(COMPILED_QUICKLY);
        }
        if let Some(file) = &self.options.classes_to {
            command.arg(format!("-XX:ArchiveClassesAtExit={}", file.display()));
        }
        command
            .arg("kafka.Kafka")
            .arg(self.properties_file(node))
            .current_dir(self.folder.path());
        let process = Process::start(
            &format!("kafka node {node}"),
            &command,
            &self.nodes[node].log,
        );
        *self.nodes[node].process.lock().unwrap() = Some(process);
    }

    /// Every node that runs is known to every other one.
    pub fn wait_until_all_are_in(&self) {
        let running: Vec<_> = (0..self.nodes.len())
            .filter(|&node| self.is_running(node))
            .collect();
        for &node in &running {
            let mut client = ClientConfig::new();
            client.set(
                "bootstrap.servers",
                format!("127.0.0.1:{}", self.nodes[node].port),
            );
            client.set("reconnect.backoff.max.ms", "100");
            let consumer: BaseConsumer = client.create().expect("a consumer");
            eventually(START, &format!("Kafka node {node} is in"), || {
                self.still_alive(node);
                match consumer.fetch_metadata(None, Duration::from_millis(500)) {
                    Ok(seen) if seen.brokers().len() >= running.len() => Ok(()),
                    Ok(seen) => Err(format!("{} brokers are in", seen.brokers().len())),
                    Err(error) => Err(error.to_string()),
                }
            });
        }
    }

    fn is_running(&self, node: usize) -> bool {
        self.nodes[node].process.lock().unwrap().is_some()
    }

    fn still_alive(&self, node: usize) {
        let mut process = self.nodes[node].process.lock().unwrap();
        let process = process.as_mut().expect("started");
        if let Some(status) = process.exited() {
            panic!("{}", process.explain_end(status));
        }
    }
}

impl Node {
    fn new(index: usize, options: &KafkaOptions, log: PathBuf) -> Self {
        let behind_cut = free_port();
        Self {
            port: free_port(),
            controller: free_port(),
            behind_cut,
            sasl: free_port(),
            directory_id: format!("JEXY6aqzQY-32P5TStzaF{}", ["A", "Q", "g"][index]),
            cut: options.cut.then(|| Cut::to_port(behind_cut)),
            log,
            process: Mutex::new(None),
        }
    }
}
