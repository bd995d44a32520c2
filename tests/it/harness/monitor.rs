//! What a Redis server was asked to do, as its own `MONITOR` shows it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::Process;
use super::redis::RedisServer;
use super::unique;
use super::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(10);

/// Collects commands from its making until `finish`.
pub struct Monitor<'a> {
    server: &'a RedisServer,
    file: PathBuf,
    _process: Process,
}

/// One command: where it came from and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub database: u32,
    /// `127.0.0.1:40000`, `unix:…` or `lua`.
    pub client: String,
    /// The command in upper case, then its arguments with MONITOR's escapes (`\\xff`).
    pub words: Vec<String>,
}

impl<'a> Monitor<'a> {
    pub(super) fn start(server: &'a RedisServer, file: &Path) -> Self {
        let mut command = Command::new("redis-cli");
        command.args(["-u", &server.url(0), "MONITOR"]);
        let monitor = Self {
            server,
            file: file.to_owned(),
            _process: Process::start("redis-cli MONITOR", &command, file),
        };
        monitor.wait_for_own("begin");
        monitor
    }

    /// All commands so far, this monitor's own marks left out.
    pub fn finish(self) -> Vec<Asked> {
        self.wait_for_own("end");
        let text = self.text();
        text.lines()
            .filter(|line| !line.contains("monitor-mark-"))
            .filter_map(parse)
            .collect()
    }

    /// Asks something of its own and waits until it is seen: all that came before is then in the file.
    fn wait_for_own(&self, when: &str) {
        let mark = unique(&format!("monitor-mark-{when}"));
        eventually(PATIENCE, "MONITOR shows what is asked", || {
            self.server.command::<String>(0, &format!("PING {mark}"));
            self.text().contains(&mark)
        });
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }
}

/// `1741356110.123456 [1 127.0.0.1:40000] "XREAD" "COUNT" "10"`
fn parse(line: &str) -> Option<Asked> {
    let (_, rest) = line.split_once(" [")?;
    let (from, rest) = rest.split_once("] ")?;
    let (database, client) = from.split_once(' ')?;
    let mut words = Vec::new();
    let mut characters = rest.chars();
    while characters.by_ref().any(|c| c == '"') {
        let mut word = String::new();
        while let Some(c) = characters.next() {
            match c {
                '"' => break,
                '\\' => match characters.next() {
                    Some('"') => word.push('"'),
                    Some(other) => word.extend(['\\', other]),
                    None => break,
                },
                c => word.push(c),
            }
        }
        words.push(word);
    }
    words.first_mut()?.make_ascii_uppercase();
    Some(Asked {
        database: database.parse().ok()?,
        client: client.to_owned(),
        words,
    })
}

#[test]
fn a_line_of_monitor_is_read_whole() {
    let line = r#"1741356110.123456 [1 127.0.0.1:40000] "xadd" "a b" "*" "say \"hi\"" "\xff""#;
    let asked = parse(line).unwrap();
    assert_eq!((asked.database, &*asked.client), (1, "127.0.0.1:40000"));
    assert_eq!(asked.words, ["XADD", "a b", "*", "say \"hi\"", "\\xff"]);
    assert_eq!(parse("OK"), None);
}
