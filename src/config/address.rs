//! The forms of `redis.url`, read without ever printing them: a URL might hold a password by mistake.

use std::path::PathBuf;
use std::str::FromStr;

use crate::entry::Database;

/// What `redis.url` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisAddress {
    pub endpoint: Endpoint,
    /// The default database; 0 where the URL names none.
    pub database: Database,
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An IPv6 host without its brackets.
    Tcp {
        host: String,
        port: u16,
        tls: bool,
    },
    Unix(PathBuf),
}

const FORMS: &str =
    "write redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///path/to/redis.sock?db=0";

impl FromStr for RedisAddress {
    type Err = String;

    /// # Errors
    /// What is wrong and what to write instead, without the URL's text.
    fn from_str(url: &str) -> Result<Self, String> {
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("holds a space or a control character; {FORMS}"));
        }
        let (scheme, rest) = url
            .split_once(':')
            .ok_or_else(|| format!("has no scheme; {FORMS}"))?;
        match scheme {
            "redis" => tcp(rest, false),
            "rediss" => tcp(rest, true),
            "unix" | "redis+unix" => unix(rest),
            _ => Err(format!("has a scheme that Redis has not; {FORMS}")),
        }
    }
}

fn tcp(rest: &str, tls: bool) -> Result<RedisAddress, String> {
    let rest = rest
        .strip_prefix("//")
        .ok_or_else(|| format!("lacks `//` after the scheme; {FORMS}"))?;
    // A password may hold any of `/?#`, so that an `@` anywhere counts: none belongs here.
    if rest.contains('@') {
        return Err(
            "holds a user or a password, which would show in logs and process lists; write the URL without it, the user \
             as redis.username and the password in redis.password_file or LOCKGATE_REDIS__PASSWORD"
                .to_owned(),
        );
    }
    if rest.contains(['?', '#']) {
        return Err(format!(
            "has options after `?` or `#`, which are not read; the database is the number after the host, TLS is set by \
             redis.tls_ca_file: {FORMS}"
        ));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = host_and_port(authority).ok_or_else(|| {
        format!("has no good host and port; {FORMS}, an IPv6 address in brackets")
    })?;
    Ok(RedisAddress {
        endpoint: Endpoint::Tcp {
            host,
            port: port.unwrap_or(6379),
            tls,
        },
        database: database(path)?,
    })
}

fn unix(rest: &str) -> Result<RedisAddress, String> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return Err(format!("names no absolute path of a socket; {FORMS}"));
    }
    let number = match query {
        "" => "",
        query => query.strip_prefix("db=").ok_or_else(|| {
            "has options other than `?db=<number>`; the user belongs into redis.username and the password into \
             redis.password_file or LOCKGATE_REDIS__PASSWORD"
                .to_owned()
        })?,
    };
    Ok(RedisAddress {
        endpoint: Endpoint::Unix(PathBuf::from(path)),
        database: database(number)?,
    })
}

fn database(number: &str) -> Result<Database, String> {
    match number {
        "" => Ok(Database::default()),
        // Digits alone: `+1`, which parses as a number, is none here.
        number if number.bytes().all(|b| b.is_ascii_digit()) => number
            .parse()
            .map(Database)
            .map_err(|_| "names a database whose number is too large".to_owned()),
        _ => Err(format!("names a database that is no number; {FORMS}")),
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`. `None`: it is none of them.
pub(super) fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':')?),
        };
        (host, port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if host.is_empty() || !host.bytes().all(good) {
            return None;
        }
        (host, port)
    };
    let port = match port {
        None => None,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            Some(port.parse().ok().filter(|&port: &u16| port != 0)?)
        }
        Some(_) => return None,
    };
    Some((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, tls: bool, database: u32) -> RedisAddress {
        RedisAddress {
            endpoint: Endpoint::Tcp {
                host: host.to_owned(),
                port,
                tls,
            },
            database: Database(database),
        }
    }

    #[test]
    fn every_form_is_read() {
        for (url, address) in [
            ("redis://127.0.0.1:6379/1", tcp("127.0.0.1", 6379, false, 1)),
            ("redis://cache", tcp("cache", 6379, false, 0)),
            ("redis://cache/", tcp("cache", 6379, false, 0)),
            (
                "rediss://redis_1.example:7000/12",
                tcp("redis_1.example", 7000, true, 12),
            ),
            ("redis://[::1]:7/2", tcp("::1", 7, false, 2)),
            ("redis://[::1]", tcp("::1", 6379, false, 0)),
        ] {
            assert_eq!(url.parse(), Ok(address), "{url}");
        }
        for (url, number) in [
            ("unix:///run/redis.sock", 0),
            ("unix:/run/redis.sock", 0),
            ("redis+unix:///run/redis.sock?db=3", 3),
        ] {
            let address = RedisAddress {
                endpoint: Endpoint::Unix(PathBuf::from("/run/redis.sock")),
                database: Database(number),
            };
            assert_eq!(url.parse(), Ok(address), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_text() {
        for url in [
            "",
            "hunter2",
            "http://hunter2",
            "redis:hunter2",
            "redis://",
            "redis:///1",
            "redis://:6379",
            "redis://h:0",
            "redis://h:66666",
            "redis://h:port",
            "redis://::1:6379",
            "redis://[::1",
            "redis://[hunter2]:1",
            "redis://h/hunter2",
            "redis://h/-1",
            "redis://h/+1",
            "redis://h/99999999999",
            "redis://h?db=1",
            "rediss://h/#insecure",
            "redis://h hunter2",
            "redis://:hunter2@h",
            "redis://user:hunter2@h:6379/1",
            "redis://h:1/?#a@hunter2",
            "unix:run/hunter2",
            "unix:///run/redis.sock?pass=hunter2",
            "unix:///run/redis.sock?db=1&pass=hunter2",
        ] {
            let message = url.parse::<RedisAddress>().expect_err(url);
            assert!(!message.contains("hunter2"), "{message}");
        }
        let message = "redis://:hunter2@h"
            .parse::<RedisAddress>()
            .expect_err("refused");
        assert!(message.contains("LOCKGATE_REDIS__PASSWORD"), "{message}");
    }
}
