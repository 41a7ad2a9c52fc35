//! `tidegate simulate`: scripted outages in virtual time, through the very core that decides for real.
//!
//! No socket, no clock, no file beside the configuration and the script: a day passes in a moment, and the same seed gives
//! the same day.

mod prober;
mod report;
mod script;
#[cfg(test)]
mod tests;
mod world;
mod worst;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use tidegate_config::{Config, render};

use crate::cli::{FAILED, USAGE, complain, show};
use crate::load;
use report::Report;

/// The largest script that is read.
const SCRIPT_BYTES_MAX: u64 = 4 << 20;

/// Runs the command; returns the exit code.
#[must_use]
pub fn run(config: &Path, script: &Path, seed: u64, as_json: bool) -> u8 {
    let config = match load::config(config) {
        Ok(config) => config,
        Err(error) => {
            complain(&error.to_string());
            return error.exit_code();
        }
    };
    let text = match std::fs::metadata(script) {
        Ok(found) if found.len() > SCRIPT_BYTES_MAX => {
            complain(&format!("the script {} is larger than 4 MiB", script.display()));
            return USAGE;
        }
        _ => std::fs::read_to_string(script),
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            complain(&format!("cannot read the script {}: {error}", script.display()));
            return FAILED;
        }
    };
    match simulate(&config, &text, seed) {
        Ok(report) if as_json => show(&serde_json::to_string_pretty(&report).unwrap_or_default()),
        Ok(report) => show(&report::render(&report)),
        Err(errors) => {
            let file = script.display().to_string();
            for error in &errors {
                show(&render(error, &file, &text));
            }
            complain(&format!("{file}: {} errors; nothing was simulated", errors.len()));
            USAGE
        }
    }
}

/// Plays a script.
fn simulate(config: &Config, text: &str, seed: u64) -> Result<Report, Vec<tidegate_config::Diagnostic>> {
    let config = &with_stand_ins(config);
    let script = script::parse(&config.fleet, text)?;
    Ok(world::World::new(config, seed).play(&script))
}

/// No resolver is asked: each name that stands for origins has one address, of the block that is set aside for
/// measurements (RFC 2544, appendix C.2.2), in the order of the names.
fn with_stand_ins(config: &Config) -> Config {
    const FIRST: u32 = 0xC612_0000;
    const COUNT: u32 = 1 << 17;
    let address = |n: u32| IpAddr::from(Ipv4Addr::from_bits(FIRST + n % COUNT));
    let addresses = (0..).zip(config.names()).map(|(n, name)| (name, vec![address(n)]));
    config.resolve(&addresses.collect()).0
}
