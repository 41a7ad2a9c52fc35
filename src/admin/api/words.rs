//! A person's own words, on their way to the history and to terminals.

use tidegate_health::id::Name;

use super::problem::{Problem, bad};
use crate::admin::caller::Caller;

/// The longest reason and the longest name of a person, in characters.
pub(super) const REASON_MAX: usize = 500;
pub(super) const ACTOR_MAX: usize = 64;

/// A reason that may stand in the history.
pub(super) fn reason(given: &str) -> Result<Name, Problem> {
    let reason = given.trim();
    // A line break would forge a line of the history, an escape would reach a terminal.
    if reason.is_empty() || reason.chars().count() > REASON_MAX || reason.chars().any(char::is_control) {
        let message =
            format!("a reason of 1 to {REASON_MAX} printable characters is needed, for the history");
        return Err(bad(message, "say why, in a sentence"));
    }
    Ok(reason.into())
}

/// Who is known to call, and in front of that the person who says so.
pub(super) fn actor(caller: &Caller, claimed: Option<&str>) -> Result<Name, Problem> {
    match claimed {
        None => Ok(caller.actor.clone()),
        Some(person)
            if person.is_empty()
                || person.chars().count() > ACTOR_MAX
                || person.chars().any(char::is_control) =>
        {
            let message = format!("an actor has 1 to {ACTOR_MAX} printable characters");
            Err(bad(message, "leave it out: who calls is on record"))
        }
        Some(person) => Ok(format!("{person} as {}", caller.actor).into()),
    }
}
