//! Reports about origins that wait for them: `POST /api/v1/observations`.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tidegate_health::id::Name;
use tidegate_probe::Report;

use super::problem::{Problem, bad, problem, stopping, wrong_body};
use super::table::Routes;
use super::{Admin, Answer};
use crate::admin::caller::Role;
use crate::control::NotHeard;

/// Reports in one call.
const OBSERVATIONS_MAX: usize = 100;
/// Bytes of a reason; its first line is kept.
const REASON_BYTES_MAX: usize = 4096;
/// Bytes of a name; no origin has a longer one.
const NAME_BYTES_MAX: usize = 256;

const BODY: &str = "send JSON: {\"observations\": [{\"origin\": \"SERVICE/SITE/ADDRESS\", \"result\": \"pass\"}]}; the results \
                    are pass and fail, and a fail may have a \"reason\"";

/// What somebody says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObservationsBody {
    observations: Vec<ObservationBody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObservationBody {
    /// As `tidegate status` names it.
    origin: String,
    result: ResultBody,
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ResultBody {
    Pass,
    Fail,
}

#[derive(Debug, Serialize)]
struct ObservationsReply {
    taken: usize,
}

pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/observations", Role::Push, observe)
}

/// Takes all of them, or none.
async fn observe(
    State(admin): State<Admin>,
    body: Result<Json<ObservationsBody>, JsonRejection>,
) -> Answer<ObservationsReply> {
    let Json(body) = body.map_err(|error| wrong_body(&error, BODY))?;
    let taken = body.observations.len();
    if !(1..=OBSERVATIONS_MAX).contains(&taken) {
        return Err(bad(
            format!("a call has 1 to {OBSERVATIONS_MAX} observations, this one has {taken}"),
            BODY,
        ));
    }
    let reports: Result<Vec<_>, _> = body.observations.into_iter().map(report).collect();
    match admin.control.report(reports?).await.ok_or_else(stopping)? {
        Ok(()) => Ok(Json(ObservationsReply { taken })),
        Err(refused) => Err(refusal(&refused)),
    }
}

fn report(body: ObservationBody) -> Result<(Name, Report), Problem> {
    let ObservationBody { origin, result, reason } = body;
    if origin.len() > NAME_BYTES_MAX {
        return Err(bad(format!("an origin's name has at most {NAME_BYTES_MAX} bytes"), BODY));
    }
    let report = match (result, reason) {
        (ResultBody::Pass, None) => Report::Pass,
        (ResultBody::Pass, Some(_)) => return Err(bad("a pass needs no reason".into(), BODY)),
        (ResultBody::Fail, Some(reason)) if reason.len() > REASON_BYTES_MAX => {
            return Err(bad(format!("a reason has at most {REASON_BYTES_MAX} bytes"), BODY));
        }
        (ResultBody::Fail, reason) => Report::fail(&reason.unwrap_or_default()),
    };
    Ok((origin.as_str().into(), report))
}

fn refusal(NotHeard { origin, why }: &NotHeard) -> Problem {
    let (status, label, message, next) = match why {
        None => (
            StatusCode::NOT_FOUND,
            "no-such-origin",
            format!("there is no origin `{origin}`"),
            "`tidegate status --json` names them: SERVICE/SITE/ADDRESS",
        ),
        Some(why @ tidegate_probe::NotHeard::NotPushed) => (
            StatusCode::CONFLICT,
            "not-pushed",
            format!("`{origin}`: {why}"),
            "set `check = { kind = \"push\", dead_man = \"30s\" }` for its service, or leave it to Tidegate",
        ),
        Some(why @ tidegate_probe::NotHeard::TooMany) => {
            (StatusCode::TOO_MANY_REQUESTS, "too-many", format!("`{origin}`: {why}"), "send less often")
        }
    };
    problem(status, label, message, Some(next.into()))
}
