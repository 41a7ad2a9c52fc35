//! Drains and forces: `POST /api/v1/forces`.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use tidegate_config::parse_duration;
use tidegate_health::force::{ForceOrder, ForceVerb, Forced, PATTERN_MAX, Selector};

use super::problem::{Problem, bad, stopping, wrong_body};
use super::table::Routes;
use super::words::{actor, is_plain, reason};
use super::{Admin, Answer};
use crate::admin::caller::{Caller, Role};
use crate::admin::shape::{ForceAction, ForceBody};

const BODY: &str = "send JSON: {\"action\": \"drain\", \"scope\": \"host\", \"pattern\": \"NAME\", \"reason\": \"WHY\"}; the \
                    actions are drain, undrain, up, down, unforce; the scopes origin, host, site";

pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/forces", Role::Operate, force)
}

/// Says something of origins, or takes it back; with `preview` only says what would be left of them.
async fn force(
    State(admin): State<Admin>,
    caller: Caller,
    body: Result<Json<ForceBody>, JsonRejection>,
) -> Answer<Forced> {
    let Json(body) = body.map_err(|error| wrong_body(&error, BODY))?;
    let length = body.pattern.chars().count();
    if length == 0 || length > PATTERN_MAX || !is_plain(&body.pattern) {
        return Err(bad(format!("a pattern has 1 to {PATTERN_MAX} printable characters"), BODY));
    }
    let selector = Selector { scope: body.scope, pattern: body.pattern.as_str().into() };
    let verb = verb(&body)?;
    if body.preview {
        let ForceVerb::Set { kind, .. } = verb else {
            return Err(bad("only what takes origins out or in has a preview".into(), BODY));
        };
        let preview = admin.control.preview(selector, kind).await.ok_or_else(stopping)?;
        return Ok(Json(Forced { changed: false, preview }));
    }
    let order = ForceOrder {
        id: 0,
        actor: actor(&caller, body.actor.as_deref())?,
        reason: reason(&body.reason)?,
        selector,
        verb,
        overrides: body.overrides.into_iter().collect(),
    };
    match admin.control.force(order).await.ok_or_else(stopping)? {
        Ok(forced) => Ok(Json(forced)),
        Err(refusal) => Err(Problem(StatusCode::CONFLICT, refusal.into())),
    }
}

fn verb(body: &ForceBody) -> Result<ForceVerb, Problem> {
    let length = body.length.as_deref().map(parse_duration).transpose();
    let length = length.map_err(|error| bad(format!("`for`: {error}"), "write a duration, as 2h or 30m"))?;
    match body.action.kind() {
        Some(kind) => Ok(ForceVerb::Set { kind, length }),
        None if length.is_some() => Err(bad("what is lifted takes no `for`".into(), BODY)),
        None => Ok(ForceVerb::Lift { drain: body.action == ForceAction::Undrain }),
    }
}
