//! Checks that a program makes, by the convention of Nagios and its kin.
//!
//! The exit code is the result: 0 is well, 1 is a warning, 2 is critical, and 3 and everything else is unknown, which
//! includes a shell that does not find its command (127) and a program that crashed. Unknown says nothing about the
//! origin, so it counts for nothing. The first line that is printed says why.

use std::sync::Arc;

use tokio::time::Duration;

use crate::command::{Command, End, Ran, Slot, Slots};
use crate::note::Note;
use crate::outcome::{Failure, Fault, Stage};
use crate::own_fault::OwnFault;

/// A program whose exit code is the result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommandCheck {
    command: Command,
    warning_passes: bool,
}

const WARNING: i32 = 1;
const CRITICAL: i32 = 2;

impl CommandCheck {
    /// Runs `command`; a warning passes if `warning_passes`.
    #[must_use]
    pub fn new(command: Command, warning_passes: bool) -> Self {
        Self { command, warning_passes }
    }

    fn judge(&self, ran: &Ran, note: &mut Note) -> Result<(), Fault> {
        let text =
            |otherwise: &str| -> Arc<str> { ran.line().unwrap_or_else(|| otherwise.to_owned()).into() };
        let (fault, warning) = match &ran.how {
            End::Exited(0) => return Ok(()),
            End::Exited(WARNING) if self.warning_passes => {
                note.warning = Some(text("the check's program warns, without a word"));
                return Ok(());
            }
            End::Exited(WARNING) => {
                return Err(Failure::Command { text: text("warning, without a word") }.into());
            }
            End::Exited(CRITICAL) => {
                return Err(Failure::Command { text: text("critical, without a word") }.into());
            }
            End::Exited(code) => {
                (OwnFault::Undecided, format!("exit code {code}: {}", text("without a word")))
            }
            End::Signalled(signal) => (OwnFault::Undecided, format!("it was killed by signal {signal}")),
            // The caller's own deadline comes first.
            End::TimedOut => (OwnFault::Undecided, "it took too long".to_owned()),
            End::CannotStart(error) => (OwnFault::CannotRun, error.to_string()),
        };
        let program = self.command.program().display();
        note.warning = Some(format!("the check's program {program} decided nothing: {warning}").into());
        Err(Fault::Own(fault))
    }
}

/// One command check.
pub(crate) struct CommandProbe {
    check: CommandCheck,
    slots: Slots,
    /// Taken ahead of the probe, so that the wait for it is not part of its time.
    slot: Option<Slot>,
}

impl CommandProbe {
    pub(crate) fn new(check: &CommandCheck, slots: Slots) -> Self {
        Self { check: check.clone(), slots, slot: None }
    }

    /// Waits until the program may run.
    pub(crate) async fn ready(&mut self) {
        if self.slot.is_none() {
            self.slot = Some(self.slots.take().await);
        }
    }

    /// Runs it once. The deadline is the caller's: dropping the future kills the program with its children.
    pub(crate) async fn probe(&mut self, stage: &mut Stage, note: &mut Note) -> Result<(), Fault> {
        *stage = Stage::Command;
        self.ready().await;
        let Some(slot) = self.slot.take() else { return Err(Fault::Own(OwnFault::CannotRun)) };
        let ran = self.check.command.run(slot, LIMIT).await;
        self.check.judge(&ran, note)
    }
}

/// Longer than any check may take.
const LIMIT: Duration = Duration::from_secs(2 * 86_400);
