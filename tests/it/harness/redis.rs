//! `redis-server` as a child process: one shared by all tests, and own ones with what a test asks for.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::monitor::Monitor;
use super::ports::free_port;
use super::process::{Process, Scratch};
use super::wait::eventually;
use super::{certificates, logs, unique};

const START: Duration = Duration::from_secs(20);
const DATABASES: u32 = 1024;

/// What an own server is to be like; the default is plain, in memory, without a password.
#[derive(Clone, Default)]
pub struct RedisOptions {
    /// Append-only file, synced at every write: a killed server comes back with all it acknowledged.
    pub aof: bool,
    /// Port of the master that this one replicates.
    pub replica_of: Option<u16>,
    /// Bytes and `maxmemory-policy`.
    pub maxmemory: Option<(u64, &'static str)>,
    /// Password of the default user.
    pub password: Option<String>,
    /// ACL lines of further users: `user mirror on >secret ~* +xread`.
    pub users: Vec<String>,
    /// A second port that speaks TLS; see `tls_url` and `tls_file`.
    pub tls: bool,
    /// TLS clients must show a certificate.
    pub tls_client_certificates: bool,
    /// A Unix socket; see `socket_url`.
    pub unix_socket: bool,
    /// More lines of redis.conf.
    pub config: Vec<String>,
}

/// A server; killed when dropped, its data removed.
pub struct RedisServer {
    options: RedisOptions,
    pub port: u16,
    tls_port: u16,
    folder: Scratch,
    log: PathBuf,
    process: Mutex<Option<Process>>,
    next_database: AtomicU32,
}

/// The server that all tests of this run share. It has many databases: take an own one with `own_database`.
pub fn redis() -> &'static RedisServer {
    static SHARED: OnceLock<RedisServer> = OnceLock::new();
    SHARED.get_or_init(|| {
        RedisServer::start_at(RedisOptions::default(), logs::shared_log_file("redis"))
    })
}

impl RedisServer {
    /// An own server for this test.
    pub fn start(options: RedisOptions) -> Self {
        Self::start_at(options, logs::log_file("redis"))
    }

    fn start_at(options: RedisOptions, log: PathBuf) -> Self {
        let server = Self {
            options,
            port: free_port(),
            tls_port: free_port(),
            folder: Scratch::new("redis"),
            log,
            process: Mutex::new(None),
            next_database: AtomicU32::new(1),
        };
        server.write_files();
        server.restart();
        server
    }

    /// A database that no other test of this run uses. Never 0.
    pub fn own_database(&self) -> u32 {
        let database = self.next_database.fetch_add(1, Ordering::Relaxed);
        assert!(database < DATABASES, "all databases are given out");
        database
    }

    /// `redis://…/<database>`; with the default user's password where there is one.
    pub fn url(&self, database: u32) -> String {
        let password = self.options.password.as_ref();
        let user = password.map_or(String::new(), |word| format!(":{word}@"));
        format!("redis://{user}127.0.0.1:{}/{database}", self.port)
    }

    /// The same without the password, for configurations that bring it another way.
    pub fn bare_url(&self, database: u32) -> String {
        format!("redis://127.0.0.1:{}/{database}", self.port)
    }

    pub fn tls_url(&self, database: u32) -> String {
        assert!(self.options.tls, "started without TLS");
        format!("rediss://127.0.0.1:{}/{database}", self.tls_port)
    }

    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    pub fn socket_url(&self, database: u32) -> String {
        assert!(self.options.unix_socket, "started without a Unix socket");
        format!("unix://{}?db={database}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        // Socket paths are short by law (108 bytes): not in the run's own folder, which may lie deep.
        std::env::temp_dir().join(format!("it-redis-{}.sock", self.port))
    }

    /// `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`.
    pub fn tls_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn connection(&self, database: u32) -> redis::Connection {
        self.try_connection(database)
            .unwrap_or_else(|error| panic!("Redis on port {}: {error}", self.port))
    }

    pub fn try_connection(&self, database: u32) -> redis::RedisResult<redis::Connection> {
        let client = redis::Client::open(self.url(database))?;
        let connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(connection)
    }

    /// One command in one database, for a test's own hand: `server.command(0, "SET a b")`.
    #[track_caller]
    pub fn command<T: redis::FromRedisValue>(&self, database: u32, words: &str) -> T {
        let mut words = words.split_whitespace();
        let mut command = redis::cmd(words.next().expect("a command"));
        for word in words {
            command.arg(word);
        }
        command
            .query(&mut self.connection(database))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// One line of `INFO`.
    pub fn info(&self, key: &str) -> Option<String> {
        let text: String = self.command(0, "INFO everything");
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::to_owned))
    }

