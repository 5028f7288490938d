//! Half of the group `watch`: what an echo costs this binary's server in instructions, with all that it counts. `cargo xtask bench
//! watch` builds the binary without the watch too, and sets the two beside each other.

use crate::{
    Kind, Transport,
    bed::{Bed, Server},
};

/// Milliseconds of the two runs: what is done once is in both.
const MILLIS: [u32; 2] = [1_000, 25_000];

#[derive(clap::Args)]
pub(crate) struct Watch {}

impl Watch {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let bed = Bed::new(1)?;
        let server = Server { kind: Kind::Duologue, transport: Transport::Clear, options: &["--watched"] };
        let instructions = bed.instructions_of_an_echo(server, &["--job=echo"], MILLIS).await?;
        println!("instructions {instructions:.0}");
        Ok(())
    }
}
