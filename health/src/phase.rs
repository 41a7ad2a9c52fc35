//! Where a group is between one decision and the next, in one word: the states of the machine that
//! [`step`](crate::step::step) is, as [`decide`](crate::decide) and the store move it.

use serde::{Deserialize, Serialize};

use crate::state::GroupState;

/// The phases of a group. What a group remembers beside them (latches, marks, where it is) says where it may go next, not
/// how.
///
/// ```text
///                   an order, or what the group does by itself
///    every phase ----------------------------------------------> WRITING
///    every phase <----------------------------------------------
///                         the store has answered: done, or not
///
///    Into UNDECIDED and FROZEN, and out of them, there is no other way. Between the others:
///
///                     its site is lost                 no site is fit
///       SETTLED -----------------------> WAITING ------------------------> STATIC
///        ^ | ^ <-----------------------   | ^   <------------------------   | |
///        | | |   its site is fit again,   | |          a site is fit        | |
///        | | |       or not known         | |                               | |
///        | | |              all is ready, | | withdrawn                     | |
///        | | |              confirm mode  v |                               | |
///        | | `------------------------ PROPOSED <---------------------------' |
///        | `-------------------------->   |                                   |
///        |        the way home            `---------------------------------> |
///        `--------------------------------------------------------------------'
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nobody has decided where it lives.
    #[default]
    Undecided,
    /// It is where it wants to be, or nothing says that it is not.
    Settled,
    /// Its site is lost, and something has to last, or to be proven, before it goes.
    Waiting,
    /// Its site is lost, and no other is fit: it stays.
    Static,
    /// A person has to confirm.
    Proposed,
    /// A person has to lift the freeze.
    Frozen,
    /// A change is at the disk.
    Writing,
}

impl Phase {
    pub const ALL: [Self; 7] = [
        Self::Undecided,
        Self::Settled,
        Self::Waiting,
        Self::Static,
        Self::Proposed,
        Self::Frozen,
        Self::Writing,
    ];

    /// The phase of a group; there is always exactly one.
    #[must_use]
    pub fn of(own: &GroupState) -> Self {
        if own.pending.is_some() {
            Self::Writing
        } else if own.active.is_none() {
            Self::Undecided
        } else if own.durable.freeze.is_some() {
            Self::Frozen
        } else if own.proposal.is_some() {
            Self::Proposed
        } else if own.unfit_since.is_none() {
            Self::Settled
        } else if own.is_fail_static() {
            Self::Static
        } else {
            Self::Waiting
        }
    }

    /// Whether one input may lead from this phase to that one.
    #[must_use]
    pub fn leads_to(self, next: Self) -> bool {
        use Phase::{Frozen, Undecided, Writing};
        let alone = |phase| matches!(phase, Undecided | Frozen);
        self == next || self == Writing || next == Writing || !(alone(self) || alone(next))
    }

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Settled => "settled",
            Self::Waiting => "waiting",
            Self::Static => "static",
            Self::Proposed => "proposed",
            Self::Frozen => "frozen",
            Self::Writing => "writing",
        }
    }
}
