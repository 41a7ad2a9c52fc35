//! The shapes of the API, shared by the daemon and its command line.

use serde::{Deserialize, Serialize};
use tidegate_health::force::{ForceKind, Scope};
use tidegate_health::order::{Done, Refusal, Rule};
use tidegate_health::status::Status;
use tidegate_health::time::Wall;

use super::caller::Role;
use super::tokens::Listed;
use crate::names::NameStatus;
use crate::reload::{Changes, Report, RestartKey};

/// `GET /api/v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusReply {
    pub version: String,
    pub node: String,
    pub generation: u64,
    /// When the daemon started, in milliseconds since 1970.
    pub started: Wall,
    /// Names that stand for origins, sorted.
    #[serde(default)]
    pub names: Vec<NameStatus>,
    #[serde(flatten)]
    pub status: Status,
}

/// The body of every `POST /api/v1/groups/G/...`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// Why, for the history; never empty, at most 500 characters.
    pub reason: String,
    /// The target, for `switch` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Rules to override, by name.
    #[serde(default)]
    pub overrides: Vec<Rule>,
    /// Whose hands these are, where the socket only sees an account they share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// The body of `POST /api/v1/groups/G/gates/GATE`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateBody {
    /// Where it was measured.
    pub site: String,
    /// For a gate with a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<GateValue>,
    /// For a gate without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<GateVerdict>,
    /// What else there is to say; at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What somebody measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GateValue {
    Flag(bool),
    Number(f64),
    Text(String),
}

/// What somebody says of a gate. Of unknown nothing has to be said: silence is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateVerdict {
    Pass,
    Fail,
}

/// The body of `POST /api/v1/forces`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForceBody {
    pub action: ForceAction,
    /// What the pattern is compared with: `origin`, `host` or `site`.
    pub scope: Scope,
    /// In which `*` stands for any characters and `?` for one.
    pub pattern: String,
    /// How long, as `2h`: a force ends then, a drain is overdue. For `drain`, `up` and `down` alone.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub length: Option<String>,
    /// Only say what would be left; for `drain`, `up` and `down` alone.
    #[serde(default)]
    pub preview: bool,
    /// Why, for the history; at most 500 characters, and empty only for a preview.
    #[serde(default)]
    pub reason: String,
    /// Rules to override, by name.
    #[serde(default)]
    pub overrides: Vec<Rule>,
    /// Whose hands these are, where the socket only sees an account they share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// What is to be done with origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForceAction {
    Drain,
    Undrain,
    Up,
    Down,
    /// Lifts `up` or `down`.
    Unforce,
}

impl ForceAction {
    /// As a person orders it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self.kind() {
            Some(kind) => kind.verb(),
            None if self == Self::Undrain => ForceKind::Drain.lifted_by(),
            None => ForceKind::Up.lifted_by(),
        }
    }

    /// What it says of origins; none where it lifts something.
    #[must_use]
    pub fn kind(self) -> Option<ForceKind> {
        match self {
            Self::Drain => Some(ForceKind::Drain),
            Self::Up => Some(ForceKind::Up),
            Self::Down => Some(ForceKind::Down),
            Self::Undrain | Self::Unforce => None,
        }
    }
}

/// The body of `POST /api/v1/tokens`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// Unique.
    pub name: String,
    pub role: Role,
    /// How long it is good for, as `90d`; without it until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
}

/// The answer to it.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenMade {
    pub name: String,
    pub role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Wall>,
    /// The token itself. It is said here, once, and kept nowhere; so it is not `Debug` either.
    pub secret: String,
}

/// The answer to `DELETE /api/v1/tokens/NAME`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenRevoked {
    /// Its name.
    pub revoked: String,
}

/// One of `GET /api/v1/tokens`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenShape {
    pub name: String,
    pub role: Role,
    pub made: Wall,
    pub made_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Wall>,
    pub expired: bool,
    /// To the minute; since the daemon's start only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Wall>,
}

impl From<Listed> for TokenShape {
    fn from(listed: Listed) -> Self {
        let Listed { record, used, expired } = listed;
        Self {
            name: record.name.to_string(),
            role: record.role,
            made: record.made,
            made_by: record.made_by.to_string(),
            expires: record.expires,
            expired,
            last_used: used,
        }
    }
}

/// The answer to an order that was carried out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DoneReply {
    #[serde(flatten)]
    pub done: Done,
}

/// The answer to a test message that arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NotifyTestReply {
    pub receiver: String,
    pub delivered: bool,
}

/// The answer to a reload that was taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReloadReply {
    /// The World that has it.
    pub generation: u64,
    /// How much came, went and changed, by kind of thing.
    pub changes: Changes,
    /// Keys that keep their value until a restart.
    pub restart: Vec<RestartKey>,
    /// As `tidegate check` renders them.
    pub warnings: Vec<String>,
}

impl From<Report> for ReloadReply {
    fn from(report: Report) -> Self {
        let Report { generation, changes, restart, rendered, .. } = report;
        Self { generation, changes, restart, warnings: rendered }
    }
}

/// The answer to everything that was not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiError {
    /// A short, stable word.
    pub label: String,
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self { label: refusal.label.to_string(), message: refusal.message, next: refusal.next }
    }
}
