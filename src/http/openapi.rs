//! The API's description, as OpenAPI 3.1: made of the handlers, completed from the table of doors, served at
//! `/v1/openapi.json` and kept in `docs/openapi.json`.
//!
//! Which role a call needs, and what the guard may answer, is said here from the same table that the guard goes by.

use std::sync::OnceLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::doors::{DOORS, Door, Need};
use super::{changes, evidence, flags, journal, repair, show, steer};
use crate::migration::gate::Measure;
use crate::migration::measure::is_pushed;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lockgate",
        description = "The daemon's API. Errors are problems of RFC 9457: `detail` says what to do."
    ),
    paths(
        show::livez,
        show::readyz,
        show::metrics,
        show::runbook,
        show::status,
        served,
        steer::shown,
        journal::journal,
        changes::set_throttle,
        changes::set_log_level,
        changes::resume,
        repair::repair,
        steer::plan,
        steer::apply,
        steer::complete,
        steer::hold,
        steer::resume,
        steer::rollback,
        steer::rehearse,
        steer::baseline,
        evidence::take,
        flags::acknowledge,
        flags::flagd_flags,
        flags::ofrep_one,
        flags::ofrep_all
    )
)]
struct Handlers;

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn served() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], text()).into_response()
}

/// The description as it is served and kept.
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| format!("{:#}\n", document()))
}

fn document() -> Value {
    let mut document =
        serde_json::to_value(Handlers::openapi()).expect("a description is a tree of texts");
    document["components"]["securitySchemes"]["token"] = json!({
        "type": "http", "scheme": "bearer", "description": "A token of `http.tokens_file`."
    });
    document["components"]["schemas"]["Problem"] = json!({
        "type": "object",
        "description": "RFC 9457.",
        "required": ["title", "status", "detail"],
        "properties": {
            "type": { "type": "string", "description": "What a script tells apart." },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What is wrong and what to do." }
        }
    });
    let schemas = &mut document["components"]["schemas"];
    schemas["PlanBody"]["properties"]["verb"]["enum"] = json!(["promote", "complete", "rollback"]);
    let pushed = Measure::ALL.iter().filter(|measure| is_pushed(**measure));
    schemas["EvidenceBody"]["properties"]["measure"]["enum"] = json!(pushed.collect::<Vec<_>>());
    true_ranges(&mut document);
    for door in &DOORS {
        let method = door.method.as_str().to_ascii_lowercase();
        complete(&mut document["paths"][door.path][&method], door);
    }
    document
}

/// The formats of OpenAPI are signed, and the numbers here are not: their ranges are said instead.
fn true_ranges(value: &mut Value) {
    let most = match value.get("format").and_then(Value::as_str) {
        Some("int32") => Some(u64::from(u32::MAX)),
        Some("int64") => Some(u64::MAX),
        _ => None,
    };
    match value {
        Value::Object(schema) => {
            if let Some(most) = most {
                schema.remove("format");
                schema.entry("minimum").or_insert(json!(0));
                schema.entry("maximum").or_insert(json!(most));
            }
            schema.values_mut().for_each(true_ranges);
        }
        Value::Array(items) => items.iter_mut().for_each(true_ranges),
        _ => {}
    }
}

/// Adds what the guard and the reading of input answer, and the role.
fn complete(operation: &mut Value, door: &Door) {
    let mut problems = vec![];
    if !door.is_probe() {
        problems.extend([
            (
                "403",
                "The Host header, the page or the role is not one that may",
            ),
            ("429", "Too many requests"),
        ]);
    }
    if let Some(least) = door.need.least() {
        problems.push(("401", "No token, or one that is not known"));
        let free = door.need.only_reads() && door.need != Need::Nothing;
        let unless = if free {
            ", or no tokens are configured"
        } else {
            ""
        };
        operation["x-role"] = json!(format!("{least}{unless}"));
        operation["security"] = json!([{ "token": [] }]);
    }
    let takes = operation.get("requestBody").is_some();
    if takes {
        problems.extend([
            ("408", "The body does not come in time"),
            ("413", "The body is too large"),
            ("415", "The body is not sent as JSON"),
        ]);
    }
    if takes || operation.get("parameters").is_some() {
        problems.push(("400", "What was sent cannot be read or makes no sense"));
    }
    if door.path.contains("/runbooks/") {
        problems.push(("404", "There is no such runbook"));
    }
    let responses = &mut operation["responses"];
    for (status, description) in problems {
        if responses.get(status).is_none() {
            responses[status] = json!({ "description": description });
        }
    }
    // What is an error and has no form of its own is a problem.
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        if status.as_str() >= "400" && response.get("content").is_none() {
            response["content"]["application/problem+json"]["schema"] =
                json!({ "$ref": "#/components/schemas/Problem" });
        }
    }
    if let Some(responses) = responses.as_object_mut() {
        responses.sort_keys();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_in_docs_is_this_one() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&page, text()).expect("writes docs/openapi.json");
        }
        let kept = std::fs::read_to_string(&page).unwrap_or_default();
        assert!(
            kept == text(),
            "docs/openapi.json is out of date: run `UPDATE_DOCS=1 cargo test --lib openapi`"
        );
    }

    #[test]
    fn every_door_is_described_and_nothing_else() {
        let handlers = serde_json::to_value(Handlers::openapi()).expect("JSON");
        let described: BTreeSet<(String, String)> = handlers["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().expect("methods").keys();
                methods.map(|method| (path.clone(), method.to_ascii_uppercase()))
            })
            .collect();
        let doors: BTreeSet<(String, String)> = DOORS
            .iter()
            .map(|door| (door.path.to_owned(), door.method.to_string()))
            .collect();
        assert_eq!(described, doors);
        assert_eq!(doors.len(), DOORS.len(), "a door stands twice in the table");
    }

    #[test]
    fn whatever_changes_something_needs_a_role_that_reading_does_not_give() {
        use crate::config::Role;
        use crate::http::doors::Noted;
        for door in &DOORS {
            assert_eq!(door.noted == Noted::Never, door.need.only_reads(), "{door}");
            assert_eq!(
                door.need.is_met_by(Role::Viewer),
                door.need.only_reads(),
                "{door}"
            );
            assert!(door.need.is_met_by(Role::Admin), "{door}");
        }
    }
}
