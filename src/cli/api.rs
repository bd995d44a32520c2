//! The daemon's API, asked by the verbs that are about a running daemon.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ConfigArgs, Exit};
use crate::config;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the daemon is.
#[derive(Debug, clap::Args)]
pub struct ApiArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The daemon's API; default: http.listen of the configuration, or http://127.0.0.1:8474 without one
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// A daemon's API.
pub struct Client {
    agent: ureq::Agent,
    base: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no daemon answers at {base} ({cause}); is `lockgate run` up there? Another place: --url"
    )]
    NotReached { base: String, cause: ureq::Error },
    #[error("the daemon at {base} says {status}: {detail}")]
    Refused {
        base: String,
        status: u16,
        detail: String,
        /// The problem's `type`, where it has one.
        kind: String,
    },
    #[error(
        "the daemon at {base} gave an answer that this version cannot read ({cause}); compare `lockgate --version` on both sides"
    )]
    Unreadable { base: String, cause: String },
}

impl Error {
    /// Says it, and names the exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        eprintln!("lockgate: {self}");
        match self {
            Self::NotReached { .. } => Exit::NotReached,
            Self::Refused { kind, .. } if kind == "urn:lockgate:moved" => Exit::Moved,
            Self::Refused { kind, .. }
                if kind == "urn:lockgate:gates" || kind == "urn:lockgate:refused" =>
            {
                Exit::Refused
            }
            Self::Refused { status: 400, .. } => Exit::Usage,
            Self::Refused { .. } | Self::Unreadable { .. } => Exit::Failed,
        }
    }
}

impl ApiArgs {
    #[must_use]
    pub const fn config(&self) -> &ConfigArgs {
        &self.config
    }

    /// # Errors
    /// [`Exit::Usage`]: the configuration that should say where the daemon is has problems.
    pub fn client(&self) -> Result<Client, Exit> {
        let base = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None if self.config.is_given() => format!(
                "http://{}",
                reachable(self.config.load()?.0.config.http.listen)
            ),
            None => format!("http://{}", config::Http::default().listen),
        };
        Ok(Client::new(base))
    }
}

/// An address that is listened on everywhere is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port()))
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, listen.port()))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => listen,
    }
}

fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .build()
        .new_agent()
}

impl Client {
    #[must_use]
    pub fn new(base: String) -> Self {
        Self {
            agent: agent(TIMEOUT),
            base,
        }
    }

    /// For what takes the daemon longer than an answer usually does.
    #[must_use]
    pub fn waiting(self, longest: Duration) -> Self {
        Self {
            agent: agent(longest),
            base: self.base,
        }
    }

    /// # Errors
    /// As the type says.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.read(&self.text(path)?)
    }

    /// The body of a path as it came.
    ///
    /// # Errors
    /// As the type says.
    pub fn text(&self, path: &str) -> Result<String, Error> {
        self.body(self.agent.get(format!("{}{path}", self.base)).call())
    }

    /// # Errors
    /// As the type says.
    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let text = self.body(
            self.agent
                .put(format!("{}{path}", self.base))
                .send_json(body),
        )?;
        self.read(&text)
    }

    /// # Errors
    /// As the type says.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let text = self.body(
            self.agent
                .post(format!("{}{path}", self.base))
                .send_json(body),
        )?;
        self.read(&text)
    }

    /// A POST that says who asks.
    ///
    /// # Errors
    /// As the type says.
    pub fn post_as(
        &self,
        name: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, Error> {
        let request = self.agent.post(format!("{}{path}", self.base));
        let text = self.body(request.header("x-lockgate-name", name).send_json(body))?;
        self.read(&text)
    }

    fn body(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<String, Error> {
        let not_reached = |cause| Error::NotReached {
            base: self.base.clone(),
            cause,
        };
        let mut answer = answer.map_err(not_reached)?;
        let text = answer.body_mut().read_to_string().map_err(not_reached)?;
        if answer.status().is_success() {
            return Ok(text);
        }
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or(text.trim()).to_owned();
        Err(Error::Refused {
            base: self.base.clone(),
            status: answer.status().as_u16(),
            detail,
            kind: problem["type"].as_str().unwrap_or_default().to_owned(),
        })
    }

    fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, Error> {
        serde_json::from_str(text).map_err(|error| Error::Unreadable {
            base: self.base.clone(),
            cause: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_on_loopback() {
        let asked = |listen: &str| reachable(listen.parse().expect("an address")).to_string();
        assert_eq!(asked("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(asked("[::]:80"), "[::1]:80");
        assert_eq!(asked("10.0.0.7:80"), "10.0.0.7:80");
    }
}
