//! Orders about a group: `POST /api/v1/groups/GROUP/VERB`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use tidegate_health::fleet::Fleet;
use tidegate_health::order::{Order, Rule, Verb};

use super::problem::{LOOKING, Problem, bad, problem, stopping, wrong_body};
use super::table::Routes;
use super::words::{actor, reason};
use super::{Admin, Answer};
use crate::admin::caller::{Caller, Role};
use crate::admin::shape::{DoneReply, OrderBody};

/// What to do next, for calls that make no sense.
const BODY: &str = "send JSON: {\"reason\": \"WHY\"}, with \"to\": \"SITE\" for a switch and \"overrides\": [\"RULE\"] where one is in the way";

pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/groups/{group}/{verb}", Role::Operate, order)
}

async fn order(
    State(admin): State<Admin>,
    caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
    body: Result<Json<OrderBody>, JsonRejection>,
) -> Answer<DoneReply> {
    let Path((group, verb)) = path.map_err(|error| bad(error.body_text(), LOOKING))?;
    let (group, fleet) = admin.group(&group)?;
    let Json(body) = body.map_err(|error| wrong_body(&error, BODY))?;
    let verb = verb_of(&fleet, &verb, &body)?;
    let order = Order {
        id: 0,
        group,
        actor: actor(&caller, body.actor.as_deref())?,
        reason: reason(&body.reason)?,
        verb,
        overrides: body.overrides.into_iter().collect::<std::collections::BTreeSet<Rule>>(),
    };
    match admin.control.order(fleet, order).await.ok_or_else(stopping)? {
        Ok(done) => Ok(Json(DoneReply { done })),
        Err(refusal) => Err(Problem(StatusCode::CONFLICT, refusal.into())),
    }
}

fn verb_of(fleet: &Fleet, verb: &str, body: &OrderBody) -> Result<Verb, Problem> {
    if verb == "switch" {
        let to = body.to.as_deref().ok_or_else(|| bad("a switch needs `to`: the site".into(), BODY))?;
        let to = fleet.site_named(to).ok_or_else(|| {
            let names: Vec<_> = fleet.sites.iter().map(|site| &*site.name).collect();
            let next = format!("the sites are {}", names.join(", "));
            problem(StatusCode::NOT_FOUND, "no-such-site", format!("there is no site `{to}`"), Some(next))
        })?;
        return Ok(Verb::Switch { to });
    }
    if body.to.is_some() {
        return Err(bad("only a switch takes `to`".into(), BODY));
    }
    match verb {
        "failback" => Ok(Verb::Failback),
        "ack" => Ok(Verb::Ack),
        "freeze" => Ok(Verb::Freeze),
        "unfreeze" => Ok(Verb::Unfreeze),
        "confirm" => Ok(Verb::Confirm),
        other => Err(problem(
            StatusCode::NOT_FOUND,
            "no-such-action",
            format!("there is no action `{other}`"),
            Some("the actions are switch, failback, ack, freeze, unfreeze, confirm".into()),
        )),
    }
}
