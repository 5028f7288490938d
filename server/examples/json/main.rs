//! A line for pages in TypeScript: `cargo run -p duologue-server --example json` prints an invite link, and `protocol.d.ts`
//! beside this file, made from `message.rs`, tells the compiler what may be said.
//!
//! ```ts
//! import type { Protocol } from "./protocol.d.ts";
//! const link = connect<Protocol>({ url: "wss://localhost:…/line", invite });
//! const sum = await link.requestJson("add", { a: 40, b: 2 });       // number | null
//! ```

mod message;

use std::time::{Duration, SystemTime};

use axum::Router;
use duologue::typed::Request;
use duologue_server::{
    Call, Conversation, Duologue, JsonChannel, Policy, ServiceError, State, answer_json, development, serve,
};
use message::{Add, Chat, Heard, Say};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "target/json".to_owned());
    let state = State::open(directory)?;
    let invite = state.new_invite(Duration::from_secs(3_600))?;
    let tls = development(state.directory())?;
    let line = Duologue::new(state, Policy::loopback())
        .service(Add::LABEL, answer_json(|Add { a, b }: Add, _call| async move { Ok(a.checked_add(b)) }))
        .service(Chat::LABEL, chat);
    let app: Router = line.router();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("ready {}", invite.to_link(&format!("https://localhost:{}", listener.local_addr()?.port())));
    serve(listener, Some(tls), app, Default::default()).await;
    Ok(())
}

async fn chat(call: Call) -> Result<(), ServiceError> {
    let chat = JsonChannel::<Chat>::new(call.channel);
    while let Some(Say { text, mood }) = chat.recv().await? {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis().try_into()?;
        chat.send(&Heard { bytes: text.clone().into_bytes(), text, mood, at }).await?;
    }
    Ok(())
}

#[cfg(all(test, feature = "typescript"))]
mod tests {
    use duologue_server::Declarations;

    use super::*;

    #[test]
    fn the_declarations_are_fresh() -> anyhow::Result<()> {
        Ok(Declarations::new().request::<Add>().conversation::<Chat>().keep("examples/json/protocol.d.ts")?)
    }
}