    /// SIGKILL: what was not yet on disk is lost.
    pub fn kill(&self) {
        *self.process.lock().unwrap() = None;
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.signal(Signal::SIGTERM);
            process.wait(START);
        }
    }

    /// Freezes the server; connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.lock().unwrap();
        process.as_ref().expect("the server runs").signal(signal);
    }

    /// Makes a replica a master.
    pub fn promote(&self) {
        self.command::<()>(0, "REPLICAOF NO ONE");
    }

    /// Waits until this replica has all that its master had when asked.
    pub fn caught_up_with(&self, master: &RedisServer) {
        let wanted = master.info("master_repl_offset").expect("an offset");
        let wanted: i64 = wanted.parse().expect("a number");
        eventually(START, "the replica has caught up", || {
            self.info("master_link_status")
                .is_some_and(|link| link == "up")
                && self
                    .info("master_repl_offset")
                    .and_then(|offset| offset.parse::<i64>().ok())
                    .is_some_and(|offset| offset >= wanted)
        });
    }

    /// Starts again on the same port with the same files (a running server is killed first) and waits until it answers.
    pub fn restart(&self) {
        self.kill();
        self.launch();
        eventually(
            START,
            &format!("Redis answers on port {}", self.port),
            || {
                self.still_alive();
                let mut connection = self.try_connection(0)?;
                redis::cmd("PING").query::<String>(&mut connection)
            },
        );
    }

    /// Starts without waiting: for tests that want to see it loading.
    pub fn launch(&self) {
        let mut command = Command::new("redis-server");
        command.arg(self.folder.path().join("redis.conf"));
        let process = Process::start("redis-server", &command, &self.log);
        *self.process.lock().unwrap() = Some(process);
    }

    fn still_alive(&self) {
        let mut process = self.process.lock().unwrap();
        let process = process.as_mut().expect("just started");
        if let Some(status) = process.exited() {
            panic!("{}", process.explain_end(status));
        }
    }

    fn write_files(&self) {
        let folder = self.folder.path().display();
        let options = &self.options;
        let mut conf = format!(
            "port {}\nbind 127.0.0.1\ndir {folder}\ndatabases {DATABASES}\nsave \"\"\nenable-debug-command local\n\
             repl-diskless-sync-delay 0\n",
            self.port
        );
        if options.aof {
            conf.push_str("appendonly yes\nappendfsync always\n");
        }
        if let Some(master) = options.replica_of {
            writeln!(conf, "replicaof 127.0.0.1 {master}").unwrap();
        }
        if let Some((bytes, policy)) = options.maxmemory {
            writeln!(conf, "maxmemory {bytes}\nmaxmemory-policy {policy}").unwrap();
        }
        if !options.users.is_empty() {
            let word = options
                .password
                .as_ref()
                .map_or("nopass".to_owned(), |word| format!(">{word}"));
            let lines = options.users.join("\n");
            let text = format!("user default on {word} ~* &* +@all\n{lines}\n");
            fs::write(self.folder.path().join("users.acl"), text).expect("the ACL file");
            writeln!(conf, "aclfile {folder}/users.acl").unwrap();
        } else if let Some(word) = &options.password {
            writeln!(conf, "requirepass {word}\nmasterauth {word}").unwrap();
        }
        if options.tls {
            certificates::make(self.folder.path());
            let clients = if options.tls_client_certificates {
                "yes"
            } else {
                "no"
            };
            writeln!(
                conf,
                "tls-port {}\ntls-cert-file {folder}/server.pem\ntls-key-file {folder}/server.key\n\
                 tls-ca-cert-file {folder}/ca.pem\ntls-auth-clients {clients}",
                self.tls_port
            )
            .unwrap();
        }
        if options.unix_socket {
            writeln!(conf, "unixsocket {}", self.socket().display()).unwrap();
        }
        for line in &options.config {
            writeln!(conf, "{line}").unwrap();
        }
        fs::write(self.folder.path().join("redis.conf"), conf).expect("redis.conf");
    }

    /// Every command that the server executes from here on.
    pub fn monitor(&self) -> Monitor<'_> {
        Monitor::start(self, &self.folder.path().join(unique("monitor")))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        if self.options.unix_socket {
            let _ = fs::remove_file(self.socket());
        }
    }
}
