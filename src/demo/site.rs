//! One small site of the demo: answers every GET with its name.

use std::io::Write;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

/// Serves until it is killed. Prints the address it listens on, once, so that the parent knows it.
///
/// # Errors
/// The address cannot be bound.
pub fn run(name: String, listen: SocketAddr) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(listen).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", listener.local_addr()?)?;
        out.flush()?;
        drop(out);
        let answer = move || std::future::ready(name.clone());
        let routes = Router::new().route("/health", get(|| std::future::ready("ok"))).fallback(answer);
        axum::serve(listener, routes).await
    })
}
