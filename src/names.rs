//! Origins that are given by name: asked for again when their TTL is over, beside everything that serves.
//!
//! ```text
//!   start: asked once, for a bounded time ----> first plan       (not answered: what the store knows, or nothing yet)
//!   then:  due -> ask A and AAAA -> ledger ----> addresses changed? -> the way of a reload, without its files
//!            ^                         |
//!            +---- TTL, or back-off ---+---- alarm, history, metrics, status
//! ```
//!
//! Nothing that a resolver says, or does not say, takes the last address of a name away: DNS tells where origins are, the
//! checks tell whether they live. So an answer that cannot be had, that the name does not exist, or that it has no
//! address leaves the last good ones in place, for as long as it lasts, and is an alarm. An address is only gone when two
//! answers in a row name others and not this one.

mod ask;
mod ledger;
mod watch;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tidegate_config::{Addresses, Concern};
use tidegate_health::id::Name;
use tidegate_health::time::Wall;

pub use watch::Board;
pub(crate) use watch::{Names, Watcher};

/// One name, for people and machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameStatus {
    pub name: Name,
    pub state: NameState,
    /// What it stands for at present, sorted.
    pub addresses: Vec<IpAddr>,
    /// When an answer last named its addresses; in an earlier run, perhaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Wall>,
    /// Since when no answer is any good, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Wall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What a person should know of its addresses; nothing fails because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concerns: Vec<String>,
}

/// How it stands with a name, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameState {
    Resolved,
    /// The latest answers were no good; the last good addresses hold.
    Failing,
    /// It has never been resolved: it stands for no origin yet.
    Unresolved,
}

/// What the store keeps of a name: its last good addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    pub addresses: Vec<IpAddr>,
    pub at: Wall,
}

impl NameState {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::Failing => "failing",
            Self::Unresolved => "unresolved",
        }
    }
}

impl NameStatus {
    /// Adds what was found when its addresses became origins.
    fn with_concerns(mut self, concerns: &[Concern]) -> Self {
        let own = concerns.iter().filter(|concern| concern.name == self.name);
        self.concerns.extend(own.map(|concern| concern.message.clone()));
        self
    }
}

/// What is different between two tables, in a sentence.
#[must_use]
pub(crate) fn difference(old: &Addresses, new: &Addresses) -> String {
    /// Of many names that change at once this many are told.
    const TOLD_MAX: usize = 8;
    let of = |table: &Addresses, name: &Name| -> BTreeSet<IpAddr> {
        table.get(name).into_iter().flatten().copied().collect()
    };
    let list = |addresses: Vec<&IpAddr>, what: &str| {
        let addresses: Vec<_> = addresses.into_iter().map(ToString::to_string).collect();
        (!addresses.is_empty()).then(|| format!("{} {what}", addresses.join(", ")))
    };
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let changes = names.into_iter().filter_map(|name| {
        let (was, is) = (of(old, name), of(new, name));
        let parts = [list(is.difference(&was).collect(), "new"), list(was.difference(&is).collect(), "gone")];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("{name}: {}", parts.join("; ")))
    });
    let mut told: Vec<_> = changes.collect();
    let more = told.len().saturating_sub(TOLD_MAX);
    told.truncate(TOLD_MAX);
    if more > 0 {
        told.push(format!("and {more} more names"));
    }
    told.join(". ")
}

#[cfg(test)]
mod tests;
