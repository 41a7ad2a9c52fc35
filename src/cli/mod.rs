//! The command line: arguments to an exit code.
//!
//! Exit codes: 0 done; 1 refused or failed, saying why and the next command; 2 wrong usage or configuration.

mod check;
pub(crate) mod client;
mod force;
mod history;
mod manual;
pub(crate) mod network;
mod render;
mod token;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidegate_health::explain::Explanation;
use tidegate_health::order::Rule;

use crate::admin::shape::{ApiError, DoneReply, ForceAction, NotifyTestReply, ReloadReply, StatusReply};
use client::Client;

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
        /// The group to explain.
        group: String,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Show what was done, by whom, when and why; the newest last.
    History(history::HistoryArgs),
    /// Play outages of a script through the configuration in virtual time: what would happen when, how long nobody would be
    /// served, and the worst case by arithmetic. Touches nothing.
    Simulate {
        #[command(flatten)]
        config: ConfigArg,
        /// What happens: lines like `at 30s site main lost`, and `until 10m` at the end; see docs/simulate.md.
        #[arg(short, long)]
        script: PathBuf,
        /// Chance, as far as there is any: when each check begins.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long)]
        json: bool,
    },
    /// Take the configuration, its zone files and certificates as they are now, without an interruption; or, where
    /// anything is wrong with them, nothing of it.
    Reload {
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Move a group to a site, now.
    Switch {
        #[command(flatten)]
        order: OrderArgs,
        /// The site to move it to.
        site: String,
    },
    /// Move a group to its most preferred site.
    Failback(OrderArgs),
    /// Agree to the move that a group with `mode = "confirm"` proposes.
    Confirm(OrderArgs),
    /// Acknowledge a failover: lift the return latch, which keeps automatic failovers from sites that were lost.
    Ack(ActArgs),
    /// Bar every automatic move of a group until `unfreeze`.
    Freeze(ActArgs),
    /// Lift a freeze.
    Unfreeze(ActArgs),
    /// Take origins, a host or a site out on purpose: no new work, what is under way finishes. `status` says when it is
    /// safe to power off.
    Drain(force::DrainArgs),
    /// Let in again what was drained; it serves once its checks have passed `rise` times.
    Undrain(force::LiftArgs),
    /// Make origins count as up or down, whatever their checks say.
    Force(force::ForceArgs),
    /// Leave to their checks again what was forced up or down.
    Unforce(force::LiftArgs),
    /// Try out who is told what happens.
    #[command(subcommand)]
    Notify(NotifyCommand),
    /// Make, list and revoke tokens for the API over the network (`listen.api`).
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Print the script that completes `tidegate` in a shell.
    Completions { shell: Shell },
    /// Print this command's manual page.
    Man {
        /// Write a page for `tidegate` and one for each of its commands into this folder.
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
}

#[derive(Subcommand, Debug)]
enum NotifyCommand {
    /// Send a test message to one receiver and say whether it arrived.
    Test {
        /// The receiver: NAME of a table [notify.NAME].
        receiver: String,
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
    network: network::NetworkArg,
    #[command(flatten)]
    config: ConfigArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ActArgs {
    /// The group.
    group: String,
    /// Why, for the history.
    #[arg(short, long)]
    reason: String,
    #[command(flatten)]
    socket: SocketArg,
}

#[derive(Args, Debug)]
struct OrderArgs {
    #[command(flatten)]
    act: ActArgs,
    /// A rule to override, by name: unfit, gate, forbidden, diverged, no-fence or isolated; may be repeated.
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
        Command::History(args) => history::run(&args),
        Command::Simulate { config, script, seed, json } => {
            crate::simulate::run(&config.config, &script, seed, json)
        }
        Command::Reload { socket } => {
            talk(&socket, "POST", "/api/v1/reload", None, |reply: &ReloadReply| render::reloaded(reply))
        }
        Command::Switch { order, site } => obey(&order, "switch", json!({ "to": site })),
        Command::Failback(order) => obey(&order, "failback", json!({})),
        Command::Confirm(order) => obey(&order, "confirm", json!({})),
        Command::Ack(args) => act(&args, "ack", json!({})),
        Command::Freeze(args) => act(&args, "freeze", json!({})),
        Command::Unfreeze(args) => act(&args, "unfreeze", json!({})),
        Command::Drain(args) => force::drain(&args),
        Command::Undrain(args) => force::lift(&args, ForceAction::Undrain),
        Command::Force(args) => force::force(&args),
        Command::Unforce(args) => force::lift(&args, ForceAction::Unforce),
        Command::Notify(NotifyCommand::Test { receiver, socket }) => {
            let path = format!("/api/v1/notify/{}/test", client::segment(&receiver));
            talk(&socket, "POST", &path, None, |reply: &NotifyTestReply| {
                format!("the test message has arrived at {}", reply.receiver)
            })
        }
        Command::Token(command) => token::run(&command),
        Command::Completions { shell } => manual::completions(Cli::command(), shell),
        Command::Man { out } => manual::man(Cli::command(), out.as_deref()),
    }
}

/// Fetches something and shows it.
fn read<T: DeserializeOwned>(socket: &SocketArg, path: &str, render: impl Fn(&T) -> String) -> u8 {
    talk(socket, "GET", path, None, render)
}

/// Asks for a move, which may override rules.
fn obey(order: &OrderArgs, verb: &str, mut body: Value) -> u8 {
    body["overrides"] = json!(order.overrides);
    act(&order.act, verb, body)
}

/// Asks for a change of one group and shows what came of it.
fn act(args: &ActArgs, verb: &str, mut body: Value) -> u8 {
    body["reason"] = args.reason.clone().into();
    if let Some(person) = person() {
        body["actor"] = person.into();
    }
    let path = format!("/api/v1/groups/{}/{verb}", client::segment(&args.group));
    talk(&args.socket, "POST", &path, Some(&body), |reply: &DoneReply| render::done(reply, verb))
}

/// Under sudo the socket only sees root; the history should know whose hands they were.
fn person() -> Option<String> {
    std::env::var("SUDO_USER").ok().filter(|user| !user.is_empty())
}

fn talk<T: DeserializeOwned>(
    socket: &SocketArg,
    method: &str,
    path: &str,
    body: Option<&Value>,
    render: impl Fn(&T) -> String,
) -> u8 {
    let answer = Client::find(socket).and_then(|client| client.call_and_wait(method, path, body));
    match answer {
        Ok(text) if socket.json => show(&text),
        Ok(text) => match serde_json::from_str(&text) {
            Ok(reply) => show(&render(&reply)),
            Err(error) => {
                complain(&format!("the daemon's answer is not understood ({error}); are the versions alike?"))
            }
        },
        Err(error) => {
            if socket.json {
                show(&serde_json::to_string_pretty(&error.shape()).unwrap_or_default());
            } else {
                complain(&error.to_string());
            }
            error.exit_code()
        }
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
