//! What others measure of a gate: `POST /api/v1/groups/GROUP/gates/GATE`.

use std::time::Instant;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use tidegate_config::GateSource;
use tidegate_health::fleet::Fleet;
use tidegate_health::gate::{Gate, Reading, Value, Verdict};
use tidegate_health::id::{GroupId, Name};

use super::problem::{LOOKING, Problem, bad, problem, stopping, wrong_body};
use super::table::Routes;
use super::words::is_plain;
use super::{Admin, Answer};
use crate::admin::caller::Role;
use crate::admin::shape::{GateBody, GateValue, GateVerdict};
use crate::control::Pushed;
use crate::watchers::{Seen, Sighting, Subject};

const BODY: &str = "send JSON: {\"site\": \"SITE\", \"value\": 0.5}, or {\"site\": \"SITE\", \"verdict\": \"pass\"} for a gate \
                    without a limit; the verdicts are pass and fail";
/// Longest text that is compared or shown, in characters.
const WORD_CHARS_MAX: usize = 200;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/groups/{group}/gates/{gate}", Role::Push, push)
}

/// Takes a value that somebody else has measured. It counts from now on, for the gate's `max_age`.
async fn push(
    State(admin): State<Admin>,
    path: Result<Path<(String, String)>, PathRejection>,
    body: Result<Json<GateBody>, JsonRejection>,
) -> Answer<Pushed> {
    let measured = Instant::now();
    let Path((group, name)) = path.map_err(|error| bad(error.body_text(), LOOKING))?;
    let (id, fleet) = admin.group(&group)?;
    let Json(body) = body.map_err(|error| wrong_body(&error, BODY))?;
    let gate = gate_named(&fleet, id, &name)?;
    let site = site_of(&fleet, gate, &body.site)?;
    let reading = reading(gate, &body)?;
    let detail = match body.detail.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(text) if text.chars().count() <= WORD_CHARS_MAX && is_plain(text) => Some(Name::from(text)),
        Some(_) => {
            return Err(bad(format!("`detail` has at most {WORD_CHARS_MAX} printable characters"), BODY));
        }
    };
    let group = fleet.group(id).name.clone();
    let sighting = Sighting {
        subject: Subject::Gate { group, site, gate: gate.name.clone() },
        check: GateSource::Push.digest(),
        measured,
        seen: Seen::Gate(reading, detail),
    };
    let taken = admin.control.gate(sighting).await.ok_or_else(stopping)?;
    taken.map(Json).ok_or_else(|| {
        let message = format!("gate `{name}` measures by itself and takes nothing from others");
        let next = "set `push = true` for it in the configuration, in place of `command` or `http`";
        problem(StatusCode::CONFLICT, "not-pushed", message, Some(next.into()))
    })
}

fn gate_named<'f>(fleet: &'f Fleet, group: GroupId, name: &str) -> Result<&'f Gate, Problem> {
    let group = fleet.group(group);
    group.gate(name).ok_or_else(|| {
        let names: Vec<_> = group.gates.iter().map(|gate| &*gate.name).collect();
        let next = match names.as_slice() {
            [] => "it has none".into(),
            names => format!("its gates are {}", names.join(", ")),
        };
        let message = format!("group `{}` has no gate `{name}`", group.name);
        problem(StatusCode::NOT_FOUND, "no-such-gate", message, Some(next))
    })
}

fn site_of(fleet: &Fleet, gate: &Gate, name: &str) -> Result<Name, Problem> {
    let names = || gate.sites.iter().map(|site| &fleet.site(*site).name);
    names().find(|known| ***known == *name).cloned().ok_or_else(|| {
        let names: Vec<_> = names().map(|name| &**name).collect();
        let message = format!("gate `{}` does not count at a site `{name}`", gate.name);
        let next = format!("its sites are {}", names.join(", "));
        problem(StatusCode::NOT_FOUND, "no-such-site", message, Some(next))
    })
}

/// A value where the gate has a limit, a verdict where it has none.
fn reading(gate: &Gate, body: &GateBody) -> Result<Reading, Problem> {
    match (&body.value, body.verdict, &gate.limit) {
        (Some(_), Some(_), _) | (None, None, _) => {
            Err(bad("exactly one of `value` and `verdict` is needed".into(), BODY))
        }
        (None, Some(verdict), None) => Ok(Reading::Verdict(match verdict {
            GateVerdict::Pass => Verdict::Pass,
            GateVerdict::Fail => Verdict::Fail,
        })),
        (None, Some(_), Some(limit)) => {
            Err(bad(format!("gate `{}` wants a value, and compares it: {limit}", gate.name), BODY))
        }
        (Some(_), None, None) => {
            Err(bad(format!("gate `{}` has no limit and wants a verdict", gate.name), BODY))
        }
        (Some(value), None, Some(_)) => Ok(Reading::Value(match value {
            GateValue::Number(number) => Value::Number(*number),
            GateValue::Flag(is) => Value::Word(is.to_string().into()),
            GateValue::Text(text) if text.chars().count() <= WORD_CHARS_MAX && is_plain(text) => {
                Value::Word(text.as_str().into())
            }
            GateValue::Text(_) => {
                return Err(bad(format!("a text has at most {WORD_CHARS_MAX} printable characters"), BODY));
            }
        })),
    }
}
