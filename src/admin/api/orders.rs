//! Orders about a group: `POST /api/v1/groups/GROUP/VERB`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use tidegate_health::fleet::Fleet;
use tidegate_health::id::SiteId;
use tidegate_health::order::{Order, Rule, Verb};

use super::problem::{LOOKING, Problem, bad, problem, stopping, wrong_body};
use super::table::Routes;
use super::words::{actor, reason};
use super::{Admin, Answer};
use crate::admin::caller::{Caller, Role};
use crate::admin::shape::{DoneReply, OrderBody};

/// What to do next, for calls that make no sense.
const BODY: &str = "send JSON: {\"reason\": \"WHY\"}, with \"to\": \"SITE\" for a switch and \"overrides\": [\"RULE\"] where one is in the way";

/// What can be ordered.
#[derive(Clone, Copy, Debug)]
enum Action {
    Switch,
    Failback,
    Ack,
    Freeze,
    Unfreeze,
    Confirm,
}

const ACTIONS: [(&str, Action); 6] = [
    ("/api/v1/groups/{group}/switch", Action::Switch),
    ("/api/v1/groups/{group}/failback", Action::Failback),
    ("/api/v1/groups/{group}/ack", Action::Ack),
    ("/api/v1/groups/{group}/freeze", Action::Freeze),
    ("/api/v1/groups/{group}/unfreeze", Action::Unfreeze),
    ("/api/v1/groups/{group}/confirm", Action::Confirm),
];

pub(super) fn routes(routes: Routes) -> Routes {
    ACTIONS.into_iter().fold(routes, |routes, (path, action)| {
        routes.post(path, Role::Operate, move |admin, caller: Caller, group, body| {
            order(action, admin, caller, group, body)
        })
    })
}

async fn order(
    action: Action,
    State(admin): State<Admin>,
    caller: Caller,
    group: Result<Path<String>, PathRejection>,
    body: Result<Json<OrderBody>, JsonRejection>,
) -> Answer<DoneReply> {
    let Path(group) = group.map_err(|error| bad(error.body_text(), LOOKING))?;
    let (group, fleet) = admin.group(&group)?;
    let Json(body) = body.map_err(|error| wrong_body(&error, BODY))?;
    let verb = verb_of(&fleet, action, &body)?;
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

fn verb_of(fleet: &Fleet, action: Action, body: &OrderBody) -> Result<Verb, Problem> {
    if body.to.is_some() && !matches!(action, Action::Switch) {
        return Err(bad("only a switch takes `to`".into(), BODY));
    }
    Ok(match action {
        Action::Switch => Verb::Switch { to: target(fleet, body)? },
        Action::Failback => Verb::Failback,
        Action::Ack => Verb::Ack,
        Action::Freeze => Verb::Freeze,
        Action::Unfreeze => Verb::Unfreeze,
        Action::Confirm => Verb::Confirm,
    })
}

fn target(fleet: &Fleet, body: &OrderBody) -> Result<SiteId, Problem> {
    let to = body.to.as_deref().ok_or_else(|| bad("a switch needs `to`: the site".into(), BODY))?;
    fleet.site_named(to).ok_or_else(|| {
        let names: Vec<_> = fleet.sites.iter().map(|site| &*site.name).collect();
        let next = format!("the sites are {}", names.join(", "));
        problem(StatusCode::NOT_FOUND, "no-such-site", format!("there is no site `{to}`"), Some(next))
    })
}
