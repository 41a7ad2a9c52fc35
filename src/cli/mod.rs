//! The command line: arguments to an exit code.
//!
//! Exit codes: 0 done; 1 refused or failed, saying why and the next command; 2 wrong usage or configuration.

mod check;
pub(crate) mod client;
mod render;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::json;
use tidegate_health::event::Event;
use tidegate_health::explain::Explanation;
use tidegate_health::order::Rule;

use crate::admin::shape::{ApiError, DoneReply, StatusReply};
use client::{Client, ClientError};

/// Done.
pub const DONE: u8 = 0;
/// Refused or failed.
pub const FAILED: u8 = 1;
/// Wrong usage or configuration.
pub const USAGE: u8 = 2;

const DEFAULT_CONFIG: &str = "/etc/tidegate/tidegate.toml";

#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground.
    Run {
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Check a configuration and the zone files it names: every error at once, and warnings of dangers.
    Check {
        #[command(flatten)]
        config: ConfigArg,
        #[arg(long)]
        json: bool,
    },
    /// Watch a failover and the way back on this machine: no configuration, no privileges.
    Demo {
        #[arg(long)]
        json: bool,
    },
    /// One site of the demo.
    #[command(hide = true)]
    DemoSite { name: String, listen: std::net::SocketAddr },
    /// Show where every group is active and how every site and origin is.
    Status {
        #[command(flatten)]
        socket: SocketArg,
        /// Show every origin, not only those that are not up.
        #[arg(long)]
        all: bool,
    },
    /// Say why traffic is where it is, what would change that, and the next command.
    Explain {
        group: String,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Show what was done, by whom, when and why; the newest last.
    History {
        group: Option<String>,
        /// How many entries at most.
        #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        limit: u16,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Move a group to a site, now.
    Switch {
        group: String,
        site: String,
        #[command(flatten)]
        order: OrderArgs,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Move a group to its most preferred site.
    Failback {
        group: String,
        #[command(flatten)]
        order: OrderArgs,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Acknowledge a failover: lift the return latch.
    Ack {
        group: String,
        #[command(flatten)]
        reason: ReasonArg,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Bar every automatic move of a group until `unfreeze`.
    Freeze {
        group: String,
        #[command(flatten)]
        reason: ReasonArg,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Lift a freeze.
    Unfreeze {
        group: String,
        #[command(flatten)]
        reason: ReasonArg,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Agree to the move that a group with `mode = "confirm"` proposes.
    Confirm {
        group: String,
        #[command(flatten)]
        order: OrderArgs,
        #[command(flatten)]
        socket: SocketArg,
    },
}

#[derive(Args, Debug)]
struct ConfigArg {
    /// The configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG, env = "TIDEGATE_CONFIG")]
    config: PathBuf,
}

#[derive(Args, Debug)]
struct SocketArg {
    /// The daemon's control socket; the one the configuration names unless given.
    #[arg(long, env = "TIDEGATE_SOCKET")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ReasonArg {
    /// Why, for the history.
    #[arg(short, long)]
    reason: String,
}

#[derive(Args, Debug)]
struct OrderArgs {
    /// Why, for the history.
    #[arg(short, long)]
    reason: String,
    /// A rule to override, by name; may be repeated.
    #[arg(long = "override", value_name = "RULE")]
    overrides: Vec<Rule>,
}

/// Runs the command line; returns the exit code.
#[must_use]
pub fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Printing can fail only where nobody reads.
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { DONE };
        }
    };
    match cli.command {
        Command::Run { config } => crate::app::run(&config.config),
        Command::Check { config, json } => check::run(&config.config, json),
        Command::Demo { json } => crate::demo::run(json),
        Command::DemoSite { name, listen } => match crate::demo::site::run(name, listen) {
            Ok(()) => DONE,
            Err(error) => complain(&error.to_string()),
        },
        Command::Status { socket, all } => read(&socket, "/api/v1/status", |reply: &StatusReply| {
            render::status(reply, all, crate::clock::wall())
        }),
        Command::Explain { group, socket } => read(
            &socket,
            &format!("/api/v1/groups/{}/explain", client::segment(&group)),
            |reply: &Explanation| render::explanation(reply),
        ),
        Command::History { group, limit, socket } => {
            let filter = group.map(|group| format!("&group={}", client::segment(&group))).unwrap_or_default();
            read(&socket, &format!("/api/v1/history?limit={limit}{filter}"), |reply: &Vec<Event>| {
                render::history(reply)
            })
        }
        Command::Switch { group, site, order, socket } => act(
            &socket,
            &group,
            "switch",
            &json!({ "to": site, "reason": order.reason, "overrides": order.overrides }),
        ),
        Command::Failback { group, order, socket } => {
            act(&socket, &group, "failback", &json!({ "reason": order.reason, "overrides": order.overrides }))
        }
        Command::Confirm { group, order, socket } => {
            act(&socket, &group, "confirm", &json!({ "reason": order.reason, "overrides": order.overrides }))
        }
        Command::Ack { group, reason, socket } => {
            act(&socket, &group, "ack", &json!({ "reason": reason.reason }))
        }
        Command::Freeze { group, reason, socket } => {
            act(&socket, &group, "freeze", &json!({ "reason": reason.reason }))
        }
        Command::Unfreeze { group, reason, socket } => {
            act(&socket, &group, "unfreeze", &json!({ "reason": reason.reason }))
        }
    }
}

/// Fetches something and shows it.
fn read<T: DeserializeOwned>(socket: &SocketArg, path: &str, render: impl Fn(&T) -> String) -> u8 {
    talk(socket, "GET", path, None, render)
}

/// Asks for a change of one group and shows what came of it.
fn act(socket: &SocketArg, group: &str, verb: &str, body: &serde_json::Value) -> u8 {
    let mut body = body.clone();
    // Under sudo the socket only sees root; the history should know whose hands they were.
    if let Ok(user) = std::env::var("SUDO_USER") {
        body["actor"] = user.into();
    }
    let path = format!("/api/v1/groups/{}/{verb}", client::segment(group));
    talk(socket, "POST", &path, Some(&body), |reply: &DoneReply| render::done(reply, verb))
}

fn talk<T: DeserializeOwned>(
    socket: &SocketArg,
    method: &str,
    path: &str,
    body: Option<&serde_json::Value>,
    render: impl Fn(&T) -> String,
) -> u8 {
    let answer = Client::find(socket.socket.as_deref(), &socket.config.config)
        .and_then(|client| client.call_and_wait(method, path, body));
    match answer {
        Ok(text) if socket.json => show(&text),
        Ok(text) => match serde_json::from_str(&text) {
            Ok(reply) => show(&render(&reply)),
            Err(error) => {
                complain(&format!("the daemon's answer is not understood ({error}); are the versions alike?"))
            }
        },
        Err(ClientError::Refused(error)) if socket.json => {
            show(&serde_json::to_string_pretty(&error).unwrap_or_default());
            FAILED
        }
        Err(error) => complain(&error.to_string()),
    }
}

impl ApiError {
    /// The refusal as people read it.
    pub(crate) fn lines(&self) -> String {
        let next = self.next.as_ref().map(|next| format!("\n  next: {next}")).unwrap_or_default();
        format!("{} ({}){next}", self.message, self.label)
    }
}

/// Prints to standard output; a reader that went away is not an error.
pub(crate) fn show(text: &str) -> u8 {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end());
    DONE
}

/// Prints to standard error.
pub(crate) fn complain(text: &str) -> u8 {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "tidegate: {}", text.trim_end());
    FAILED
}
