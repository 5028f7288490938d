//! A private line in an axum app of your own: `cargo run -p duologue-server --example typed`.

mod message;

use axum::Router;
use duologue_client::{Client, Keyring, Target};
use duologue_server::{Duologue, Policy, State, answer, development, serve};
use message::Add;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let state = State::open("target/typed")?;
    let invite = state.new_invite(std::time::Duration::from_secs(60))?;
    let tls = development(state.directory())?;
    let line = Duologue::new(state, Policy::loopback())
        .service("add", answer(|Add { a, b }: Add, _call| async move { Ok(a.checked_add(b)) }));
    let app: Router = line.router();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("https://localhost:{}", listener.local_addr()?.port());
    tokio::spawn(serve(listener, Some(tls), app, Default::default()));

    // The other end, here in the same program.
    let target = Target::parse(&invite.to_link(&address))?;
    let line = Client::new(Keyring::in_memory()).connect(&target).await?;
    println!("40 + 2 = {:?}", line.call(&Add { a: 40, b: 2 }).await?);
    Ok(())
}
