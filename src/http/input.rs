//! What callers send, read so that whatever cannot be read is answered as a problem that says what to do.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Json, Path, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

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
