//! `drain`, `undrain`, `force`, `unforce`.

mod wait;

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tidegate_health::force::{Forced, Scope, Selector};
use tidegate_health::order::Rule;

use super::{DONE, SocketArg, person, render, talk};
use crate::admin::shape::{ForceAction, ForceBody};

/// Which origins are meant.
#[derive(Args, Debug)]
struct Selection {
    /// What the pattern is compared with.
    scope: ScopeArg,
    /// A name, in which `*` stands for any characters and `?` for one; an origin's is `service/site/address`.
    pattern: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeArg {
    Origin,
    Host,
    Site,
}

/// What is said of them.
#[derive(Args, Debug)]
struct Word {
    /// How long, as 2h: a force ends then; a drain does not end by itself, but is overdue then.
    #[arg(long = "for", value_name = "DURATION")]
    length: Option<String>,
    /// Only show what would be left.
    #[arg(long)]
    preview: bool,
    /// Why, for the history.
    #[arg(short, long, required_unless_present = "preview")]
    reason: Option<String>,
    /// A rule to override, by name: unfit.
    #[arg(long = "override", value_name = "RULE")]
    overrides: Vec<Rule>,
    #[command(flatten)]
    socket: SocketArg,
}

#[derive(Args, Debug)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    word: Word,
    /// Wait until it is safe to power off, at most for this long, as 10m; exit code 1 where it is not safe by then. Then the
    /// drain as it stands is printed after what came of the order, in JSON as a second document.
    #[arg(long, value_name = "DURATION", value_parser = length, conflicts_with = "preview")]
    wait: Option<Duration>,
}

#[derive(Args, Debug)]
pub(super) struct ForceArgs {
    #[command(flatten)]
    selection: Selection,
    /// What they are to count as.
    health: HealthArg,
    #[command(flatten)]
    word: Word,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HealthArg {
    Up,
    Down,
}

#[derive(Args, Debug)]
pub(super) struct LiftArgs {
    #[command(flatten)]
    selection: Selection,
    /// Why, for the history.
    #[arg(short, long)]
    reason: String,
    #[command(flatten)]
    socket: SocketArg,
}

impl Selection {
    fn selector(&self) -> Selector {
        let scope = match self.scope {
            ScopeArg::Origin => Scope::Origin,
            ScopeArg::Host => Scope::Host,
            ScopeArg::Site => Scope::Site,
        };
        Selector { scope, pattern: self.pattern.as_str().into() }
    }

    fn body(&self, action: ForceAction) -> ForceBody {
        let Selector { scope, pattern } = self.selector();
        ForceBody {
            action,
            scope,
            pattern: pattern.to_string(),
            length: None,
            preview: false,
            reason: String::new(),
            overrides: Vec::new(),
            actor: person(),
        }
    }
}

pub(super) fn drain(args: &DrainArgs) -> u8 {
    let code = set(&args.selection, &args.word, ForceAction::Drain);
    match args.wait {
        Some(wait) if code == DONE => wait::until_safe(&args.word.socket, &args.selection.selector(), wait),
        _ => code,
    }
}

fn length(text: &str) -> Result<Duration, String> {
    tidegate_config::parse_duration(text).map_err(|error| error.to_string())
}

pub(super) fn force(args: &ForceArgs) -> u8 {
    let action = match args.health {
        HealthArg::Up => ForceAction::Up,
        HealthArg::Down => ForceAction::Down,
    };
    set(&args.selection, &args.word, action)
}

fn set(selection: &Selection, word: &Word, action: ForceAction) -> u8 {
    let body = ForceBody {
        length: word.length.clone(),
        preview: word.preview,
        reason: word.reason.clone().unwrap_or_default(),
        overrides: word.overrides.clone(),
        ..selection.body(action)
    };
    send(&word.socket, &body)
}

pub(super) fn lift(args: &LiftArgs, action: ForceAction) -> u8 {
    send(&args.socket, &ForceBody { reason: args.reason.clone(), ..args.selection.body(action) })
}

fn send(socket: &SocketArg, body: &ForceBody) -> u8 {
    let json: Value = json!(body);
    talk(socket, "POST", "/api/v1/forces", Some(&json), |reply: &Forced| render::forced(reply, body))
}
