//! The server's place, for another process: asked here, done by whoever runs the server.

use std::sync::Arc;

use axum::{Extension, Router, extract::State as Extracted, http::StatusCode, response::Response, routing::post};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Answer, By, Failure, Target, by_whom, json};

/// Asks a server to give its place to another process.
#[derive(Debug)]
pub struct HandOver {
    /// Who asks, for the log.
    pub by: String,
    /// What comes of it: the process that has it now, or a sentence that says why nobody has.
    pub answer: oneshot::Sender<Result<u32, String>>,
}

/// Another process has the server's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HandedOver {
    /// Which.
    pub pid: u32,
}

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new().route("/hand-over", post(hand_over))
}

async fn hand_over(Extracted(target): Extracted<Arc<Target>>, by: Option<Extension<By>>) -> Answer<Response> {
    let Some(hand_overs) = &target.hand_overs else {
        let message = match target.running {
            Some(_) => "this server cannot be handed over: `duologue serve` can",
            None => "no server runs here: start one by `duologue serve`",
        };
        return Err(Failure::new(StatusCode::CONFLICT, "no-server", message));
    };
    let (answer, answered) = oneshot::channel();
    let under_way = "it is being handed over, or stops, already";
    let asked = hand_overs.try_send(HandOver { by: by_whom(by).to_string(), answer });
    asked.map_err(|_| Failure::new(StatusCode::CONFLICT, "under-way", under_way))?;
    match answered.await {
        Ok(Ok(pid)) => Ok(json(StatusCode::OK, &HandedOver { pid })),
        Ok(Err(why)) => {
            let message = format!("the server goes on as before: {why}");
            Err(Failure::new(StatusCode::CONFLICT, "not-handed-over", &message))
        }
        Err(_) => Err(Failure::new(StatusCode::CONFLICT, "under-way", under_way)),
    }
}
