//! `cargo xtask sim --seeds N [--from S]`: the core's simulation (`shared/src/sim/`) over many seeds, optimised, on all cores.
//!
//! Progress goes to stderr. The last line on stdout is `N seeds passed`; or the story of the first seed that failed, why it
//! failed, and how to repeat it. Debug assertions and overflow checks stay on, so that it has a target folder of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, step, target};

/// The test that runs seeds.
const TEST: &str = "sim::seeds::native::every_seeds_story_ends_well";
/// How a line begins in which the simulation speaks for itself.
const SAYS: &str = "sim: ";

/// Runs seeds.
///
/// # Errors
///
/// When the tests cannot be built, or end without a word of the simulation.
pub(crate) fn verb(seeds: u64, from: u64) -> Result<ExitCode> {
    let story = step(&format!("simulation of {seeds} seeds from {from}"), || run(seeds, from))?;
    match story {
        None => {
            println!("{seeds} seeds passed");
            Ok(ExitCode::SUCCESS)
        }
        Some(story) => {
            println!("{story}");
            let seed = failed_seed(&story).context("the simulation failed without a seed")?;
            println!("repeat: cargo xtask sim --seeds 1 --from {seed}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The story of the seed that failed, if one did.
fn run(seeds: u64, from: u64) -> Result<Option<String>> {
    let mut command =
        cargo(["test", "--quiet", "--release", "-p", "duologue", "--lib", "--", "--exact", TEST, "--nocapture"]);
    command.env("CARGO_TARGET_DIR", target("sim"));
    command.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true").env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    command.env("DUOLOGUE_SIM_SEEDS", seeds.to_string()).env("DUOLOGUE_SIM_FROM", from.to_string());
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let lines: Vec<String> = out.lines().collect::<Result<_, _>>().context("cannot read what cargo prints")?;
    let passed = child.wait().context("cannot wait for cargo")?.success();
    let said = lines.iter().any(|line| line.starts_with(SAYS));
    match (said, passed) {
        (true, true) => Ok(None),
        (true, false) => Ok(Some(lines.join("\n"))),
        (false, _) => bail!("no seed was run"),
    }
}

/// The seed of `sim: seed 12 failed: …`.
fn failed_seed(story: &str) -> Option<u64> {
    let line = story.lines().filter_map(|line| line.strip_prefix(SAYS)?.strip_prefix("seed ")).next()?;
    line.split_once(" failed")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::failed_seed;

    #[test]
    fn the_seed_that_failed_is_read_from_its_story() {
        assert_eq!(failed_seed("  1.0 client: dials\nsim: seed 12 failed: why\nbecause"), Some(12));
        assert_eq!(failed_seed("sim: 2000 seeds from 0"), None);
    }
}
