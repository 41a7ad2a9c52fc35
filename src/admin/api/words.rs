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
    if reason.is_empty() || given.chars().count() > REASON_MAX || !is_plain(given) {
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
        Some(person) if person.is_empty() || person.chars().count() > ACTOR_MAX || !is_plain(person) => {
            let message = format!("an actor has 1 to {ACTOR_MAX} printable characters");
            Err(bad(message, "leave it out: who calls is on record"))
        }
        Some(person) => Ok(format!("{person} as {}", caller.actor).into()),
    }
}

/// Whether a text shows as what it is. A line break would forge a line of the history, an escape would reach a terminal, and
/// what is invisible or turns the direction of writing makes a reader see another text (Unicode Technical Report 36, 2.10).
pub(super) fn is_plain(text: &str) -> bool {
    let hides = |char| {
        matches!(char, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    !text.chars().any(|char| char.is_control() || hides(char))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_show_as_what_they_are() {
        for fine in ["new disks", "Wartung: Ölwechsel", "備份 ok", "שלום", "🔥 in rack 4"] {
            assert!(reason(fine).is_ok(), "{fine}");
        }
        for forged in [
            "a\nb",
            "\u{1b}[31mred",
            "safe\u{202e}gnorw",
            "zero\u{200b}width",
            "iso\u{2066}late",
            "tag\u{e0041}",
        ] {
            assert!(reason(forged).is_err(), "{forged:?}");
        }
        assert!(reason(&"x".repeat(REASON_MAX)).is_ok() && reason(&"x".repeat(REASON_MAX + 1)).is_err());
    }
}
