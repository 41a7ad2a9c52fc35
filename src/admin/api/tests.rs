//! The table of routes, walked.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_health::time::Wall;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::openapi::DOCUMENT;
use super::table::Route;
use super::{Admin, routes};
use crate::admin::caller::{Caller, Role};
use crate::admin::{Answers, Door, Tokens};
use crate::control::Handle;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::store::Store;

/// What is behind the routes, without a control task: whatever gets that far is told that the daemon is stopping.
fn admin() -> (Admin, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, stored) = Store::open(folder.path()).expect("a store");
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let tokens = Tokens::new(store.clone(), stored.tokens);
    let admin = Admin {
        node: "edge".into(),
        started: Wall(0),
        control: Handle::new(mpsc::channel(1).0),
        store,
        names: Default::default(),
        worlds: Default::default(),
        door: Door::new(tokens, metrics.clone()),
        answers: Answers::default(),
        metrics: metrics.clone(),
        readiness: Default::default(),
        reloads: mpsc::channel(1).0,
        notifier: Notifier::new("edge".into(), metrics.notify.clone()),
    };
    (admin, folder)
}

async fn call(admin: &Admin, route: &Route, role: Option<Role>) -> StatusCode {
    let path = route.path.replace(['{', '}'], "");
    let mut request = Request::new(Body::empty());
    *request.method_mut() = route.method.clone();
    *request.uri_mut() = path.parse().expect("a path");
    if let Some(role) = role {
        request.extensions_mut().insert(Caller { actor: "somebody".into(), role, advice: "ask" });
    }
    admin.clone().whole().oneshot(request).await.expect("a router always answers").status()
}

/// A role of those who may only look opens no way to change anything.
#[test]
fn every_route_that_changes_state_demands_a_role_that_may() {
    let routes = routes();
    assert!(routes.listed().len() > 5, "the table is not empty");
    for route in routes.listed() {
        let changes = ![Method::GET, Method::HEAD].contains(&route.method);
        assert!(!changes || !Role::View.covers(route.role), "{route:?} can be called by who may only look");
    }
}

#[tokio::test]
async fn every_route_is_closed_to_the_unknown_and_to_roles_that_do_not_cover_its_own() {
    let (admin, _folder) = admin();
    for route in routes().listed() {
        assert_eq!(call(&admin, route, None).await, StatusCode::UNAUTHORIZED, "{route:?}");
        for role in Role::ALL {
            let status = call(&admin, route, Some(role)).await;
            let is_closed = [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED].contains(&status);
            assert_eq!(is_closed, !role.covers(route.role), "{route:?} for {role:?}: {status}");
        }
    }
}

/// Clients are made from the document: it has every route with its role, and no other.
#[test]
fn the_document_has_the_routes_of_the_table_and_no_other() {
    let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["security"], json!([{ "token": [] }]), "every route takes a token");
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            assert!(operation.get("security").is_none(), "{method} {path} goes without a token");
            let role = operation["x-role"].as_str().expect("a role");
            described.insert((method.to_uppercase(), path.clone(), role.to_owned()));
        }
    }
    let routes = routes();
    let listed = routes.listed().iter().map(|Route { method, path, role }| {
        (method.to_string(), (*path).to_owned(), role.label().to_owned())
    });
    assert_eq!(described, listed.collect());
}
