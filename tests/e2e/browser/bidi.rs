//! As much of WebDriver BiDi as Firefox is asked for: one command after the other.
//!
//! The scripts of plain WebDriver run there in a sandbox around the page, whose `globalThis` and `Uint8Array` are not the
//! page's. By this protocol they run in the page.

use std::sync::PoisonError;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::Mutex};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::within;

pub(super) struct Bidi {
    /// The current tab.
    context: std::sync::Mutex<String>,
    state: Mutex<State>,
}

struct State {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last: u64,
}

impl Bidi {
    /// `preload` is a function that runs in each page before its own scripts.
    pub(super) async fn connect(url: &str, context: String, preload: &str) -> Self {
        let (socket, _) = within(20, "the second connection", connect_async(url)).await.expect("Firefox listens");
        let context = std::sync::Mutex::new(context);
        let bidi = Self { context, state: Mutex::new(State { socket, last: 0 }) };
        let added = bidi.command("script.addPreloadScript", json!({ "functionDeclaration": preload })).await;
        added.unwrap_or_else(|error| panic!("Firefox does not take the script {preload:?}: {error}"));
        bidi
    }

    /// Another tab is the current one.
    pub(super) fn switch_to(&self, context: String) {
        *self.context.lock().unwrap_or_else(PoisonError::into_inner) = context;
    }

    fn context(&self) -> String {
        self.context.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs a command on the window, and returns its result.
    pub(super) async fn on_window(&self, method: &str, mut params: Value) -> Value {
        params["context"] = json!(self.context());
        self.command(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Calls an asynchronous function with one value, and returns what it returns.
    pub(super) async fn call(&self, function: &str, argument: &Value) -> Result<Value, String> {
        let params = json!({
            "functionDeclaration": format!("async (text) => JSON.stringify(await ({function})(JSON.parse(text)))"),
            "arguments": [{ "type": "string", "value": argument.to_string() }],
            "target": { "context": self.context() },
            "awaitPromise": true,
        });
        let done = self.command("script.callFunction", params).await?;
        let text = done["result"]["value"].as_str().ok_or_else(|| format!("{done:#}"))?;
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    async fn command(&self, method: &str, params: Value) -> Result<Value, String> {
        let mut state = self.state.lock().await;
        state.last += 1;
        let command = json!({ "id": state.last, "method": method, "params": params });
        state.socket.send(Message::text(command.to_string())).await.map_err(|error| error.to_string())?;
        while let Some(message) = state.socket.next().await {
            let Message::Text(text) = message.map_err(|error| error.to_string())? else { continue };
            let message: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            if message["id"] == json!(state.last) {
                return match message["type"].as_str() {
                    Some("success") => Ok(message["result"].clone()),
                    _ => Err(format!("{}: {}", message["error"], message["message"])),
                };
            }
        }
        Err("the browser has hung up".to_owned())
    }
}
