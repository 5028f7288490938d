//! The audit log's state: a head to keep elsewhere.

use std::sync::Arc;

use axum::{Router, extract::State as Extracted, http::StatusCode, response::Response, routing::get};

use super::{Answer, Failure, Target, blocking, json};
use crate::watch::audit::{DIRECTORY, tail::at_rest, writer::AuditState};

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new().route("/audit", get(audit))
}

async fn audit(Extracted(target): Extracted<Arc<Target>>) -> Answer<Response> {
    Ok(json(StatusCode::OK, &head(&target).await?))
}

/// The newest entry; signed first, where a server runs.
pub(super) async fn head(target: &Target) -> Answer<AuditState> {
    let none = || {
        let why = "this server keeps no audit log: [audit] of its configuration says so, or it is `duologue dev`";
        Failure::new(StatusCode::NOT_FOUND, "no-audit", why)
    };
    let failed = |why: String| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "audit-failed", &why);
    match &target.running {
        Some(running) => running.audit().ok_or_else(none)?.head().await.map_err(failed),
        // As it lies there; nothing is signed without its server.
        None => {
            let directory = target.state.directory().join(DIRECTORY);
            let found = blocking(move || at_rest(&directory)).await?;
            found.map_err(|error| failed(error.to_string()))?.ok_or_else(none)
        }
    }
}
