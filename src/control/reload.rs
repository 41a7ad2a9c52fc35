//! Another configuration for the control task, while everything goes on.
//!
//! ```text
//!   asked --> no decision is at the disk? --> does the state fit? --> serials of changed zones --> one World
//!    |            | no: wait, not for long      | no: refused            | not durable: refused
//!    +------------+                             +-- nothing has changed -+
//! ```
//!
//! Between two steps the task lives on by the old configuration: probes count, groups fail over, orders are obeyed. So
//! every step asks anew whether what it builds on still holds.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_health::event::{Event, EventKind};
use tidegate_health::id::Name;
use tidegate_health::refit::Misfit;
use tidegate_health::state::State;
use tidegate_health::step::Effect;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Control, Plan};
use crate::store::{StoreError, ZoneRecord};

/// Decisions on their way to the disk are waited for this long; each of them ends sooner.
const PATIENCE: Duration = Duration::from_secs(5);

/// A configuration that is to take the place of the present one.
#[derive(Debug)]
pub struct Reload {
    pub plan: Plan,
    /// What it is for the history: another configuration, or other addresses for names of the same one.
    pub kind: EventKind,
    /// Who wants it, and what is different, for the history.
    pub by: Name,
    pub what: Name,
}

/// What came of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The World that has it.
    pub generation: u64,
}

/// Why a configuration was not taken; then nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Misfit(Vec<Misfit>),
    #[error("the serials of changed zones could not be written: {0}")]
    NotStored(StoreError),
    #[error("decisions are still on their way to the disk after {} s; try again", PATIENCE.as_secs())]
    Busy,
    #[error("another reload is under way; try again when it has ended")]
    Another,
}

pub(super) type Answer = oneshot::Sender<Result<Taken, NotTaken>>;

/// A reload under way.
pub(super) struct Reloading {
    reload: Reload,
    answer: Answer,
    deadline: Instant,
    /// Serials that are on disk for it already.
    written: BTreeMap<Name, ZoneRecord>,
    writing: Option<Writing>,
}

struct Writing {
    zones: Vec<(Name, ZoneRecord)>,
    outcome: oneshot::Receiver<Result<(), StoreError>>,
}

enum Next {
    Later,
    Refused(NotTaken),
    Fits(Box<(State, Vec<Effect>)>),
}

impl Control {
    pub(super) fn begin_reload(&mut self, reload: Reload, answer: Answer) {
        if self.reloading.is_some() {
            let _ = answer.send(Err(NotTaken::Another));
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        let written = BTreeMap::new();
        self.reloading = Some(Box::new(Reloading { reload, answer, deadline, written, writing: None }));
    }

    /// Brings a reload a step further.
    pub(super) fn go_on_reloading(&mut self) {
        let Some(mut reloading) = self.reloading.take() else { return };
        match self.next(&mut reloading) {
            Next::Later => self.reloading = Some(reloading),
            // Whoever asked may have hung up.
            Next::Refused(why) => drop(reloading.answer.send(Err(why))),
            Next::Fits(refitted) => {
                let answer = self.take_over(reloading.reload, *refitted, &reloading.written);
                drop(reloading.answer.send(Ok(answer)));
            }
        }
    }

    fn next(&mut self, reloading: &mut Reloading) -> Next {
        if let Some(writing) = &mut reloading.writing {
            match writing.outcome.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return Next::Later,
                Ok(Ok(())) => reloading.written.extend(writing.zones.drain(..)),
                Ok(Err(error)) => return Next::Refused(NotTaken::NotStored(error)),
                Err(oneshot::error::TryRecvError::Closed) => {
                    return Next::Refused(NotTaken::NotStored(StoreError::Gone));
                }
            }
            reloading.writing = None;
        }
        let is_late = Instant::now() > reloading.deadline;
        if self.state.is_deciding() {
            return if is_late { Next::Refused(NotTaken::Busy) } else { Next::Later };
        }
        let plan = &reloading.reload.plan;
        let kept = plan.kept(&self.plan);
        let refitted = match self.state.refit(&self.plan.fleet, &plan.fleet, &kept, self.clock.now()) {
            Ok(refitted) => refitted,
            Err(misfits) => return Next::Refused(NotTaken::Misfit(misfits)),
        };
        let (_, missing) = self.persister.records_for(plan, &reloading.written);
        if missing.is_empty() {
            return Next::Fits(Box::new(refitted));
        }
        // A switch took new serials while the last ones were written; that cannot go on for ever.
        if is_late {
            return Next::Refused(NotTaken::Busy);
        }
        let outcome = self.persister.write_serials(missing.clone());
        reloading.writing = Some(Writing { zones: missing, outcome });
        Next::Later
    }

    /// The swap: nothing in it can fail.
    fn take_over(
        &mut self,
        Reload { mut plan, kind, by, what }: Reload,
        (state, effects): (State, Vec<Effect>),
        written: &BTreeMap<Name, ZoneRecord>,
    ) -> Taken {
        plan.inherit(&self.plan);
        let before = std::mem::replace(&mut self.plan, plan);
        self.leaving.take(before.targets, &self.plan.targets);
        self.state = state;
        self.persister.take_over(&self.plan, written);
        self.publisher.take_over(&self.state);
        self.probes.replace(self.plan.probes.clone());
        // Numbers mean something else now; what goes on warning says so again.
        self.warnings.clear();
        self.watchers.replace(&self.plan.watches);
        self.metrics.replace(&self.plan.fleet);
        self.series = self.metrics.series(&self.plan.fleet);
        self.perform(effects);
        self.note(Event::new(self.clock.now().wall, kind, by, what));
        self.batch.publish = false;
        self.publish();
        Taken { generation: self.publisher.generation() }
    }
}
