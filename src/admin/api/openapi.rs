//! The description of the API for programs: `GET /api/v1/openapi.json`.
//!
//! It is written by hand, in `docs/openapi.json`; tests hold it against the table of routes and against what the daemon
//! answers.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::table::Routes;
use crate::admin::caller::Role;

pub(super) const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/api/v1/openapi.json", Role::View, document)
}

async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
