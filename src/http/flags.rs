//! What applications ask: the flags, by OFREP and in flagd's form, and saying which version they follow.
//!
//! Errors of OFREP's own paths have OFREP's form, which its providers read.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Extension, Json, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use utoipa::ToSchema;

use super::Api;
use super::access::Follower;
use super::input::{Named, Sent, plain};
use super::problem::Problem;
use crate::flags::{Bucket, Context, Flag, Flags, FlagsReader, Value, flagd};
use crate::migration::driver::now_ms;

/// A client that is silent for longer than this is forgotten, whatever it says itself.
const LONGEST_LIFETIME_S: u32 = 3_600;

/// How long an acknowledgement waits for Redis to keep it.
const KEPT_WITHIN: Duration = Duration::from_secs(2);

/// Which version of the flags an application follows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AckBody {
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$"
    )]
    #[serde(deserialize_with = "plain")]
    client: String,
    version: u64,
    /// Two of its polling periods.
    #[schema(minimum = 1, maximum = 3600)]
    lifetime_seconds: u32,
}

/// Says which version of the flags an application follows.
#[utoipa::path(post, path = "/v1/flags/ack", request_body = AckBody, responses(
    (status = 204, description = "It is known for so long, to whichever instance steers"),
    (status = 503, description = "The flags are not known yet, or Redis does not keep the acknowledgement: ask again")
))]
pub async fn acknowledge(
    State(api): State<Api>,
    Sent(AckBody {
        client,
        version,
        lifetime_seconds,
    }): Sent<AckBody>,
) -> Result<StatusCode, Problem> {
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
    let followers = &api.migration.driver.measurements.followers;
    if !followers.acknowledged(&client, version, lifetime_ms, now_ms()) {
        return Err(Problem::too_many_clients());
    }
    // Known here alone it would be unknown to the one who steers.
    match tokio::time::timeout(KEPT_WITHIN, followers.kept()).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(_late) => Err(Problem::acknowledgement_not_kept()),
    }
}

/// The application that asks, where it says so, and for how long it is known then: two of its polling periods.
const CLIENT: &str = "x-lockgate-client";
const LIFETIME: &str = "x-lockgate-lifetime";
const LIFETIME_S: u32 = 20;

/// An application that fetches a version follows it, where its role lets it say so.
type Fetching = Option<Extension<Follower>>;

fn fetched(api: &Api, fetching: Fetching, headers: &HeaderMap, flags: &Flags) {
    if fetching.is_none() {
        return;
    }
    let Some(client) = client(headers) else {
        return;
    };
    let lifetime_s = text(headers, LIFETIME)
        .and_then(|text| text.parse().ok())
        .filter(|lifetime| (1..=LONGEST_LIFETIME_S).contains(lifetime))
        .unwrap_or(LIFETIME_S);
    let followers = &api.migration.driver.measurements.followers;
    // One that finds no room is told so where it acknowledges; its flags it has all the same.
    let _ = followers.acknowledged(
        client,
        flags.version,
        i64::from(lifetime_s) * 1_000,
        now_ms(),
    );
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn client(headers: &HeaderMap) -> Option<&str> {
    let named =
        |name: &&str| (1..=128).contains(&name.len()) && !name.chars().any(char::is_control);
    text(headers, CLIENT).filter(named)
}

fn current(flags: &FlagsReader) -> Result<Flags, Problem> {
    flags.borrow().ok_or_else(Problem::flags_unknown)
}

/// Of the answer, not of the flags alone: who asks for another key must not be told that nothing changed.
fn etag(flags: &Flags, answer: &[u8]) -> String {
    let hash = xxhash_rust::xxh3::xxh3_64(answer);
    format!("\"{}-{}-{hash:016x}\"", flags.epoch, flags.version)
}

fn tagged(flags: &Flags, headers: &HeaderMap, answer: serde_json::Value) -> Response {
    let body = answer.to_string();
    let etag = etag(flags, body.as_bytes());
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|tag| tag.to_str().ok());
    let tag = HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"0\""));
    if known == Some(etag.as_str()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let json = HeaderValue::from_static("application/json");
    ([(header::ETAG, tag), (header::CONTENT_TYPE, json)], body).into_response()
}

/// The flags in the form of flagd.
#[utoipa::path(get, path = "/v1/flags/flagd", params(("if-none-match" = Option<String>, Header, description = "The ETag that is known")), responses(
    (status = 200, description = "The flags", body = Object),
    (status = 304, description = "As they are known"),
    (status = 503, description = "They are not known yet")
))]
pub async fn flagd_flags(
    State(api): State<Api>,
    fetching: Fetching,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let flags = current(&api.migration.flags)?;
    fetched(&api, fetching, &headers, &flags);
    for flag in Flag::ALL {
        let told = flags.evaluate(flag, &Context::default());
        api.metrics
            .evaluated("flagd", flag.as_str(), told.variant());
    }
    Ok(tagged(&flags, &headers, flagd(&flags)))
}

