//! Tests of a site's readiness for a group.

use std::time::Duration;

use super::spec;
use super::value::{DAY, HOUR, command, ms, names};
use crate::domain::WantedValue;
use crate::reader::{Field, Named};
use crate::source::At;
use crate::web_url::WebUrl;

spec! {
    /// A test of a site's readiness for a group: it passes, fails, or is unknown, and no site that it does not pass at becomes
    /// active. It is measured at each of its sites, by exactly one of `command`, `http` and `push`. With one of `max_lag`,
    /// `at_most`, `at_least` and `equals` a value is measured and compared; without, the measurement itself says pass or
    /// fail. An example for each is in [Rules](rules.md).
    struct GateSpec in "group.NAME.gate.NAME" {
        /// A program, started without a shell, once for each site. It exits with 0 for a pass, or after it has printed the value;
        /// with 1 or 2 for a fail; anything else is unknown. It sees `TIDEGATE_GROUP`, `TIDEGATE_GATE`, `TIDEGATE_SITE`, and
        /// `TIDEGATE_ACTIVE` with the active site, if there is one.
        optional command: Vec<At<String>> = command,
        /// A URL for each site: `{ linode = "https://203.0.113.20:8008/lag" }`, or only the URL where `sites` names one site.
        /// A status from 200 to 299 passes and any other one fails; with a limit the answer is JSON and holds the value.
        optional http: GateHttpSpec = GateHttpSpec::read,
        /// Whether the value, or the verdict, is sent to the API instead: nothing for `max_age` is unknown. Default `false`.
        optional push: bool = Field::boolean,
        /// Where the value is in the JSON answer of `http`: a JSON pointer (RFC 6901), as `"/replication/0/lag"`. Default
        /// `""`: the whole answer is the value.
        optional value: String = pointer,
        /// The value is a lag in seconds, and at most this passes. Default none, up to `"1d"`.
        optional max_lag: Duration = |field| field.duration(ms(0)..=DAY),
        /// The value is a number, and at most this passes. Default none.
        optional at_most: f64 = Field::number,
        /// The value is a number, and at least this passes. Default none.
        optional at_least: f64 = Field::number,
        /// The value is this: a text, a number, `true` or `false`. Default none.
        optional equals: WantedValue = Field::wanted,
        /// Sites of the group where it is measured and counts. Default all of them, with `http` those that have a URL.
        optional sites: Vec<At<String>> = names,
        /// Time between tests. Default `"5s"`, `"10ms"` to `"1h"`.
        optional interval: Duration = |field| field.duration(ms(10)..=HOUR),
        /// Longer than this is unknown. Default `"2s"`, `"1ms"` to `"1h"`.
        optional timeout: Duration = |field| field.duration(ms(1)..=HOUR),
        /// What was measured longer ago is unknown, counted from the start of the measurement. Default `"1m"`, `"10ms"` to
        /// `"1d"`.
        optional max_age: Duration = |field| field.duration(ms(10)..=DAY),
        /// Whether it tells how far the site's data follows the active site's. Once that one is lost, such a gate goes by its
        /// last value before the loss; any other one has to pass at the moment. Default `true` with `max_lag`, else `false`.
        optional data: bool = Field::boolean,
        /// Whether a pass clears the mark of diverged data at the site; then it bars nothing else. Default `false`.
        optional resynced: bool = Field::boolean,
    }
}

/// A URL for each site, or one.
#[derive(Clone, Debug)]
pub(crate) enum GateHttpSpec {
    One(WebUrl),
    /// None: it could not be read, which is an error of its own.
    Each(Named<Option<WebUrl>>),
}

impl GateHttpSpec {
    fn read(field: &Field<'_>) -> Option<Self> {
        if field.is_table() {
            return field.named(|field| Some(WebUrl::read(field))).map(Self::Each);
        }
        if !field.is_string() {
            field.wrong_type("a URL, or a table with one for each site: { SITE = \"http://...\" }");
            return None;
        }
        WebUrl::read(field).map(Self::One)
    }
}

impl GateSpec {
    /// How many ways to get a value are named; it must be one.
    pub(crate) fn ways(&self) -> usize {
        let push = self.push.as_ref().is_some_and(|push| push.value);
        [self.command.is_some(), self.http.is_some(), push].into_iter().filter(|&named| named).count()
    }

    /// The limits that are set; it must be one at most.
    pub(crate) fn limits(&self) -> Vec<&'static str> {
        let set = [
            ("max_lag", self.max_lag.is_some()),
            ("at_most", self.at_most.is_some()),
            ("at_least", self.at_least.is_some()),
            ("equals", self.equals.is_some()),
        ];
        set.into_iter().filter(|&(_, is_set)| is_set).map(|(name, _)| name).collect()
    }
}

/// A JSON pointer (RFC 6901, section 3): nothing, or `/` before each step, and `~` only as `~0` and `~1`.
fn pointer(field: &Field<'_>) -> Option<String> {
    const BYTES_MAX: usize = 1024;
    let text = field.string()?;
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if text.len() > BYTES_MAX || !escaped || !(text.is_empty() || text.starts_with('/')) {
        let help = "write it as \"/replication/0/lag\"; a `/` in a name is `~1`, a `~` is `~0`";
        field.error_help(format!("`{text}` is no JSON pointer (RFC 6901)"), help);
        return None;
    }
    Some(text.to_owned())
}
