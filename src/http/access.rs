//! Who may come in: the one guard before every door of the API.
//!
//! ```text
//!   too many from here? ─▶ a Host of ours? ─▶ sent by a page of ours? ─▶ whose token? ─▶ is the role enough? ─▶ the door
//!          429                  403                   403                   401                403
//! ```
//! Nothing that changes anything is reached without a name that a token proves: where no tokens are configured, reading is all
//! that there is. A browser cannot be led here by another site: a name that was made to point at this machine is no Host of
//! ours, and what a foreign page sends says so in `Sec-Fetch-Site` or `Origin`.
//!
//! The pace of an address is kept apart for what applications ask, for looking and for acting, and each of them for those whose
//! token opens the door and for all others, so that none of them locks out another. What keeps tokens from being guessed is their
//! length; the pace keeps strangers from costing much.
//! A body is read here, after the token and before the door, and has its time. Tokens are looked for by their digests, all of them, in constant time. What is refused is counted; what would have changed
//! something also goes into the journal and the log, so many a minute, and the next record says how many were left out.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequest as _, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use subtle::ConstantTimeEq;
use tracing::{debug, info, warn};

use super::Api;
use super::doors::{Door, Need, Noted};
use super::problem::{ByDriver, Problem, Said};
use crate::config::{Digest, Http, Role, Token};
use crate::metrics::Denied;
use crate::migration::step::{Outcome, Who};

/// Who asks where nobody is known.
const NOBODY: &str = "nobody";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Records of refusals at once; then one a minute.
const BURST: NonZeroU32 = const { NonZeroU32::new(30).expect("not zero") };
/// Addresses whose pace is kept before those that rest are forgotten.
const ADDRESSES: usize = 10_000;

/// Doors that share an address's pace. However often applications ask, or somebody looks, from where an operator sits: the
/// operator's own calls are not held up by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lane {
    Flags,
    Looking,
    Acting,
}

impl Lane {
    const fn of(need: Need) -> Self {
        match need {
            Need::ReadFlags | Need::FollowFlags => Self::Flags,
            Need::Nothing | Need::View => Self::Looking,
            Need::Operate | Need::Administer => Self::Acting,
        }
    }
}

/// The address at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The one who asks, known by a token.
#[derive(Clone, Debug)]
pub struct Caller(pub Who);

/// Put beside the caller whose role lets it say that it follows the flags.
#[derive(Clone, Copy, Debug)]
pub struct Follower;

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        // The guard lets nobody through to a door that changes something without it.
        caller.ok_or_else(|| Problem::no_token(true))
    }
}

/// Why somebody was turned away.
struct Turned {
    reason: Denied,
    who: String,
    problem: Problem,
}

impl Turned {
    fn new(reason: Denied, who: &str, problem: Problem) -> Self {
        Self {
            reason,
            who: who.to_owned(),
            problem,
        }
    }
}

/// What the guard knows.
pub struct Access {
    tokens: RwLock<Arc<[Token]>>,
    patience: Duration,
    hosts: Vec<String>,
    local: bool,
    /// By address, lane, and whether the token opens the door.
    pace: DefaultKeyedRateLimiter<(IpAddr, Lane, bool)>,
    tidying: DefaultDirectRateLimiter,
    notes: DefaultDirectRateLimiter,
    /// Refusals since the last one that was noted.
    left_out: AtomicU64,
}

impl Access {
    #[must_use]
    pub fn new(config: &Http) -> Self {
        Self {
            tokens: RwLock::new(config.tokens.clone().into()),
            patience: config.client_timeout,
            hosts: config.hosts.clone(),
            local: config.listen.ip().is_loopback(),
            pace: RateLimiter::keyed(Quota::per_second(config.requests_per_second)),
            tidying: RateLimiter::direct(Quota::per_second(NonZeroU32::MIN)),
            notes: RateLimiter::direct(Quota::per_minute(NonZeroU32::MIN).allow_burst(BURST)),
            left_out: AtomicU64::new(0),
        }
    }

