//! Whom Tidegate tells what happened, and that it is there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_health::event::{Event, EventKind, Severity};
use tidegate_health::id::Name;

pub use crate::spec::{HeartbeatMethod, SmtpTls};
use crate::web_url::WebUrl;

/// One who is told what happens.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub name: Name,
    pub way: Way,
    pub filter: Filter,
    /// Of one try.
    pub timeout: Duration,
    /// How long it is tried again.
    pub give_up_after: Duration,
    /// Messages that wait, at least one.
    pub queue_max: usize,
    /// Events that are alike within this time become two messages at most.
    pub coalesce: Duration,
}

/// How a receiver is reached. Paths as written: relative ones are relative to the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Webhook(Webhook),
    /// An absolute path and its arguments.
    Command(Vec<String>),
    Smtp(Smtp),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub url: UrlSource,
    /// The key that signs calls.
    pub secret: Option<PathBuf>,
    /// The certificates that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
}

/// A URL, or the file that it is in because it is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlSource {
    Here(WebUrl),
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
    pub ca: Option<PathBuf>,
    pub from: String,
    /// Never empty.
    pub to: Vec<String>,
    /// Who logs in, and the file with the password. Only over connections that are encrypted.
    pub login: Option<(String, PathBuf)>,
}

/// Which events a receiver is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Events from this severity on.
    pub severity_min: Option<Severity>,
    /// And those of these kinds.
    pub kinds: BTreeSet<EventKind>,
    /// Of these groups only, and of none; of all where there is no list.
    pub groups: Option<BTreeSet<Name>>,
}

impl Filter {
    #[must_use]
    pub fn passes(&self, event: &Event) -> bool {
        let is_wanted =
            self.severity_min.is_some_and(|min| event.severity() >= min) || self.kinds.contains(&event.kind);
        let is_of_none = event.group.is_none() && event.groups.is_empty();
        let is_ours = self
            .groups
            .as_ref()
            .is_none_or(|groups| is_of_none || groups.iter().any(|group| event.concerns(group)));
        is_wanted && is_ours
    }
}

/// A sign of life for somebody outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub url: UrlSource,
    pub method: HeartbeatMethod,
    pub interval: Duration,
    /// Of one call.
    pub timeout: Duration,
    pub ca: Option<PathBuf>,
}
