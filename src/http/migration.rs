//! The migration's part of the API: what stands, plans and their applying, holding and going back, evidence, flags.
//!
//! Nothing is changed for somebody without a name. Until tokens are configured the name is what the caller says in
//! `X-Lockgate-Name`, and so these calls are refused on an API that other machines can reach.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, FromRequestParts, Json, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Api;
use super::problem::Problem;
use crate::flags::{Bucket, Context, Flag, Flags, FlagsReader, Value, flagd};
use crate::migration::driver::{Handle, now_ms};
use crate::migration::gate::{Measure, Reading, Sample};
use crate::migration::measure::is_pushed;
use crate::migration::phase::Step;
use crate::migration::step::{Answer, Ask, Plan, Refusal, Verb, Who};
use crate::migration::view::{Shown, time};

const NAME: &str = "x-lockgate-name";
/// A client that is silent for longer than this is forgotten, whatever it says itself.
const LONGEST_LIFETIME_S: u32 = 3_600;

/// What the migration's calls need.
#[derive(Clone)]
pub struct Migration {
    pub driver: Handle,
    pub flags: FlagsReader,
    /// Whether other machines can reach the API.
    pub remote: bool,
}

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/migration", get(shown))
        .route("/v1/plans", post(plan))
        .route("/v1/plans/{id}/apply", post(apply))
        .route("/v1/hold", post(hold))
        .route("/v1/resume", post(resume))
        .route("/v1/rollback", post(rollback))
        .route("/v1/rehearsals", post(rehearse))
        .route("/v1/baseline", post(baseline))
        .route("/v1/evidence", post(evidence))
        .route("/v1/flags/ack", post(acknowledge))
        .route("/v1/flags/flagd", get(flagd_flags))
        .route("/ofrep/v1/evaluate/flags", post(ofrep_all))
        .route("/ofrep/v1/evaluate/flags/{key}", post(ofrep_one))
}

/// The one who asks.
struct Caller(Who);

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if api.migration.remote {
            return Err(Problem::not_here());
        }
        let name = parts
            .headers
            .get(NAME)
            .and_then(|name| name.to_str().ok())
            .unwrap_or_default()
            .trim();
        if name.is_empty() || name.len() > 64 {
            return Err(Problem::nameless());
        }
        let origin = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or_else(
                || "http".to_owned(),
                |ConnectInfo(address)| address.ip().to_string(),
            );
        Ok(Self(Who {
            name: name.to_owned(),
            origin,
        }))
    }
}

type Body<T> = Result<Json<T>, JsonRejection>;

