//! Many stories, each from its seed.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::{chance::Chance, plan::Plan, trace, world::World};

/// Seeds of an ordinary test run.
const SEEDS: u64 = if cfg!(target_arch = "wasm32") { 50 } else { 2_000 };

/// One seed's story, from its begin to its end.
fn story(seed: u64) -> World {
    trace::clear();
    let mut chance = Chance::new(seed);
    let plan = Plan::of(&mut chance);
    let mut world = World::new(chance, plan);
    while world.actions_left > 0 && world.step() {}
    world.heal();
    world.settle();
    world.keep_still();
    world.wind_down();
    world
}

#[cfg(target_arch = "wasm32")]
#[test]
fn every_seeds_story_ends_well() {
    for seed in 0..SEEDS {
        // No thread and no unwinding here: what fails says itself why, and natively it says more.
        story(seed);
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use alloc::{format, string::String};

    use std::{
        any::Any,
        env, eprintln,
        panic::{AssertUnwindSafe, catch_unwind},
        println, thread,
        time::Instant,
    };

    use super::{super::mutation, super::mutation::Mutation, *};

    /// Within so many seeds every mutation must be found.
    const MUTATION_SEEDS: u64 = 2_000;

    fn number(name: &str, default: u64) -> u64 {
        env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
    }

    fn message(panic: &(dyn Any + Send)) -> String {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).into());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
    }

    /// The line that names the seed.
    fn summary(why: &str) -> &str {
        why.lines().find(|line| line.starts_with("sim: ")).unwrap_or_default()
    }

    /// Runs one seed; if it fails, why, and what had happened.
    fn run(seed: u64) -> Result<World, String> {
        catch_unwind(AssertUnwindSafe(|| story(seed)))
            .map_err(|panic| format!("{}sim: seed {seed} failed: {}", trace::text(), message(&*panic)))
    }

    /// 8083: a STANDING that had left before AWAY came was taken for its answer, and AWAY was lost with the connection.
    #[test]
    fn the_seed_that_lost_away_ends_well() {
        run(8_083).unwrap_or_else(|why| panic!("{why}"));
    }

    #[test]
    fn every_seeds_story_ends_well() {
        let (from, count) = (number("DUOLOGUE_SIM_FROM", 0), number("DUOLOGUE_SIM_SEEDS", SEEDS));
        let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
        let totals = [const { AtomicU64::new(0) }; 4];
        let (start, until) = (Instant::now(), from + count);
        let work = || -> Result<(), String> {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= until || stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if count >= 10_000 && (seed - from) % 1_000 == 0 {
                    eprintln!("sim: {} of {count} seeds, {:.0} s", seed - from, start.elapsed().as_secs_f64());
                }
                let world = run(seed).inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
                let ledger = &world.ledger;
                for (total, more) in totals.iter().zip([world.opened, ledger.messages, ledger.bytes, ledger.datagrams])
                {
                    total.fetch_add(more, Ordering::Relaxed);
                }
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let failed = thread::scope(|scope| {
            let threads: alloc::vec::Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let results = threads.into_iter().map(|thread| thread.join().expect("panics are caught within"));
            results.filter_map(Result::err).next()
        });
        if let Some(why) = failed {
            println!("{why}");
            panic!("{}", summary(&why));
        }
        let [opened, messages, bytes, datagrams] = totals.map(AtomicU64::into_inner);
        println!(
            "sim: {count} seeds from {from}: {opened} connections, {messages} messages of {bytes} bytes, \
             {datagrams} datagrams, {:.1} s",
            start.elapsed().as_secs_f64()
        );
    }

    /// The seed at which a mutation is found.
    fn found(mutation: Mutation) -> Option<(u64, String)> {
        mutation::set(Some(mutation));
        let found = (0..MUTATION_SEEDS).find_map(|seed| run(seed).err().map(|why| (seed, why)));
        mutation::set(None);
        found
    }

    #[test]
    fn every_mutation_is_found() {
        for mutation in Mutation::ALL {
            let (seed, why) = found(*mutation).unwrap_or_else(|| panic!("{mutation:?} is not found"));
            println!("{mutation:?}: found at seed {seed}: {}", summary(&why));
        }
    }
}
