//! An origin for tests: a process of its own, so that it can be killed, stopped and continued for real.
//!
//! usage: origin NAME ADDRESS LOG
//!
//! It answers every request with its name, and writes the `x-id` of each request it executes to LOG, one `ID METHOD` a
//! line, before it answers. `PUT /_mode` with a body of one of these words changes how it behaves from then on, for
//! requests under way, too:
//!
//! - `ok`
//! - `error`: 500 to everything, `/health` too
//! - `broken`: `/health` is well, 500 to everything else
//! - `alternate`: every other `/health` fails
//! - `hold`: `/health` is well, everything else waits for another mode
//! - `silent`: `/health` waits for another mode
//! - `silent-once`: one `/health` waits for another mode, then as `ok`
//! - `close`: `/health` is well, and the last answer of its connection
//!
//! `/echo` answers with the head of the request instead of the name. It prints its address once it listens.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::routing::{any, get, put};

const MODES: [&str; 8] = ["ok", "error", "broken", "alternate", "hold", "silent", "silent-once", "close"];

struct Origin {
    name: String,
    log: std::fs::File,
    mode: AtomicU8,
    odd: AtomicBool,
}

impl Origin {
    fn mode(&self) -> &'static str {
        MODES[usize::from(self.mode.load(Ordering::SeqCst))]
    }

    /// Waits while the mode is one of these.
    async fn wait_while(&self, modes: &[&str]) {
        while modes.contains(&self.mode()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[expect(clippy::print_stdout, reason = "its parent waits for the address")]
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, address, log] = &arguments[..] else { panic!("usage: origin NAME ADDRESS LOG") };
    let log = OpenOptions::new().create(true).append(true).open(log).expect("the log can be written");
    let origin = Origin { name: name.clone(), log, mode: AtomicU8::new(0), odd: AtomicBool::new(false) };
    let routes = Router::new()
        .route("/health", get(health))
        .route("/_mode", put(set_mode))
        .fallback(any(serve))
        .with_state(Arc::new(origin));
    let listener = tokio::net::TcpListener::bind(address).await.expect("the address is free");
    println!("{}", listener.local_addr().expect("a bound listener has an address"));
    axum::serve(listener, routes).await.expect("serving does not end");
}

async fn health(
    State(origin): State<Arc<Origin>>,
) -> (StatusCode, [(&'static str, &'static str); 1], &'static str) {
    origin.wait_while(&["silent"]).await;
    if origin.mode() == "silent-once" && !origin.odd.swap(true, Ordering::SeqCst) {
        origin.wait_while(&["silent-once"]).await;
    }
    let fails = match origin.mode() {
        "error" => true,
        "alternate" => origin.odd.fetch_xor(true, Ordering::SeqCst),
        _ => false,
    };
    let connection = [("connection", if origin.mode() == "close" { "close" } else { "keep-alive" })];
    match fails {
        true => (StatusCode::INTERNAL_SERVER_ERROR, connection, "not well"),
        false => (StatusCode::OK, connection, "well"),
    }
}

async fn set_mode(State(origin): State<Arc<Origin>>, body: String) -> StatusCode {
    match MODES.iter().position(|mode| *mode == body) {
        Some(mode) => {
            origin.odd.store(false, Ordering::SeqCst);
            origin.mode.store(mode as u8, Ordering::SeqCst);
            StatusCode::NO_CONTENT
        }
        None => StatusCode::BAD_REQUEST,
    }
}

async fn serve(
    State(origin): State<Arc<Origin>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    _body: Bytes,
) -> (StatusCode, String) {
    if let Some(id) = headers.get("x-id").and_then(|id| id.to_str().ok()) {
        // One write per line, so that lines of a killed process are whole.
        (&origin.log).write_all(format!("{id} {method}\n").as_bytes()).expect("the log can be written");
    }
    origin.wait_while(&["hold"]).await;
    if uri.path() == "/echo" {
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value:?}\n"));
        return (StatusCode::OK, format!("{method} {uri}\n") + &lines.collect::<String>());
    }
    let fails = matches!(origin.mode(), "error" | "broken");
    let status = if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    (status, origin.name.clone())
}
