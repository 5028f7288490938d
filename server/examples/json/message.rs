//! What a page in TypeScript speaks with this server: `Add`, as in the typed example, and a conversation.
#![allow(unreachable_pub, reason = "as in the message types of a crate of one's own")]

use duologue_server::Conversation;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

#[path = "../typed/message.rs"]
mod typed;

pub use typed::Add;

/// Says something, and hears the server's answer to it.
pub struct Chat;

impl Conversation for Chat {
    const LABEL: &'static str = "chat";
    type FromClient = Say;
    type ToClient = Heard;
}

/// What somebody says.
#[derive(Debug, Serialize, Deserialize, TS)]
pub struct Say {
    pub text: String,
    /// None if it cannot be told.
    pub mood: Option<Mood>,
}

#[derive(Debug, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Mood {
    Calm,
    Loud { decibels: u8 },
}

/// What was heard.
#[derive(Debug, Serialize, Deserialize, TS)]
pub struct Heard {
    pub text: String,
    pub mood: Option<Mood>,
    /// Milliseconds since 1970.
    pub at: u64,
    /// The text's bytes: JSON has no shorter form for them.
    pub bytes: Vec<u8>,
}
