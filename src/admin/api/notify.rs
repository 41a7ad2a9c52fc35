//! Trying out who is told what happens: `POST /api/v1/notify/NAME/test`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::problem::{LOOKING, bad, problem};
use super::table::Routes;
use super::{Admin, Answer};
use crate::admin::caller::{Caller, Role};
use crate::admin::shape::NotifyTestReply;
use crate::notify::TestFailure;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/notify/{receiver}/test", Role::Operate, test)
}

/// Sends a message past the queue, and answers when it has arrived or has not.
async fn test(
    State(admin): State<Admin>,
    caller: Caller,
    receiver: Result<Path<String>, PathRejection>,
) -> Answer<NotifyTestReply> {
    let Path(receiver) = receiver.map_err(|error| bad(error.body_text(), LOOKING))?;
    let failure = match admin.notifier.test(&receiver, &caller.actor).await {
        Ok(()) => return Ok(Json(NotifyTestReply { receiver, delivered: true })),
        Err(failure) => failure,
    };
    let message = failure.to_string();
    Err(match failure {
        TestFailure::Unknown(_, known) if known.is_empty() => {
            let next = "there is none at all: add a table [notify.NAME]".to_owned();
            problem(StatusCode::NOT_FOUND, "no-such-receiver", message, Some(next))
        }
        TestFailure::Unknown(_, known) => {
            let next = format!("the receivers are {}", known.join(", "));
            problem(StatusCode::NOT_FOUND, "no-such-receiver", message, Some(next))
        }
        TestFailure::Busy(_) => problem(StatusCode::CONFLICT, "busy", message, Some("ask again".into())),
        TestFailure::Failed(_) => {
            let next = format!("mend notify.{receiver}, `tidegate reload`, and try again");
            problem(StatusCode::BAD_GATEWAY, "not-delivered", message, Some(next))
        }
    })
}
