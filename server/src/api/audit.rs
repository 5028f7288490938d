//! The audit log's state: a head to keep elsewhere.

use std::sync::Arc;

use axum::{Router, extract::State as Extracted, http::StatusCode, response::Response, routing::get};

use super::{Answer, Failure, Target, json};

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new().route("/audit", get(audit))
}

async fn audit(Extracted(target): Extracted<Arc<Target>>) -> Answer<Response> {
    let none = "this server keeps no audit log: [audit] of its configuration says so, or it is `duologue dev`";
    let audit = target.running.as_ref().and_then(|running| running.audit());
    let audit = audit.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no-audit", none))?;
    let failed = |why: String| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "audit-failed", &why);
    Ok(json(StatusCode::OK, &audit.head().await.map_err(failed)?))
}
