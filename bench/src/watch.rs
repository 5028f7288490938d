//! Half of the group `watch`: what an echo costs this binary's server in instructions, with all that it counts. `cargo xtask bench
//! watch` builds the binary without the watch too, and sets the two beside each other.
//!
//! ```text
//! server under callgrind ◄── one session, one message of 64 B at a time, for a short while ─► instructions, echoes
//!                        ◄── the same for longer                                           ─► the difference, by echo
//! ```

use anyhow::{bail, ensure};

use crate::{
    Kind, Transport,
    bed::{Bed, Server},
    callgrind,
};

/// Milliseconds of the two runs: what is done once is in both.
const MILLIS: [u32; 2] = [1_000, 25_000];

#[derive(clap::Args)]
pub(crate) struct Watch {}

impl Watch {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let bed = Bed::new(1)?;
        let server = Server { kind: Kind::Duologue, transport: Transport::Clear, options: &["--watched"] };
        let mut counts = Vec::new();
        for millis in MILLIS {
            let running = bed.start_counted(server).await?;
            let load = ["--job=echo".to_owned(), format!("--millis={millis}")];
            let mut clients = bed.clients("load", server, running.port, &load)?;
            clients.answer::<u32>("open").await?;
            clients.ask("run").await?;
            let echoes: f64 = clients.answer("count").await?;
            clients.end().await?;
            counts.push((callgrind::collected(&running.process.finish().await?)?, echoes));
        }
        let [(few, some), (many, more)] = *counts else { bail!("two were counted") };
        ensure!(more - some >= 500.0, "only {} echoes came back", more - some);
        println!("instructions {:.0}", (many - few) / (more - some));
        Ok(())
    }
}
