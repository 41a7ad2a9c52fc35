//! Services that move together, and the conditions of moving.

use std::time::Duration;

use tidegate_health::fleet::Mode;

use super::gate::GateSpec;
use super::spec;
use super::value::{DAY, HOUR, command, days, ms, names};
use crate::reader::{Field, Named};
use crate::source::At;

spec! {
    /// Services that move together because they share data.
    struct GroupSpec in "group.NAME" {
        /// Sites in order of preference, at least one.
        required sites: Vec<At<String>> = names,
        /// Whether the services share no data: then the group may move by itself. Default `false`.
        optional stateless: bool = Field::boolean,
        /// `"automatic"`, or `"confirm"`: everything is prepared, then a person confirms. Default `"automatic"`.
        optional mode: Mode = |field| field.one_of(&[("automatic", Mode::Automatic), ("confirm", Mode::Confirm)]),
        /// How long the active site must be unfit before a failover. Default `"10s"`, up to `"1d"`.
        optional failover_after: Duration = |field| field.duration(ms(0)..=DAY),
        /// The way home: `"manual"`, or `{ automatic_after = "30m" }` for stateless groups. Default `"manual"`.
        optional failback: FailbackSpec = FailbackSpec::read,
        /// No automatic failback earlier than this after a switch. Default `"0s"`, up to `"30d"`.
        optional minimum_stay: Duration = |field| field.duration(ms(0)..=days(30)),
        /// More automatic switches than this freeze the group. Default `{ count = 3, window = "1h" }`.
        optional switches_max: SwitchesSpec = SwitchesSpec::read,
        /// A site where the group could go and that is not fit for longer than this is told, once. Default `"5m"`, `"1s"`
        /// to `"30d"`.
        optional standby_unfit_after: Duration = |field| field.duration(ms(1000)..=days(30)),
        /// Capabilities without which a site is unfit. Default none.
        optional requires: Vec<At<String>> = names,
        /// Capabilities without which the group runs degraded. Default none.
        optional wants: Vec<At<String>> = names,
        /// Makes the old site stop writing, before another is promoted.
        pending fence: HookSpec = HookSpec::read,
        /// Makes the new site's data writable.
        pending promote: HookSpec = HookSpec::read,
        /// Says whether the new site's data is writable and the expected one.
        pending verify: HookSpec = HookSpec::read,
        /// Started once traffic is at the new site.
        pending after: HookSpec = HookSpec::read,
        /// The old site stops by itself after this without news. Default none, `"1s"` to `"1h"`.
        pending fence_lease: Duration = |field| field.duration(ms(1000)..=HOUR),
        /// Lag beyond which a failover waits for a person. Default `"0s"`, up to `"1d"`.
        pending max_loss: Duration = |field| field.duration(ms(0)..=DAY),
        /// Tests of a site's readiness. At most 64.
        optional gate: Named<GateSpec> = |field| field.named(GateSpec::read),
    }
}

spec! {
    /// A bound on automatic switches: that many are allowed in the window, the next one freezes the group instead.
    struct SwitchesSpec in "group.NAME.switches_max" {
        /// Default 3, 1 to 1000.
        optional count: u64 = |field| field.integer(1..=1000),
        /// Default `"1h"`, `"1s"` to `"30d"`.
        optional window: Duration = |field| field.duration(ms(1000)..=days(30)),
    }
}

/// `"manual"`, or when a group returns by itself.
#[derive(Clone, Debug)]
pub(crate) enum FailbackSpec {
    Manual,
    Automatic { after: Option<Duration> },
}

spec! {
    /// Returning by itself.
    struct AutomaticFailbackSpec in "group.NAME.failback" {
        /// How long a preferred site must have been fit without a break, up to `"30d"`.
        required automatic_after: Duration = |field| field.duration(ms(0)..=days(30)),
    }
}

spec! {
    /// A program that Tidegate starts: `fence`, `promote`, `verify` and `after` are the same kind of table. It may be
    /// started more than once and must then do the same again.
    struct HookSpec in "group.NAME.fence" {
        /// The program and its arguments, started without a shell.
        required command: Vec<At<String>> = command,
        /// Longer than this means unknown, never failed. Default `"30s"`, `"1ms"` to `"1h"`.
        optional timeout: Duration = |field| field.duration(ms(1)..=HOUR),
    }
}

impl FailbackSpec {
    fn read(field: &Field<'_>) -> Option<Self> {
        if field.is_table() {
            let after = AutomaticFailbackSpec::read(field)?.automatic_after;
            return Some(Self::Automatic { after: after.map(|after| after.value) });
        }
        if !field.is_string() {
            field.wrong_type("`\"manual\"` or `{ automatic_after = \"30m\" }`");
            return None;
        }
        if field.string() == Some("automatic") {
            field.error_help("`automatic` needs to know when", "write { automatic_after = \"30m\" }");
            return None;
        }
        field.one_of(&[("manual", ())]).map(|()| Self::Manual)
    }
}
