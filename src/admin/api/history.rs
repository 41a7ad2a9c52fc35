//! The history: a page of it, or all of it as JSON lines.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use super::problem::{LOOKING, Problem, bad, problem};
use super::table::Routes;
use super::{Admin, Answer};
use crate::admin::caller::Role;
use crate::clock::wall;
use crate::history::{self, Entry, Filter, Order};
use crate::store::StoreError;

/// Entries of a page where nobody says how many, and at most.
const LIMIT: u16 = 50;
const LIMIT_MAX: u16 = 10_000;
/// Entries that an export holds in memory at a time.
const EXPORT_PAGE: usize = 256;

pub(super) fn routes(routes: Routes) -> Routes {
    // Reasons and names of people are for those who may steer, so they are not on the open listener.
    routes.get("/api/v1/history", Role::View, entries).get("/api/v1/history/export", Role::View, export)
}

type Asked = Result<Query<history::Query>, QueryRejection>;

/// `GET /api/v1/history`: the newest first; with `after` the oldest of those first, so that whoever asks again and again
/// with the last id misses nothing.
async fn entries(State(admin): State<Admin>, query: Asked) -> Answer<Vec<Entry>> {
    let (filter, limit) = filter(&admin, query)?;
    let limit = limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(bad(format!("`limit` is 1 to {LIMIT_MAX}"), LOOKING));
    }
    let order = if filter.after.is_some() { Order::OldestFirst } else { Order::NewestFirst };
    let entries = admin.store.history(filter, order, usize::from(limit)).await;
    entries.map(Json).map_err(unreadable)
}

/// `GET /api/v1/history/export`: everything, the oldest first, one JSON object per line (`application/x-ndjson`). It is
/// read page by page while it is sent, so that neither its size nor a slow reader costs memory or holds the store.
async fn export(State(admin): State<Admin>, query: Asked) -> Result<Response, Problem> {
    let (filter, limit) = filter(&admin, query)?;
    if limit.is_some() {
        return Err(bad("an export has no `limit`".into(), LOOKING));
    }
    // An error of the first page is an answer; of a later one it breaks the answer off, which no reader takes for its end.
    let first = admin.store.history(filter.clone(), Order::OldestFirst, EXPORT_PAGE).await;
    let state = (admin, filter, Some(first.map_err(unreadable)?));
    let pages = stream::unfold(state, |(admin, mut filter, page)| async move {
        let page = match page {
            Some(page) => page,
            None => match admin.store.history(filter.clone(), Order::OldestFirst, EXPORT_PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "an export of the history broke off");
                    return Some((Err(error), (admin, filter, Some(Vec::new()))));
                }
            },
        };
        filter.after = Some(page.last()?.id);
        Some((Ok(lines(&page)), (admin, filter, None)))
    });
    let body = Body::from_stream(pages);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn lines(page: &[Entry]) -> Bytes {
    let mut text = Vec::new();
    for entry in page {
        serde_json::to_writer(&mut text, entry).expect("plain maps with string keys go into memory");
        text.push(b'\n');
    }
    text.into()
}

fn filter(admin: &Admin, query: Asked) -> Result<(Filter, Option<u16>), Problem> {
    let Query(query) = query.map_err(|error| bad(error.body_text(), LOOKING))?;
    if let Some(group) = &query.group {
        admin.group(group)?;
    }
    let filter = query.filter(wall()).map_err(|error| bad(error.to_string(), LOOKING))?;
    Ok((filter, query.limit))
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unreadable(error: StoreError) -> Problem {
    problem(StatusCode::SERVICE_UNAVAILABLE, "store", error.to_string(), None)
}
