//! The store of a world: writes that are asked for, under way, on the disk, and confirmed; each may be the last thing
//! that happens.

use std::time::Duration;

use tidegate_health::durable::Durable;
use tidegate_health::event::Event;
use tidegate_health::force::Force;
use tidegate_health::id::GroupId;
use tidegate_health::step::Input;

use super::World;

/// How the store answers a `Persist`.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    AtOnce,
    After(Duration),
    /// It hangs: no answer until it is set to something else.
    Never,
    Fails(&'static str),
}

/// A write that the store has not answered.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) due: Option<Duration>,
    /// Whether it is on the disk, though nobody has heard so.
    pub(super) landed: bool,
    what: Written,
    pub(super) ticket: u64,
    event: Event,
}

#[derive(Clone, Debug)]
enum Written {
    Group(GroupId, Durable),
    Forces(Vec<Force>),
}

impl Write {
    pub(super) fn stored(&self) -> Input {
        match self.what {
            Written::Group(group, _) => Input::Stored { group, ticket: self.ticket },
            Written::Forces(_) => Input::ForcesStored { ticket: self.ticket },
        }
    }

    fn not_stored(&self, detail: &str) -> Input {
        let (ticket, detail) = (self.ticket, detail.into());
        match self.what {
            Written::Group(group, _) => Input::NotStored { group, ticket, detail },
            Written::Forces(_) => Input::ForcesNotStored { ticket, detail },
        }
    }
}

impl World {
    pub(super) fn persist_group(
        &mut self,
        group: GroupId,
        ticket: u64,
        (durable, event): &(Durable, Event),
    ) -> Option<Input> {
        if durable.epoch() > self.state.group(group).durable.epoch() {
            let site = durable.decision.as_ref().map(|decision| decision.site.clone());
            let name = self.fleet.group(group).name.clone();
            self.persisted.push(((self.boot, name), durable.epoch(), site));
        }
        self.write(ticket, Written::Group(group, durable.clone()), event.clone())
    }

    pub(super) fn persist_forces(
        &mut self,
        ticket: u64,
        (forces, event): &(Vec<Force>, Event),
    ) -> Option<Input> {
        self.write(ticket, Written::Forces(forces.clone()), event.clone())
    }

    fn write(&mut self, ticket: u64, what: Written, event: Event) -> Option<Input> {
        let due = match self.store {
            Store::After(span) => Some(self.at + span),
            _ => None,
        };
        let landed = matches!(self.store, Store::AtOnce);
        let write = Write { due, landed, what, ticket, event };
        if let Store::Fails(detail) = self.store {
            return Some(write.not_stored(detail));
        }
        let stored = write.stored();
        self.writes.push(write);
        landed.then_some(stored)
    }

    /// A write is done, and that is known.
    pub(super) fn confirm(&mut self, Write { what, event, .. }: Write) {
        match what {
            Written::Group(group, durable) => {
                drop(self.stored.groups.insert(self.fleet.group(group).name.clone(), durable));
            }
            Written::Forces(forces) => self.stored.forces = forces,
        }
        self.history.push((self.at, event));
    }

    /// The hanging store answers now: done, or not.
    pub(crate) fn release(&mut self, failure: Option<&str>) {
        let deaths = self.deaths;
        // What is asked for meanwhile is another write.
        for write in self.writes.clone() {
            self.feed(failure.map_or_else(|| write.stored(), |detail| write.not_stored(detail)));
            if self.deaths > deaths {
                return;
            }
            self.writes.retain(|open| open.ticket != write.ticket);
        }
    }

    /// The tickets of the writes that the store has not answered.
    pub(crate) fn tickets(&self) -> Vec<u64> {
        self.writes.iter().map(|write| write.ticket).collect()
    }

    /// Writes that the store has not answered.
    pub(crate) fn writes_open(&self) -> usize {
        self.writes.len()
    }
}
