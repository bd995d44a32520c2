//! The table of everything that the API answers to: method, path, who may, and what of it goes into the journal.
//!
//! The router is made of this table and of nothing else, and every door of it has the one guard of access.rs before it: there is
//! no way in that is not listed here, and none without a least role.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::middleware;
use axum::routing::{MethodRouter, get, post, put};

use super::access::guard;
use super::{Api, changes, evidence, flags, journal, openapi, repair, show, steer};
use crate::config::Role;

/// Bytes of a body, where a door does not say otherwise.
const BODY_BYTES: usize = 64 << 10;

/// What one must be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: what keeps a machine alive, and what is printed in every copy of Lockgate.
    Nothing,
    /// To read what applications are told.
    ReadFlags,
    /// To say which of it one follows.
    FollowFlags,
    /// To see everything.
    View,
    /// To do what can be taken back.
    Operate,
    /// To do what cannot be taken back.
    Administer,
}

impl Need {
    /// Whether a role is enough.
    #[must_use]
    pub const fn is_met_by(self, role: Role) -> bool {
        match self {
            Self::Nothing | Self::ReadFlags => true,
            Self::FollowFlags => matches!(role, Role::Flags | Role::Operator | Role::Admin),
            Self::View => matches!(role, Role::Viewer | Role::Operator | Role::Admin),
            Self::Operate => matches!(role, Role::Operator | Role::Admin),
            Self::Administer => matches!(role, Role::Admin),
        }
    }

    /// Whether it changes nothing, so that it needs no name where no tokens are configured.
    #[must_use]
    pub const fn only_reads(self) -> bool {
        matches!(self, Self::Nothing | Self::ReadFlags | Self::View)
    }

    /// The least role, for people; `None`: none is needed.
    #[must_use]
    pub const fn least(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::ReadFlags => Some("flags or viewer"),
            Self::FollowFlags => Some("flags or operator"),
            Self::View => Some("viewer"),
            Self::Operate => Some("operator"),
            Self::Administer => Some("admin"),
        }
    }
}

/// What of a door's calls the guard puts into the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Nothing: it only reads.
    Never,
    /// What came to nothing before the driver heard of it; the driver notes the rest, or it is not worth a record.
    WhatFails,
    Everything,
}

/// A way into the API.
#[derive(Debug)]
pub struct Door {
    pub method: Method,
    pub path: &'static str,
    pub need: Need,
    pub noted: Noted,
    /// Bytes that a body may have.
    pub body_bytes: usize,
    serve: fn() -> MethodRouter<Api>,
}

impl Door {
    const fn reads(path: &'static str, need: Need, serve: fn() -> MethodRouter<Api>) -> Self {
        Self {
            method: Method::GET,
            path,
            need,
            noted: Noted::Never,
            body_bytes: BODY_BYTES,
            serve,
        }
    }

    const fn sets(path: &'static str, need: Need, serve: fn() -> MethodRouter<Api>) -> Self {
        Self {
            method: Method::PUT,
            path,
            need,
            noted: Noted::Everything,
            body_bytes: BODY_BYTES,
            serve,
        }
    }

    const fn acts(
        path: &'static str,
        need: Need,
        noted: Noted,
        serve: fn() -> MethodRouter<Api>,
    ) -> Self {
        Self {
            method: Method::POST,
            path,
            need,
            noted,
            body_bytes: BODY_BYTES,
            serve,
        }
    }

    const fn with_body(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self
    }

    /// Whether machines ask it to know whether this process lives: that is never refused.
    pub fn is_probe(&self) -> bool {
        matches!(self.path, "/livez" | "/readyz")
    }
}

/// All of them.
pub static DOORS: [Door; 25] = [
    Door::reads("/livez", Need::Nothing, || get(show::livez)),
    Door::reads("/readyz", Need::Nothing, || get(show::readyz)),
    Door::reads("/runbooks/{name}", Need::Nothing, || get(show::runbook)),
    Door::reads("/v1/openapi.json", Need::Nothing, || get(openapi::served)),
    Door::reads("/metrics", Need::View, || get(show::metrics)),
    Door::reads("/v1/status", Need::View, || get(show::status)),
    Door::reads("/v1/migration", Need::View, || get(steer::shown)),
    Door::reads("/v1/journal", Need::View, || get(journal::journal)),
    Door::sets("/v1/throttle", Need::Operate, || put(changes::set_throttle)),
    Door::sets("/v1/log-level", Need::Operate, || {
        put(changes::set_log_level)
    }),
    Door::acts(
        "/v1/streams/resume",
        Need::Administer,
        Noted::Everything,
        || post(changes::resume),
    ),
    Door::acts(
        "/v1/parity/repair",
        Need::Administer,
        Noted::Everything,
        || post(repair::repair),
    )
    .with_body(repair::BODY_BYTES),
    Door::acts("/v1/plans", Need::Operate, Noted::WhatFails, || {
        post(steer::plan)
    }),
    Door::acts(
        "/v1/plans/{id}/apply",
        Need::Operate,
        Noted::WhatFails,
        || post(steer::apply),
    ),
    Door::acts(
        "/v1/plans/{id}/complete",
        Need::Administer,
        Noted::WhatFails,
        || post(steer::complete),
    ),
    Door::acts("/v1/hold", Need::Operate, Noted::WhatFails, || {
        post(steer::hold)
    }),
    Door::acts("/v1/resume", Need::Operate, Noted::WhatFails, || {
        post(steer::resume)
    }),
    Door::acts("/v1/rollback", Need::Operate, Noted::WhatFails, || {
        post(steer::rollback)
    }),
    Door::acts("/v1/rehearsals", Need::Operate, Noted::WhatFails, || {
        post(steer::rehearse)
    }),
    Door::acts("/v1/baseline", Need::Operate, Noted::WhatFails, || {
        post(steer::baseline)
    }),
    Door::acts("/v1/evidence", Need::Operate, Noted::WhatFails, || {
        post(evidence::take)
    }),
    Door::acts("/v1/flags/ack", Need::FollowFlags, Noted::WhatFails, || {
        post(flags::acknowledge)
    }),
    Door::reads("/v1/flags/flagd", Need::ReadFlags, || {
        get(flags::flagd_flags)
    }),
    Door::acts(
        "/ofrep/v1/evaluate/flags",
        Need::ReadFlags,
        Noted::Never,
        || post(flags::ofrep_all),
    ),
    Door::acts(
        "/ofrep/v1/evaluate/flags/{key}",
        Need::ReadFlags,
        Noted::Never,
        || post(flags::ofrep_one),
    ),
];

/// A router of all doors, each behind the guard.
pub fn router(api: &Api) -> Router<Api> {
    DOORS.iter().fold(Router::new(), |router, door| {
        let guard = middleware::from_fn_with_state((api.clone(), door), guard);
        // The guard reads the body, so the limit stands before it.
        let limit = DefaultBodyLimit::max(door.body_bytes);
        let served = (door.serve)().route_layer(guard).route_layer(limit);
        router.route(door.path, served)
    })
}
