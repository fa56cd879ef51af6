//! Who may send a POST. A browser somewhere else must not be able to (it cannot send our header without asking
//! first, and we never allow it), nor anybody on the network who does not know the token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clonelove_proxy::settings::Secret;
use subtle::ConstantTimeEq;

use super::Failure;
use crate::config::Http;

/// Longer bodies are refused; no path reads any.
const BODY_LIMIT: u64 = 16 << 10;

/// The rules that the config sets.
pub(super) struct Guard {
    read_only: bool,
    access: Access,
}

enum Access {
    /// Only this machine can connect; a name in `Host` that is not this machine's gives away a browser that
    /// was led here by a foreign name (DNS rebinding).
    ThisMachine,
    /// Whoever knows the token. None: nobody.
    Token(Option<Secret>),
}

impl Guard {
    pub(super) fn new(http: &Http) -> Self {
        let access = match http.is_loopback() {
            true => Access::ThisMachine,
            false => Access::Token(http.token.clone()),
        };
        Self { read_only: http.read_only, access }
    }

    fn judge(&self, method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > BODY_LIMIT) {
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long", "send none"));
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        if self.read_only {
            let hint = "this admin port has http_read_only = true; use SIGHUP, or another address";
            return Err(Failure::new(StatusCode::FORBIDDEN, "this admin port only answers questions", hint));
        }
        if headers.get("x-clonelove").is_none_or(|value| value != "1") {
            let hint = "send the header X-Clonelove: 1";
            return Err(Failure::new(StatusCode::FORBIDDEN, "the header X-Clonelove is missing", hint));
        }
        match &self.access {
            Access::ThisMachine if !names_this_machine(headers) => {
                let hint = "address the port by IP address or as localhost";
                Err(Failure::new(StatusCode::FORBIDDEN, "the Host header names another machine", hint))
            }
            Access::ThisMachine => Ok(()),
            Access::Token(Some(token)) if carries(headers, token) => Ok(()),
            Access::Token(_) => {
                let hint = "send Authorization: Bearer and the config's http_token";
                Err(Failure::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong", hint))
            }
        }
    }
}

/// Lets a request pass, or answers it.
pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.judge(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) if failure.status == StatusCode::UNAUTHORIZED => {
            ([(header::WWW_AUTHENTICATE, "Bearer")], failure).into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

fn carries(headers: &HeaderMap, token: &Secret) -> bool {
    headers.get(header::AUTHORIZATION).is_some_and(|value| {
        let given = value.as_bytes().split_at_checked("Bearer ".len());
        given.is_some_and(|(scheme, given)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.ct_eq(token.expose()))
        })
    })
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    name.is_some_and(|name| name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}
