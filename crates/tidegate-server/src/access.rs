//! Who may do what.
//!
//! On the loopback interface, and as long as there is no token, everybody on this machine may do everything; a page in
//! a browser may not. Otherwise every request needs a token with the scope of what it asks for.

use crate::{State, answer::Result};
use axum::{
    extract::{Request, State as Extract},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::Response,
};
use std::sync::Arc;
use tidegate_core::{Code, Failure};
use tidegate_runtime::ledger::tokens::Scope;

/// The scope of a request.
fn scope(method: &Method, path: &str) -> Scope {
    match (method, path) {
        (&Method::GET | &Method::HEAD, _) => Scope::Read,
        (_, path) if path.starts_with("/v1/ingest/") => Scope::Ingest,
        _ => Scope::Operate,
    }
}

/// The token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

/// Whether the request was sent to this machine by its own name. A name on the web that leads here is a page's trick.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())).map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Lets a request through, or says why not.
pub(crate) async fn check(Extract(state): Extract<Arc<State>>, request: Request, next: Next) -> Result<Response> {
    let ledger = &state.service.conductor.ledger;
    let wanted = scope(request.method(), request.uri().path());
    match bearer(request.headers()) {
        Some(token) => match ledger.scopes_of(token).await? {
            Some(scopes) if wanted.allowed_by(&scopes) => {}
            Some(_) => {
                return Err(Failure::new(Code::TG702, format!("this needs a token with the scope `{}`", wanted.as_str())).into());
            }
            None => return Err(Failure::new(Code::TG701, "the token is not valid").into()),
        },
        None if !state.options.listen.ip().is_loopback() || !ledger.tokens().await?.is_empty() => {
            return Err(Failure::new(Code::TG701, "this needs a token")
                .hint("send `Authorization: Bearer …`; `tidegate token create` makes one")
                .into());
        }
        // A page of some site must not talk to a service on its reader's machine.
        None if request.headers().contains_key(header::ORIGIN) || !names_this_machine(request.headers()) => {
            return Err(Failure::new(Code::TG702, "requests from web pages need a token").into());
        }
        None => {}
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_on_the_web_is_not_this_machine() {
        let host = |name: &str| HeaderMap::from_iter([(header::HOST, name.parse().unwrap())]);
        for name in ["localhost", "localhost:8430", "127.0.0.1:8430", "[::1]:8430"] {
            assert!(names_this_machine(&host(name)), "{name}");
        }
        for name in ["example.org:8430", "localhost.example.org", "192.168.1.2:80", ""] {
            assert!(!names_this_machine(&host(name)), "{name}");
        }
    }

    #[test]
    fn every_request_has_its_scope() {
        assert_eq!(scope(&Method::GET, "/v1/runs"), Scope::Read);
        assert_eq!(scope(&Method::POST, "/v1/ingest/p/s"), Scope::Ingest);
        assert_eq!(scope(&Method::POST, "/v1/runs/1/approve"), Scope::Operate);
        assert_eq!(scope(&Method::DELETE, "/v1/anything"), Scope::Operate);
        assert!(Scope::Read.allowed_by(&[Scope::Admin]) && !Scope::Operate.allowed_by(&[Scope::Read, Scope::Ingest]));
    }
}
