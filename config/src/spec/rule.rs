//! Safety rules.

use super::spec;
use super::value::names;
use crate::reader::Field;
use crate::source::At;

spec! {
    /// What must never happen, whatever the checks say: exactly one of `apart`, `never` and `sites_fit`. Only an order that
    /// names the rule, `--override NAME`, goes against it. A rule bars moves; it evicts nobody who is there already.
    struct RuleSpec in "rule.NAME" {
        /// Groups of which never two are at one site.
        optional apart: Vec<At<String>> = names,
        /// Sites that the groups never move to, in the `hours` given, or at all.
        optional never: Vec<At<String>> = names,
        /// For a planned move of one of the groups at least so many of its sites have to be fit, the one it leaves among them.
        /// 2 to 256.
        optional sites_fit: u64 = |field| field.integer(2..=256),
        /// Whom `never` and `sites_fit` are about. Default every group.
        optional groups: Vec<At<String>> = names,
        /// Spans of the week for `never`: `["Mon-Fri 08:00-18:00", "Sat 22:00-06:00", "02:00-04:00"]`. The end is not part of
        /// the span; one that ends before it begins goes on into the next day. Default at any time.
        optional hours: Vec<At<String>> = |field| field.list(Field::text),
        /// The time zone of the `hours`, by its name in the IANA database, as `"Europe/London"`. The hour that comes twice when
        /// clocks are set back counts both times. Default `"UTC"`.
        optional zone: String = Field::text,
    }
}
