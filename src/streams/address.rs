//! From the configuration to what a connection needs: where, as whom, over what.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo};

use super::error::{Error, Peer};
use super::tls;
use crate::config;
use crate::entry::Database;

/// Everything that connecting takes. Made once, shared by all connections.
pub(super) struct Address {
    pub(super) peer: Arc<Peer>,
    pub(super) way: Way,
    pub(super) credentials: Option<Credentials>,
    pub(super) default_database: Database,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
}

/// Over what.
pub(super) enum Way {
    Tcp {
        host: String,
        port: u16,
    },
    Tls {
        host: String,
        port: u16,
        files: tls::Files,
    },
    Unix(PathBuf),
}

pub(super) struct Credentials {
    pub(super) user: Option<String>,
    pub(super) password: config::Secret,
}

impl Address {
    /// Reads the URL and tries the TLS files, so that a bad one is found at the start and not at the first reconnect.
    pub(super) fn from_config(config: &config::Redis) -> Result<Self, Error> {
        let wrong = |message: String| Error::Config { message };
        // The crate's own words never repeat the URL.
        let info = config.url.as_str().into_connection_info().map_err(|error| {
            wrong(format!(
                "`redis.url` is not a Redis URL ({error}); it has the form redis://host:port/db, rediss://host:port/db or unix:///path?db=n"
            ))
        })?;
        let settings = info.redis_settings();
        if settings.password().is_some() {
            return Err(wrong("`redis.url` holds a password; put it in `redis.password_file` or LOCKGATE_REDIS__PASSWORD".to_owned()));
        }
        let database = u32::try_from(settings.db()).map_err(|_| {
            wrong("the database in `redis.url` is not a number from 0 on".to_owned())
        })?;
        let (at, way) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let (host, port) = (host.clone(), *port);
                (host_and_port(&host, port), Way::Tcp { host, port })
            }
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err(wrong("`redis.url` ends in #insecure, but certificates are always checked; name the server's authority in `redis.tls_ca_file`".to_owned()));
            }
            ConnectionAddr::TcpTls { host, port, .. } => {
                let (host, port) = (host.clone(), *port);
                let files = tls::Files::from_config(config);
                files.load().map_err(wrong)?;
                (host_and_port(&host, port), Way::Tls { host, port, files })
            }
            ConnectionAddr::Unix(path) => (path.display().to_string(), Way::Unix(path.clone())),
            _ => {
                return Err(wrong(
                    "`redis.url` names a transport that is not known".to_owned(),
                ));
            }
        };
        let user = config
            .username
            .clone()
            .or_else(|| settings.username().map(str::to_owned));
        let credentials = match (&user, &config.password) {
            (None, None) => None,
            // A user without a password (`nopass`) is told by an empty one.
            (_, password) => Some(Credentials {
                user: user.clone(),
                password: password.clone().unwrap_or_else(|| config::Secret::new("")),
            }),
        };
        Ok(Self {
            peer: Arc::new(Peer {
                at,
                user: user.unwrap_or_else(|| "default".to_owned()),
            }),
            way,
            credentials,
            default_database: Database(database),
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
        })
    }
}

fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Result<Address, Error> {
        Address::from_config(&config::Redis {
            url: url.to_owned(),
            ..config::Redis::default()
        })
    }

    fn refusal(url: &str) -> String {
        address(url)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn the_url_says_where_and_which_database() {
        let address = address("redis://cache.example:7000/3").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(address.peer.at, "cache.example:7000");
        assert_eq!(address.default_database, Database(3));
        assert!(address.credentials.is_none());
    }

    #[test]
    fn a_unix_socket_and_an_ipv6_host_are_named_as_they_are_written() {
        let unix = address("unix:///run/redis.sock?db=2").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(unix.peer.at, "/run/redis.sock");
        assert_eq!(unix.default_database, Database(2));
        let ipv6 = address("redis://[::1]:6379").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(ipv6.peer.at, "[::1]:6379");
    }

    #[test]
    fn what_cannot_be_used_is_said_without_its_secret() {
        let text = refusal("redis://u:hunter2@host/0");
        assert!(text.contains("password_file"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        let text = refusal("redis://u:hunter2@host:notaport/0");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(refusal("rediss://host/#insecure").contains("tls_ca_file"));
        assert!(refusal("redis://host/-1").contains("database"));
        assert!(refusal("http://host/").contains("redis.url"));
    }
}
