//! Who is calling, and what that allows.
//!
//! Each transport finds out in its own way (the Unix socket from the kernel) and leaves a [`Caller`] with the request.
//! Routes demand a [`Role`] of it; a request that nobody has put a caller to may do nothing.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tidegate_health::id::Name;

use super::api::problem::{Problem, problem};

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Send observations and gate values, and nothing else: not even look.
    Push,
    /// Look.
    View,
    /// Look, push, and act: move, freeze, drain.
    Operate,
    /// All of that, and what concerns the daemon itself.
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Push, Self::View, Self::Operate, Self::Admin];

    /// Whether this role covers what a route demands.
    #[must_use]
    pub fn covers(self, demanded: Self) -> bool {
        match demanded {
            Self::Push => self != Self::View,
            Self::View => self != Self::Push,
            Self::Operate => matches!(self, Self::Operate | Self::Admin),
            Self::Admin => self == Self::Admin,
        }
    }

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::View => "view",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// Who is calling.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// As the history names them.
    pub(super) actor: Name,
    pub(super) role: Role,
    /// What to do about a refusal.
    pub(super) advice: &'static str,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(unknown)
    }
}

/// Lets those in whose role covers the one that the route demands.
pub(super) async fn demand(State(demanded): State<Role>, request: Request, next: Next) -> Response {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.role.covers(demanded) => next.run(request).await,
        Some(caller) => forbidden(caller, demanded).into_response(),
        None => unknown().into_response(),
    }
}

fn forbidden(caller: &Caller, demanded: Role) -> Problem {
    let may = match caller.role {
        Role::Push => "may push, but not look or steer",
        Role::View => "may look, but not steer",
        Role::Operate | Role::Admin => "may steer, but not change the daemon",
    };
    let message = format!("`{}` {may}: this takes the role `{}`", caller.actor, demanded.label());
    problem(StatusCode::FORBIDDEN, "forbidden", message, Some(caller.advice.into()))
}

/// A transport that says nothing of its callers reaches nothing.
fn unknown() -> Problem {
    problem(StatusCode::UNAUTHORIZED, "unauthorized", "the caller is not known".into(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_covers_what_it_should_and_no_more() {
        let covered = |role: Role| {
            Role::ALL
                .into_iter()
                .filter(|demanded| role.covers(*demanded))
                .map(Role::label)
                .collect::<Vec<_>>()
        };
        assert_eq!(covered(Role::Push), ["push"]);
        assert_eq!(covered(Role::View), ["view"]);
        assert_eq!(covered(Role::Operate), ["push", "view", "operate"]);
        assert_eq!(covered(Role::Admin), ["push", "view", "operate", "admin"]);
    }
}
