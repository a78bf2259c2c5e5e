//! Errors as answers: the failure as JSON, under the status that its code has.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tidegate_core::{Class, Code, Failure};

/// A failure on its way to whoever asked.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    failure: Failure,
}

pub(crate) type Result<T, E = Answer> = std::result::Result<T, E>;

impl Answer {
    pub(crate) fn new(status: StatusCode, failure: Failure) -> Self {
        Self { status, failure }
    }

    pub(crate) fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Failure::new(Code::TG703, why))
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, Failure::new(Code::TG703, "there is nothing at this address"))
    }

    pub(crate) fn busy(why: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, Failure::new(Code::TG410, why))
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        let status = match failure.code {
            Code::TG104 | Code::TG404 | Code::TG409 => StatusCode::NOT_FOUND,
            Code::TG402 | Code::TG405 | Code::TG408 => StatusCode::CONFLICT,
            Code::TG410 => StatusCode::TOO_MANY_REQUESTS,
            Code::TG701 => StatusCode::UNAUTHORIZED,
            Code::TG702 => StatusCode::FORBIDDEN,
            Code::TG205 => StatusCode::PAYLOAD_TOO_LARGE,
            Code::TG203 | Code::TG204 | Code::TG207 | Code::TG210 => StatusCode::UNPROCESSABLE_ENTITY,
            code if code.class() == Class::User => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { status, failure }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let failure = &self.failure;
        // Causes may name paths of this machine: they are for the log.
        if self.status.is_server_error() {
            tracing::warn!(code = failure.code.as_str(), causes = ?failure.causes, "{failure}");
        }
        let body =
            json!({ "error": { "code": failure.code, "message": failure.message, "details": failure.details, "hints": failure.hints } });
        let mut response = (self.status, Json(body)).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