    /// Who may use the API now.
    pub fn tokens(&self) -> Arc<[Token]> {
        Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these may use the API, and no others.
    pub fn admit_from_now(&self, tokens: Vec<Token>) {
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens.into();
    }

    /// The name and role of the one who asks, or `None` where none is needed.
    fn admit(
        &self,
        door: &Door,
        request: &Request,
        from: IpAddr,
    ) -> Result<Option<(String, Role)>, Turned> {
        let headers = request.headers();
        let tokens = self.tokens();
        let known = shown(headers).and_then(|token| holder(&tokens, token));
        if !door.is_probe() {
            let opens = known.is_some_and(|known| door.need.is_met_by(known.role));
            self.keep_pace(from, Lane::of(door.need), opens)?;
        }
        let host = text(headers, &header::HOST);
        if !self.is_ours(host) {
            return Err(Turned::new(
                Denied::Origin,
                NOBODY,
                Problem::unknown_host(self.hosts.is_empty()),
            ));
        }
        if !request.method().is_safe() && is_foreign(headers, host) {
            return Err(Turned::new(
                Denied::Origin,
                NOBODY,
                Problem::foreign_origin(),
            ));
        }
        judge(door.need, headers, !tokens.is_empty(), known)
    }

    fn keep_pace(&self, from: IpAddr, lane: Lane, opens: bool) -> Result<(), Turned> {
        // Walking the table is not for every request, however many addresses are fresh.
        if self.pace.len() > ADDRESSES && self.tidying.check().is_ok() {
            self.pace.retain_recent();
        }
        self.pace
            .check_key(&(from, lane, opens))
            .map_err(|_| Turned::new(Denied::Pace, NOBODY, Problem::too_many_requests()))
    }

    /// Whether a Host header names this API.
    fn is_ours(&self, host: &str) -> bool {
        if !self.local && self.hosts.is_empty() {
            return true;
        }
        let name = without_port(host);
        let loopback = matches!(name, "localhost" | "[::1]" | "::1")
            || name
                .parse::<std::net::Ipv4Addr>()
                .is_ok_and(|ip| ip.is_loopback());
        loopback
            || self
                .hosts
                .iter()
                .any(|ours| ours.eq_ignore_ascii_case(name))
    }

    /// How many refusals were left out before this one; `None`: this one is left out too.
    fn noted(&self) -> Option<u64> {
        if self.notes.check().is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// Whether the one who asks may come in; `configured`: whether this API knows any tokens.
fn judge(
    need: Need,
    headers: &HeaderMap,
    configured: bool,
    known: Option<&Token>,
) -> Result<Option<(String, Role)>, Turned> {
    if need == Need::Nothing || (!configured && need.only_reads()) {
        return Ok(None);
    }
    let auth = |problem| Turned::new(Denied::Auth, NOBODY, problem);
    if !headers.contains_key(header::AUTHORIZATION) {
        return Err(auth(Problem::no_token(configured)));
    }
    let known = known.ok_or_else(|| auth(Problem::unknown_token(configured)))?;
    if need.is_met_by(known.role) {
        return Ok(Some((known.name.clone(), known.role)));
    }
    Err(Turned::new(
        Denied::Role,
        &known.name,
        Problem::wrong_role(need.least().unwrap_or_default(), known.role),
    ))
}

/// The token that a request shows.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION)?;
    authorization.to_str().ok().and_then(bearer)
}

fn holder<'a>(tokens: &'a [Token], token: &str) -> Option<&'a Token> {
    let shown = Digest::of(token);
    tokens.iter().fold(None, |found, known| {
        let same = known.digest.bytes().ct_eq(shown.bytes());
        if bool::from(same) { Some(known) } else { found }
    })
}

