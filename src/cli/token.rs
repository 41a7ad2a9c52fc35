//! `tidegate token`: who may call over the network.

use std::io::Write as _;

use clap::Subcommand;
use serde_json::json;

use super::{SocketArg, client, read, render, talk};
use crate::admin::Role;
use crate::admin::shape::{TokenBody, TokenMade, TokenRevoked, TokenShape};
use crate::clock::wall;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it, once: the daemon keeps only its hash.
    Create {
        /// By which it is listed, revoked, and named in the history.
        name: String,
        /// What it is for: push (send observations and gate values, nothing else), view, operate or admin.
        #[arg(long)]
        role: Role,
        /// How long it is good for, as 90d; until it is revoked unless given.
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// List all tokens: their roles, who made them, when they were last used.
    List {
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Revoke a token: it is refused from then on, also where it is in use.
    Revoke {
        name: String,
        #[command(flatten)]
        socket: SocketArg,
    },
}

pub(super) fn run(command: &TokenCommand) -> u8 {
    match command {
        TokenCommand::Create { name, role, expires, socket } => {
            let body = TokenBody { name: name.clone(), role: *role, expires_in: expires.clone() };
            talk(socket, "POST", "/api/v1/tokens", Some(&json!(body)), |made: &TokenMade| {
                // Beside the token, so that it alone goes where the output is sent.
                let note = format!(
                    "token {} with the role {}: keep it now, it is not shown again",
                    made.name,
                    made.role.label()
                );
                let _ = writeln!(std::io::stderr().lock(), "{note}");
                made.secret.clone()
            })
        }
        TokenCommand::List { socket } => {
            read(socket, "/api/v1/tokens", |tokens: &Vec<TokenShape>| render::tokens(tokens, wall()))
        }
        TokenCommand::Revoke { name, socket } => {
            let path = format!("/api/v1/tokens/{}", client::segment(name));
            talk(socket, "DELETE", &path, None, |gone: &TokenRevoked| {
                format!("token {} is revoked: it is refused from now on", gone.revoked)
            })
        }
    }
}
