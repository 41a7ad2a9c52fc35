//! The table of routes. A route enters it with the role that it demands, and there is no other way to the router: who
//! adds one cannot forget to say for whom it is.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, on};

use super::Admin;
use super::problem::{not_allowed, nothing_here};
use crate::admin::caller::{Role, demand};

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
        self.add((Method::GET, MethodFilter::GET), path, role, handler)
    }

    /// Something that changes state.
    pub(super) fn post<H: Handler<T, Admin>, T: 'static>(
        self,
        path: &'static str,
        role: Role,
        handler: H,
    ) -> Self {
        self.add((Method::POST, MethodFilter::POST), path, role, handler)
    }

    fn add<H: Handler<T, Admin>, T: 'static>(
        mut self,
        (method, filter): (Method, MethodFilter),
        path: &'static str,
        role: Role,
        handler: H,
    ) -> Self {
        let route = on(filter, handler).route_layer(from_fn_with_state(role, demand));
        self.router = self.router.route(path, route);
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
        self.router.fallback(nothing_here).method_not_allowed_fallback(not_allowed).with_state(admin)
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
