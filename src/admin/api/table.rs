//! The table of routes. A route enters it with the role that it demands, and there is no other way to the router: who
//! adds one cannot forget to say for whom it is.

use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Extension, Router};

use super::problem::{not_allowed, nothing_here};
use super::{Admin, BODY_BYTES_MAX};
use crate::admin::caller::{Role, demand};
use crate::admin::idempotency::once;

/// Routes that demand a role of every caller.
#[derive(Default)]
pub(in crate::admin) struct Routes {
    router: Router<Admin>,
    #[cfg_attr(not(test), allow(dead_code, reason = "tests walk it"))]
    listed: Vec<Route>,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin) struct Route {
    pub(in crate::admin) method: Method,
    pub(in crate::admin) path: &'static str,
    pub(in crate::admin) role: Role,
}

impl Routes {
    /// Something to look at. HEAD is answered likewise.
    pub(super) fn get<H: Handler<T, Admin>, T: 'static>(
        self,
        path: &'static str,
        role: Role,
        handler: H,
    ) -> Self {
        self.add(Method::GET, path, role, on(MethodFilter::GET, handler))
    }

    /// Something that changes state. A caller that names it with a key has it done once, however often it asks.
    pub(super) fn post<H: Handler<T, Admin>, T: 'static>(
        self,
        path: &'static str,
        role: Role,
        handler: H,
    ) -> Self {
        let route = on(MethodFilter::POST, handler).route_layer(from_fn(once));
        self.add(Method::POST, path, role, route)
    }

    /// Something that changes state, and by its nature only once.
    pub(super) fn delete<H: Handler<T, Admin>, T: 'static>(
        self,
        path: &'static str,
        role: Role,
        handler: H,
    ) -> Self {
        self.add(Method::DELETE, path, role, on(MethodFilter::DELETE, handler))
    }

    /// Like [`post`](Self::post), with an answer that must not be kept.
    pub(super) fn post_unremembered<H: Handler<T, Admin>, T: 'static>(
        self,
        path: &'static str,
        role: Role,
        handler: H,
    ) -> Self {
        self.add(Method::POST, path, role, on(MethodFilter::POST, handler))
    }

    fn add(mut self, method: Method, path: &'static str, role: Role, route: MethodRouter<Admin>) -> Self {
        self.router = self.router.route(path, route.route_layer(from_fn_with_state(role, demand)));
        self.listed.push(Route { method, path, role });
        self
    }

    /// Every route with the role it demands.
    #[cfg_attr(not(test), allow(dead_code, reason = "tests walk it"))]
    pub(in crate::admin) fn listed(&self) -> &[Route] {
        &self.listed
    }

    /// The router. It does not know who is calling: that is for the transport to say.
    pub(super) fn serve(self, admin: Admin) -> Router {
        self.router
            .fallback(nothing_here)
            .method_not_allowed_fallback(not_allowed)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(Extension(admin.answers.clone()))
            .with_state(admin)
    }
}

/// Routes for callers of whom nothing is known. It takes nothing that changes anything.
#[derive(Default)]
pub(super) struct OpenRoutes(Router<Admin>);

impl OpenRoutes {
    pub(super) fn get<H: Handler<T, Admin>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        Self(self.0.route(path, on(MethodFilter::GET, handler)))
    }

    pub(super) fn serve(self, admin: Admin) -> Router {
        self.0.fallback(nothing_here).method_not_allowed_fallback(not_allowed).with_state(admin)
    }
}