/// OpenFeature's context. Other attributes are the application's own.
#[derive(Default, Deserialize, ToSchema)]
pub struct OfrepBody {
    #[serde(default)]
    context: OfrepContext,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfrepContext {
    #[serde(default)]
    targeting_key: Option<String>,
    #[serde(default)]
    bucket: Option<u64>,
    #[serde(default)]
    partition: Option<u32>,
    #[serde(default)]
    partitions: Option<u32>,
    /// What else there is. It also keeps a list from being read as a context.
    #[serde(flatten)]
    #[schema(ignore)]
    _own: BTreeMap<String, IgnoredAny>,
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

/// One flag, as OpenFeature's remote evaluation protocol asks for it.
#[utoipa::path(post, path = "/ofrep/v1/evaluate/flags/{key}", params(("key" = String, Path, description = "The flag")),
    request_body = OfrepBody, responses(
        (status = 200, description = "Its value", body = Object),
        (status = 400, description = "In OFREP's form: the body is no evaluation request", body = Object),
        (status = 404, description = "In OFREP's form: there is no such flag", body = Object),
        (status = 503, description = "The flags are not known yet")
))]
pub async fn ofrep_one(
    State(api): State<Api>,
    Named(key): Named,
    fetching: Fetching,
    headers: HeaderMap,
    asked: Result<Sent<OfrepBody>, Problem>,
) -> Result<Response, Problem> {
    let Some(flag) = Flag::named(&key) else {
        let error = json!({ "key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": "there is no such flag" });
        return Ok((StatusCode::NOT_FOUND, Json(error)).into_response());
    };
    let Ok(Sent(asked)) = asked else {
        let error = json!({ "key": key, "errorCode": "PARSE_ERROR", "errorDetails": "the body is no evaluation request" });
        return Ok((StatusCode::BAD_REQUEST, Json(error)).into_response());
    };
    let flags = current(&api.migration.flags)?;
    fetched(&api, fetching, &headers, &flags);
    Ok(Json(evaluated(&api, &flags, flag, &asked.context.context())).into_response())
}

/// All flags, as OpenFeature's remote evaluation protocol asks for them.
#[utoipa::path(post, path = "/ofrep/v1/evaluate/flags", params(("if-none-match" = Option<String>, Header, description = "The ETag that is known")),
    request_body = OfrepBody, responses(
        (status = 200, description = "Their values", body = Object),
        (status = 304, description = "As they are known"),
        (status = 400, description = "In OFREP's form: the body is no evaluation request", body = Object),
        (status = 503, description = "The flags are not known yet")
))]
pub async fn ofrep_all(
    State(api): State<Api>,
    fetching: Fetching,
    headers: HeaderMap,
    asked: Result<Sent<OfrepBody>, Problem>,
) -> Result<Response, Problem> {
    let Ok(Sent(asked)) = asked else {
        let error = json!({ "errorCode": "PARSE_ERROR", "errorDetails": "the body is no evaluation request" });
        return Ok((StatusCode::BAD_REQUEST, Json(error)).into_response());
    };
    let flags = current(&api.migration.flags)?;
    fetched(&api, fetching, &headers, &flags);
    let context = asked.context.context();
    let all: Vec<_> = Flag::ALL
        .iter()
        .map(|flag| evaluated(&api, &flags, *flag, &context))
        .collect();
    Ok(tagged(&flags, &headers, json!({ "flags": all })))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step of ingress waits for all applications twice.
    #[test]
    fn the_lifetimes_by_default_and_in_the_documentation_let_every_step_begin() {
        let migration = crate::config::Migration::default();
        let fits = |lifetime_s: u64| {
            let period = Duration::from_secs(lifetime_s) / 2;
            (period + migration.settle * 2) * 2 + Duration::from_secs(1) < migration.attempt_budget
        };
        assert!(fits(u64::from(LIFETIME_S)));
        let guide = include_str!("../../docs/flags.md");
        let stated: Vec<u64> = ["\"lifetime_seconds\": ", " EX ", "SECONDS` ("]
            .iter()
            .filter_map(|before| guide.split_once(before))
            .filter_map(|(_, after)| {
                after
                    .split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        assert_eq!(stated.len(), 3);
        assert!(stated.into_iter().all(fits));
    }

    #[test]
    fn a_header_names_an_application_in_plain_text_or_not_at_all() {
        let named = |name: &str| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(name.as_bytes()).expect("a value");
            headers.insert(CLIENT, value);
            client(&headers).map(str::to_owned)
        };
        assert_eq!(named("billing").as_deref(), Some("billing"));
        assert_eq!(named("billing\t43 done"), None);
        assert_eq!(named(&"b".repeat(129)), None);
    }

    #[test]
    fn what_is_known_of_one_key_is_not_known_of_another() {
        let flags = Flags::redis_only(7, 2);
        let ask = |headers: &HeaderMap, value: &str| {
            tagged(&flags, headers, json!({ "flags": [{ "value": value }] }))
        };
        let first = ask(&HeaderMap::new(), "kafka");
        let mut known = HeaderMap::new();
        known.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(ask(&known, "kafka").status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(&known, "redis").status(), StatusCode::OK);
    }
}
