//! The daemon's API, asked by the verbs that are about a running daemon.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ConfigArgs, Exit};
use crate::config::{self, Secret};
use crate::logging::printable;

/// How long reaching the daemon and, where something is only looked at, its answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What changes something is answered once it is stored, behind whatever is being done and while a store is slow.
const STEERING: Duration = Duration::from_secs(30);

const LOOK_AGAIN: &str = "it may be busy; ask again";
const MAY_BE_DONE: &str =
    "what was asked may be done all the same: look at `lockgate status` before you ask again";

/// Where the daemon is.
#[derive(Debug, clap::Args)]
pub struct ApiArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The daemon's API; default: http.listen of the configuration, or http://127.0.0.1:8474 without one
    #[arg(long, value_name = "URL", env = "LOCKGATE_URL")]
    url: Option<String>,
    /// File of the token that says who asks, as `lockgate token` makes it
    #[arg(long, value_name = "FILE", env = "LOCKGATE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the authority of the daemon's certificate; default: the system's
    #[arg(long, value_name = "FILE", env = "LOCKGATE_CA_FILE")]
    ca_file: Option<PathBuf>,
}

/// A daemon's API.
pub struct Client {
    agent: ureq::Agent,
    /// For what changes something.
    steering: ureq::Agent,
    tls: Option<ureq::tls::TlsConfig>,
    base: String,
    /// Who asks.
    token: Option<Secret>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no daemon answers at {base} ({cause}); is `lockgate run` up there? Another place: --url"
    )]
    NotReached { base: String, cause: ureq::Error },
    #[error("the daemon at {base} did not answer in time ({cause}); {todo}")]
    Unanswered {
        base: String,
        cause: ureq::Error,
        todo: &'static str,
    },
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
        eprintln!("lockgate: {}", printable(&self.to_string()));
        match self {
            Self::NotReached { .. } | Self::Unanswered { .. } => Exit::NotReached,
            Self::Refused { kind, .. } if kind == "urn:lockgate:moved" => Exit::Moved,
            Self::Refused { kind, .. }
                if kind == "urn:lockgate:gates" || kind == "urn:lockgate:refused" =>
            {
                Exit::Refused
            }
            Self::Refused { status: 401, .. } => Exit::Role,
            Self::Refused { kind, .. } if kind == "urn:lockgate:role" => Exit::Role,
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
    /// [`Exit::Usage`]: the configuration that should say where the daemon is has problems, or a file cannot be read.
    pub fn client(&self) -> Result<Client, Exit> {
        let base = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None if self.config.is_given() => base(&self.config.load()?.0.config.http),
            None => base(&config::Http::default()),
        };
        let usage = |why| {
            eprintln!("lockgate: {why}");
            Exit::Usage
        };
        let mut client = Client::new(base);
        if let Some(file) = &self.token_file {
            client.token = Some(token(file).map_err(usage)?);
        }
        if client.base.starts_with("https://") {
            let tls = config::client_tls(self.ca_file.as_deref(), "--ca-file");
            client.tls = Some(tls.map_err(usage)?);
        }
        Ok(client.waiting(TIMEOUT))
    }
}

fn base(http: &config::Http) -> String {
    let scheme = if http.tls() { "https" } else { "http" };
    format!("{scheme}://{}", reachable(http.listen))
}

fn token(file: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        format!(
            "--token-file {} cannot be read ({error}); give the file that lockgate token made",
            file.display()
        )
    })?;
    let text = text.trim();
    // What a header cannot carry is no token, and must not be shown by the error that would say so.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "--token-file {} holds no token; give the file that lockgate token made",
            file.display()
        ));
    }
    Ok(Secret::new(text))
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

impl Client {
    /// Asks without a token.
    #[must_use]
    pub fn new(base: String) -> Self {
        let client = Self {
            agent: ureq::Agent::new_with_defaults(),
            steering: ureq::Agent::new_with_defaults(),
            tls: None,
            base,
            token: None,
        };
        client.waiting(TIMEOUT)
    }

    /// For what takes the daemon longer than an answer usually does.
    #[must_use]
    pub fn waiting(self, longest: Duration) -> Self {
        let (agent, steering) = (self.agent(longest), self.agent(longest.max(STEERING)));
        Self {
            agent,
            steering,
            ..self
        }
    }

    fn agent(&self, timeout: Duration) -> ureq::Agent {
        let mut config = ureq::Agent::config_builder()
            .timeout_connect(Some(TIMEOUT))
            .timeout_global(Some(timeout))
            .http_status_as_error(false);
        if let Some(tls) = &self.tls {
            config = config.tls_config(tls.clone());
        }
        config.build().new_agent()
    }

    fn signed<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {}", token.expose())),
            None => request,
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
        let request = self.agent.get(format!("{}{path}", self.base));
        self.body(self.signed(request).call(), LOOK_AGAIN)
    }

    /// # Errors
    /// As the type says.
    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let request = self.steering.put(format!("{}{path}", self.base));
        let text = self.body(self.signed(request).send_json(body), MAY_BE_DONE)?;
        self.read(&text)
    }

    /// # Errors
    /// As the type says.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let request = self.steering.post(format!("{}{path}", self.base));
        let text = self.body(self.signed(request).send_json(body), MAY_BE_DONE)?;
        self.read(&text)
    }

    /// What is answered without a word.
    ///
    /// # Errors
    /// As the type says.
    pub fn tell(&self, path: &str, body: &impl Serialize) -> Result<(), Error> {
        let request = self.steering.post(format!("{}{path}", self.base));
        self.body(self.signed(request).send_json(body), MAY_BE_DONE)
            .map(drop)
    }

    fn body(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
        todo: &'static str,
    ) -> Result<String, Error> {
        let failed = |cause| self.failed(cause, todo);
        let mut answer = answer.map_err(failed)?;
        let text = answer.body_mut().read_to_string().map_err(failed)?;
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

    /// One that could not be asked has done nothing; one that did not answer may have.
    fn failed(&self, cause: ureq::Error, todo: &'static str) -> Error {
        use ureq::Timeout::{Connect, Resolve};
        let base = self.base.clone();
        match cause {
            ureq::Error::Timeout(when) if !matches!(when, Connect | Resolve) => {
                Error::Unanswered { base, cause, todo }
            }
            cause => Error::NotReached { base, cause },
        }
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
    fn one_that_was_asked_and_does_not_answer_may_have_done_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let client = |base: &str| {
            let mut client = Client::new(base.to_owned());
            client.steering = client.agent(Duration::from_millis(100));
            client
        };
        // The connection waits in the listener's queue, and nobody takes it.
        let asked = client(&base).tell("/v1/rollback", &serde_json::json!({}));
        let Err(error @ Error::Unanswered { .. }) = asked else {
            panic!("{asked:?}");
        };
        assert!(error.to_string().contains("may be done"), "{error}");
        assert_eq!(error.exit(), Exit::NotReached);
        drop(listener);
        let asked = client(&base).tell("/v1/rollback", &serde_json::json!({}));
        assert!(matches!(asked, Err(Error::NotReached { .. })), "{asked:?}");
    }

    #[test]
    fn what_listens_everywhere_is_asked_on_loopback() {
        let asked = |listen: &str| reachable(listen.parse().expect("an address")).to_string();
        assert_eq!(asked("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(asked("[::]:80"), "[::1]:80");
        assert_eq!(asked("10.0.0.7:80"), "10.0.0.7:80");
    }
}
