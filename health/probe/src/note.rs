//! What a probe learnt beside its result.

use std::sync::Arc;

/// For people and for metrics; no decision depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// When the certificate that was shown ends, in seconds since 1970.
    pub certificate_ends: Option<i64>,
    /// Something to look at before it becomes a failure, or why nothing was learnt. One printable line.
    pub warning: Option<Arc<str>>,
}