fn body<T>(body: Body<T>) -> Result<T, Problem> {
    body.map(|Json(body)| body)
        .map_err(|error| Problem::bad_request(&error.body_text()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanBody {
    verb: Verb,
    #[serde(default)]
    to: Option<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplyBody {
    reason: String,
    /// The migration's name, to complete it.
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    #[serde(default)]
    to: Option<Step>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RehearseBody {
    step: Step,
}

/// `{"measure": "duplicates", "value": 0}`, or `{"measure": "produce-errors", "faults": 0, "total": 2000, "seconds": 60}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceBody {
    measure: Measure,
    #[serde(default)]
    value: Option<f64>,
    #[serde(default)]
    faults: Option<u64>,
    #[serde(default)]
    total: Option<u64>,
    /// Over how many seconds up to now they were counted.
    #[serde(default)]
    seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AckBody {
    client: String,
    version: u64,
    /// Two of its polling periods.
    lifetime_seconds: u32,
}

#[derive(Serialize)]
struct ShownPlan {
    id: String,
    verb: Verb,
    from: Step,
    to: Step,
    epoch: u64,
    expires_at: String,
    steps: Vec<&'static str>,
    estimate_seconds: Option<f64>,
    way_back: Option<Step>,
    blocked_by: Vec<String>,
}

impl From<Plan> for ShownPlan {
    fn from(plan: Plan) -> Self {
        let blocked = plan.gates.iter().filter(|verdict| !verdict.opens());
        Self {
            blocked_by: blocked
                .map(|verdict| format!("{}: {}", verdict.name, verdict.reason))
                .collect(),
            id: plan.id,
            verb: plan.verb,
            from: plan.from,
            to: plan.to,
            epoch: plan.epoch,
            expires_at: time(plan.expires_ms),
            steps: plan.steps.iter().map(|step| step.as_str()).collect(),
            #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
            estimate_seconds: plan.estimate_ms.map(|ms| ms as f64 / 1_000.0),
            way_back: plan.way_back,
        }
    }
}

async fn shown(State(api): State<Api>) -> Json<Shown> {
    Json(Shown::of(&api.migration.driver.view()))
}

async fn ask(api: &Api, who: Who, ask: Ask) -> Result<Response, Problem> {
    answered(api.migration.driver.ask(who, ask).await)
}

fn answered(answer: Result<Box<Answer>, Box<Refusal>>) -> Result<Response, Problem> {
    match answer.map(|answer| *answer) {
        Ok(Answer::Plan(plan)) => Ok(Json(ShownPlan::from(plan)).into_response()),
        Ok(Answer::Accepted { epoch, step }) => Ok((
            StatusCode::ACCEPTED,
            Json(json!({ "epoch": epoch, "step": step })),
        )
            .into_response()),
        Err(refusal) => Err(Problem::refused(&refusal)),
    }
}

async fn plan(
    State(api): State<Api>,
    Caller(who): Caller,
    asked: Body<PlanBody>,
) -> Result<Response, Problem> {
    let PlanBody { verb, to } = body(asked)?;
    ask(&api, who, Ask::Plan { verb, to }).await
}

async fn apply(
    State(api): State<Api>,
    Caller(who): Caller,
    Path(plan): Path<String>,
    asked: Body<ApplyBody>,
) -> Result<Response, Problem> {
    let ApplyBody { reason, name } = body(asked)?;
    ask(
        &api,
        who,
        Ask::Apply {
            plan,
            reason,
            typed: name,
        },
    )
    .await
}

async fn hold(
    State(api): State<Api>,
    Caller(who): Caller,
    asked: Body<ReasonBody>,
) -> Result<Response, Problem> {
    let ReasonBody { reason } = body(asked)?;
    ask(&api, who, Ask::Hold { reason }).await
}

async fn resume(
    State(api): State<Api>,
    Caller(who): Caller,
    asked: Body<ReasonBody>,
) -> Result<Response, Problem> {
    let ReasonBody { reason } = body(asked)?;
    ask(&api, who, Ask::Resume { reason }).await
}

async fn rollback(
    State(api): State<Api>,
    Caller(who): Caller,
    asked: Body<RollbackBody>,
) -> Result<Response, Problem> {
    let RollbackBody { to, reason } = body(asked)?;
    ask(&api, who, Ask::Rollback { to, reason }).await
}

async fn rehearse(
    State(api): State<Api>,
    Caller(who): Caller,
    asked: Body<RehearseBody>,
) -> Result<Response, Problem> {
    let RehearseBody { step } = body(asked)?;
    answered(api.migration.driver.rehearse(who, step).await)
}

async fn baseline(State(api): State<Api>, Caller(who): Caller) -> Result<Response, Problem> {
    ask(&api, who, Ask::Baseline).await
}

async fn evidence(
    State(api): State<Api>,
    Caller(who): Caller,
    asked: Body<EvidenceBody>,
) -> Result<StatusCode, Problem> {
    let asked = body(asked)?;
    if !is_pushed(asked.measure) {
        return Err(Problem::bad_request(&format!(
            "Lockgate measures {} by itself; it is not pushed",
            asked.measure
        )));
    }
    let at_ms = now_ms();
    let reading = match (asked.value, asked.faults, asked.total) {
        (Some(value), None, None) if value.is_finite() => Reading::Value(value),
        (None, Some(faults), Some(total)) if faults <= total => Reading::Counted {
            faults,
            total,
            since_ms: at_ms.saturating_sub(i64::from(asked.seconds.unwrap_or(0)) * 1_000),
        },
        _ => {
            return Err(Problem::bad_request(
                "give either value, or faults and total with faults no greater than total",
            ));
        }
    };
    let sample = Sample {
        measure: asked.measure,
        reading,
        at_ms,
    };
    // Answered when it is stored: what was taken survives a restart.
    ask(&api, who, Ask::Evidence(sample)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn acknowledge(State(api): State<Api>, asked: Body<AckBody>) -> Result<StatusCode, Problem> {
    let AckBody {
        client,
        version,
        lifetime_seconds,
    } = body(asked)?;
    if client.is_empty()
        || client.len() > 128
        || !(1..=LONGEST_LIFETIME_S).contains(&lifetime_seconds)
    {
        return Err(Problem::bad_request(
            "give a client's name of 1 to 128 bytes and a lifetime of 1 to 3600 seconds",
        ));
    }
    let told = current(&api.migration.flags)?.version;
    if version > told {
        return Err(Problem::bad_request(&format!(
            "version {version} was never told; the newest is {told}"
        )));
    }
    let lifetime_ms = i64::from(lifetime_seconds) * 1_000;
    if api
        .migration
        .driver
        .measurements
        .acknowledged(&client, version, lifetime_ms, now_ms())
    {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::too_many_clients())
    }
}

fn current(flags: &FlagsReader) -> Result<Flags, Problem> {
    flags.borrow().ok_or_else(Problem::flags_unknown)
}

fn etag(flags: &Flags) -> String {
    format!("\"{}-{}\"", flags.epoch, flags.version)
}

fn tagged(flags: &Flags, headers: &HeaderMap, answer: serde_json::Value) -> Response {
    let etag = etag(flags);
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|tag| tag.to_str().ok());
    let tag = HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"0\""));
    if known == Some(etag.as_str()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    ([(header::ETAG, tag)], Json(answer)).into_response()
}

async fn flagd_flags(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Problem> {
    let flags = current(&api.migration.flags)?;
    for flag in Flag::ALL {
        let told = flags.evaluate(flag, &Context::default());
        api.metrics
            .evaluated("flagd", flag.as_str(), told.variant());
    }
    Ok(tagged(&flags, &headers, flagd(&flags)))
}

/// OpenFeature's context. Other attributes are the application's own.
#[derive(Default, Deserialize)]
struct OfrepBody {
    #[serde(default)]
    context: OfrepContext,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfrepContext {
    #[serde(default)]
    targeting_key: Option<String>,
    #[serde(default)]
    bucket: Option<u64>,
    #[serde(default)]
    partition: Option<u32>,
    #[serde(default)]
    partitions: Option<u32>,
}

impl OfrepContext {
    fn context(&self) -> Context<'_> {
        Context {
            key: self.targeting_key.as_deref().map(str::as_bytes),
            bucket: self.bucket.and_then(Bucket::new),
            partition: self.partition.zip(self.partitions),
        }
    }
}

fn evaluated(api: &Api, flags: &Flags, flag: Flag, context: &Context<'_>) -> serde_json::Value {
    let evaluation = flags.evaluate(flag, context);
    api.metrics
        .evaluated("ofrep", flag.as_str(), evaluation.variant());
    let value = match evaluation.value {
        Value::Truth(truth) => json!(truth),
        Value::Backend(backend) => json!(backend.as_str()),
    };
    json!({
        "key": flag.as_str(),
        "value": value,
        "variant": evaluation.variant(),
        "reason": evaluation.reason.as_str(),
        "metadata": { "version": flags.version, "epoch": flags.epoch },
    })
}

async fn ofrep_one(
    State(api): State<Api>,
    Path(key): Path<String>,
    asked: Body<OfrepBody>,
) -> Result<Response, Problem> {
    let Some(flag) = Flag::named(&key) else {
        let error = json!({ "key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": "there is no such flag" });
        return Ok((StatusCode::NOT_FOUND, Json(error)).into_response());
    };
    let Ok(Json(asked)) = asked else {
        let error = json!({ "key": key, "errorCode": "PARSE_ERROR", "errorDetails": "the body is no evaluation request" });
        return Ok((StatusCode::BAD_REQUEST, Json(error)).into_response());
    };
    let flags = current(&api.migration.flags)?;
    Ok(Json(evaluated(&api, &flags, flag, &asked.context.context())).into_response())
}

async fn ofrep_all(
    State(api): State<Api>,
    headers: HeaderMap,
    asked: Body<OfrepBody>,
) -> Result<Response, Problem> {
    let Ok(Json(asked)) = asked else {
        let error = json!({ "errorCode": "PARSE_ERROR", "errorDetails": "the body is no evaluation request" });
        return Ok((StatusCode::BAD_REQUEST, Json(error)).into_response());
    };
    let flags = current(&api.migration.flags)?;
    let context = asked.context.context();
    let all: Vec<_> = Flag::ALL
        .iter()
        .map(|flag| evaluated(&api, &flags, *flag, &context))
        .collect();
    Ok(tagged(&flags, &headers, json!({ "flags": all })))
}

/// Kept as one: the handle and the flags that go with it.
#[must_use]
pub fn parts(driver: Handle, flags: FlagsReader, listen: SocketAddr) -> Arc<Migration> {
    Arc::new(Migration {
        driver,
        flags,
        remote: !listen.ip().is_loopback(),
    })
}
