//! What callers send, read so that whatever cannot be read is answered as a problem that says what to do.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Json, Path, Query, Request};
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Deserializer};

use super::problem::Problem;

/// A JSON object, sent as such. A list would be read as an object's values in their order, and an empty one as an object of
/// defaults: nobody means that.
pub struct Sent<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), state)
            .await
            .map_err(|error| Problem::unreadable(error.status(), &error.body_text()))?;
        let is_object = bytes.trim_ascii_start().starts_with(b"{");
        let request = Request::from_parts(parts, Body::from(bytes));
        let Json(read) = Json::from_request(request, state)
            .await
            .map_err(|error| Problem::unreadable(error.status(), &error.body_text()))?;
        if is_object {
            Ok(Self(read))
        } else {
            Err(Problem::bad_request(
                "the body is no JSON object; GET /v1/openapi.json describes it",
            ))
        }
    }
}

/// Reads a text as one line, as it is printed: line ends and tabs become spaces, and what speaks to a terminal is marked.
pub fn one_line<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let plain = |c: char| match c {
        '\t'..='\r' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    Ok(String::deserialize(from)?.chars().map(plain).collect())
}

/// Reads a name without control characters: it is printed in lines, and one of them would forge another.
pub fn plain<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if text.chars().any(char::is_control) {
        let why = "it holds a control character, such as a line end or an escape; leave it out";
        return Err(D::Error::custom(why));
    }
    Ok(text)
}

/// The one part of a path that is free.
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::from_request_parts(parts, state).await;
        read.map(|Path(name)| Self(name))
            .map_err(|error| Problem::bad_request(&error.body_text()))
    }
}

/// What stands behind the `?`.
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(query)| Self(query))
            .map_err(|error| Problem::bad_request(&error.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use serde_json::json;

    use super::*;
    use crate::http::{flags, steer};

    async fn status<T: DeserializeOwned>(body: serde_json::Value) -> Result<(), (u16, String)> {
        let request = Request::post("/")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .expect("a request");
        let sent = Sent::<T>::from_request(request, &()).await;
        sent.map(drop).map_err(|problem| {
            let shown = serde_json::to_value(&problem).expect("plain data");
            let detail = shown["detail"].as_str().expect("a text").to_owned();
            (problem.into_response().status().as_u16(), detail)
        })
    }

    #[tokio::test]
    async fn what_is_noted_of_a_caller_cannot_forge_a_line() {
        for (text, is_plain) in [
            ("der Rückweg ist frei", true),
            ("soak clean\n43 promote done", false),
            ("soak clean\u{1b}[2J", false),
            ("soak clean\u{85}43 promote done", false),
        ] {
            let client = json!({ "client": text, "version": 1, "lifetime_seconds": 20 });
            match status::<flags::AckBody>(client).await {
                Ok(()) => assert!(is_plain, "{text:?}"),
                Err((status, detail)) => {
                    assert!(!is_plain && status == 400, "{text:?}: {status} {detail}");
                    assert!(detail.contains("control character"), "{detail}");
                }
            }
        }
    }

    #[test]
    fn a_reason_of_several_lines_is_taken_as_one() {
        for (sent, kept) in [
            ("der Rückweg ist frei", "der Rückweg ist frei"),
            ("producers fail\r\n\tat Kafka", "producers fail   at Kafka"),
            (
                "clean\n43 done\u{1b}[2J\u{85}",
                "clean 43 done\u{fffd}[2J\u{fffd}",
            ),
        ] {
            assert_eq!(one_line(json!(sent)).expect("a text"), kept);
            let body = json!({ "reason": sent, "name": "m" });
            let body: steer::CompleteBody = serde_json::from_value(body).expect("a body");
            assert_eq!(body.reason, kept);
        }
    }
}