/// Lets a request through to its door, or turns it away.
pub async fn guard(
    State((api, door)): State<(Api, &'static Door)>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let from = peer.ip();
    let known = match api.access.admit(door, &request, from) {
        Ok(known) => known,
        Err(turned) => return turn_away(&api, door, from, turned),
    };
    let who = Who {
        name: known
            .as_ref()
            .map_or_else(|| NOBODY.to_owned(), |(name, _)| name.clone()),
        origin: from.to_string(),
    };
    if let Some((_, role)) = known {
        request.extensions_mut().insert(Caller(who.clone()));
        if Need::FollowFlags.is_met_by(role) {
            request.extensions_mut().insert(Follower);
        }
    }
    let request = match in_whole(request, api.access.patience).await {
        Ok(request) => request,
        Err(problem) => {
            if problem.is_timeout() {
                api.metrics.denied(Denied::Slow);
            }
            return refuse(&api, door, who, problem);
        }
    };
    if door.noted == Noted::Never {
        return next.run(request).await;
    }
    // Who goes away before the answer cancels nothing, and is noted all the same.
    let acting = tokio::spawn(async move {
        let response = next.run(request).await;
        note_answer(&api, door, who, &response);
        response
    });
    crate::tasks::passed_on(acting.await)
}

/// The request with its body at hand. The time is for all of it, so that a byte now and then is not enough.
async fn in_whole(request: Request, patience: Duration) -> Result<Request, Problem> {
    if request.method().is_safe() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts.clone(), body);
    let body = tokio::time::timeout(patience, Bytes::from_request(request, &())).await;
    let body = body.map_err(|_| Problem::too_slow())?;
    let body = body.map_err(|error| Problem::unreadable(error.status(), &error.body_text()))?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn turn_away(api: &Api, door: &Door, from: IpAddr, turned: Turned) -> Response {
    api.metrics.denied(turned.reason);
    // Who only asks too often has not attempted anything.
    if turned.reason == Denied::Pace {
        return turned.problem.into_response();
    }
    let who = Who {
        name: turned.who,
        origin: from.to_string(),
    };
    refuse(api, door, who, turned.problem)
}

fn refuse(api: &Api, door: &Door, who: Who, problem: Problem) -> Response {
    if door.noted != Noted::Never {
        note_refusal(api, door, who, problem.title());
    }
    problem.into_response()
}

fn note_answer(api: &Api, door: &Door, who: Who, response: &Response) {
    let status = response.status();
    let said = response.extensions().get::<Said>();
    let said = said.map_or_else(|| status.as_str().to_owned(), |said| said.0.clone());
    let by_driver = response.extensions().get::<ByDriver>().is_some();
    if status.is_success() {
        if door.noted == Noted::WhatFails {
            debug!(who = who.name, from = who.origin, call = %door, said, "API call");
        } else {
            info!(who = who.name, from = who.origin, call = %door, said, "API call");
            let note = format!("{door}: {said}");
            api.migration.driver.note(who, Outcome::Done, note);
        }
    } else if !by_driver {
        note_refusal(api, door, who, &said);
    }
}

fn note_refusal(api: &Api, door: &Door, who: Who, why: &str) {
    let Some(left_out) = api.access.noted() else {
        return;
    };
    let more = match left_out {
        0 => String::new(),
        more => format!("; {more} refused before it are not noted"),
    };
    warn!(who = who.name, from = who.origin, call = %door, why, left_out, "API call refused");
    let note = format!("{door}: {why}{more}");
    api.migration.driver.note(who, Outcome::Refused, note);
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// The token of `Bearer TOKEN`.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name)
}

/// Whether a browser says that a page of another place sends this. What says nothing is no browser.
fn is_foreign(headers: &HeaderMap, host: &str) -> bool {
    match (headers.get(FETCH_SITE), headers.get(header::ORIGIN)) {
        (Some(site), _) => !matches!(site.as_bytes(), b"same-origin" | b"none"),
        (None, Some(_)) => {
            let origin = text(headers, &header::ORIGIN);
            origin
                .split_once("://")
                .is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host))
        }
        (None, None) => false,
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_that_ask_too_often_do_not_hold_up_an_operator_at_their_address() {
        let access = Access::new(&Http {
            requests_per_second: const { NonZeroU32::new(2).expect("not zero") },
            ..Http::default()
        });
        let from = IpAddr::from([10, 0, 0, 7]);
        let passes = |need| access.keep_pace(from, Lane::of(need), true).is_ok();
        let asked = (0..100).filter(|_| passes(Need::ReadFlags)).count();
        assert!(asked < 100);
        assert!(passes(Need::Operate) && passes(Need::View));
    }

    #[test]
    fn whoever_has_no_token_for_a_door_does_not_lock_out_who_has_from_the_same_address() {
        let token = |name: &str, role| Token {
            name: name.to_owned(),
            role,
            digest: Digest::of(name),
        };
        let config = Http {
            requests_per_second: const { NonZeroU32::new(2).expect("not zero") },
            tokens: vec![token("ana", Role::Operator), token("app", Role::Flags)],
            ..Http::default()
        };
        let from = IpAddr::from([127, 0, 0, 1]);
        let mut doors = super::super::doors::DOORS.iter();
        let door = doors
            .find(|door| door.path == "/v1/rollback")
            .expect("there is one");
        let ask = |access: &Access, authorization: Option<&str>| {
            let mut request = Request::post(door.path).header(header::HOST, "localhost");
            if let Some(token) = authorization {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let request = request.body(Body::empty()).expect("a request");
            let admitted = access.admit(door, &request, from);
            admitted.map(drop).map_err(|turned| turned.reason)
        };
        for stranger in [None, Some("guess"), Some("app")] {
            let access = Access::new(&config);
            let paced = (0..100).filter(|_| ask(&access, stranger) == Err(Denied::Pace));
            assert!(paced.count() > 0, "{stranger:?} keeps the pace, too");
            assert_eq!(ask(&access, Some("ana")), Ok(()), "{stranger:?}");
        }
    }
}
