//! The table of routes, walked.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use tempfile::TempDir;
use tidegate_health::time::Wall;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::table::Route;
use super::{Admin, routes};
use crate::admin::caller::{Caller, Role};
use crate::control::Handle;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::store::Store;

/// What is behind the routes, without a control task: whatever gets that far is told that the daemon is stopping.
fn admin() -> (Admin, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = Store::open(folder.path()).expect("a store");
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let admin = Admin {
        node: "edge".into(),
        started: Wall(0),
        control: Handle::new(mpsc::channel(1).0),
        store,
        names: Default::default(),
        worlds: Default::default(),
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
