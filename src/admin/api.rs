//! The routes: each file below has those of one matter, and says with each which role it demands.

mod forces;
mod gates;
mod history;
mod notify;
mod observations;
mod openapi;
mod orders;
mod plain;
pub(super) mod problem;
mod reload;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use tidegate_health::fleet::Fleet;
use tidegate_health::id::{GroupId, Name};
use tidegate_health::time::Wall;
use tokio::sync::mpsc;

use super::idempotency::Answers;
use super::readiness::Readiness;
use super::remote::Door;
use crate::control::Handle;
use crate::metrics::Metrics;
use crate::names::Board;
use crate::store::Store;
use crate::world::Worlds;
use problem::{Problem, problem};
use table::{OpenRoutes, Routes};

/// What the routes need of the daemon.
#[derive(Clone)]
pub struct Admin {
    pub node: Name,
    pub started: Wall,
    pub control: Handle,
    pub store: Store,
    pub names: Arc<Board>,
    pub worlds: Worlds,
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    /// For calls over the network.
    pub door: Door,
    pub answers: Answers,
    pub reloads: mpsc::Sender<crate::reload::Request>,
    pub notifier: crate::notify::Notifier,
}

/// The longest body of a request.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;

type Answer<T> = Result<Json<T>, Problem>;

/// The whole API, a line for each file.
fn routes() -> Routes {
    let routes = plain::routes(Routes::default());
    let routes = openapi::routes(routes);
    let routes = status::routes(routes);
    let routes = history::routes(routes);
    let routes = orders::routes(routes);
    let routes = forces::routes(routes);
    let routes = notify::routes(routes);
    let routes = observations::routes(routes);
    let routes = tokens::routes(routes);
    let routes = gates::routes(routes);
    reload::routes(routes)
}

impl Admin {
    /// Everything, for transports that say who is calling.
    pub(super) fn whole(self) -> axum::Router {
        routes().serve(self)
    }

    /// What anybody who can reach the listener may see.
    pub(super) fn open(self) -> axum::Router {
        OpenRoutes::default()
            .get("/metrics", plain::metrics)
            .get("/healthz", plain::healthz)
            .get("/readyz", plain::readyz)
            .get("/api/v1/status", status::without_people)
            .serve(self)
    }

    /// A group by name, in the fleet that its number is one of.
    fn group(&self, name: &str) -> Result<(GroupId, Arc<Fleet>), Problem> {
        let fleet = self.worlds.load().fleet.clone();
        let group = fleet.group_named(name).ok_or_else(|| {
            let names: Vec<_> = fleet.groups.iter().map(|group| &*group.name).collect();
            let message = format!("there is no group `{name}`");
            problem(
                StatusCode::NOT_FOUND,
                "no-such-group",
                message,
                Some(format!("the groups are {}", names.join(", "))),
            )
        })?;
        Ok((group, fleet))
    }
}
