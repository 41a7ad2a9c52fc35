//! Out of file descriptors: serving goes on, accepting pauses and comes back. Alone in its process, because the limit is the
//! process's.

#![allow(clippy::unwrap_used, reason = "helpers of tests: an unwrap that fails fails the test")]

#[allow(dead_code, reason = "shared with the other tests of the proxy")]
#[path = "proxy/kit.rs"]
mod kit;

use std::sync::atomic::Ordering;
use std::time::Duration;

use kit::*;
use rustix::process::{Resource, getrlimit, setrlimit};

#[tokio::test]
async fn running_out_of_descriptors_degrades_and_never_spins() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut early = edge.client().await;
    early.ask(GET).await;

    let before = getrlimit(Resource::Nofile);
    let highest = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u64>().ok())
        .max()
        .unwrap();
    let mut tight = getrlimit(Resource::Nofile);
    tight.current = Some(highest + 1);
    setrlimit(Resource::Nofile, tight).unwrap();
    // Takes what is free below the limit until nothing is left but the clients' own sockets in the backlog.
    let mut late = Vec::new();
    while let Ok(stream) = tokio::net::TcpStream::connect(edge.addr).await {
        late.push(stream);
    }
    let pauses = || edge.told.pauses.load(Ordering::SeqCst);
    until(|| pauses() >= 3).await;
    for _ in 0..20 {
        assert_eq!(early.ask(GET).await.text(), "a", "connections that are there are served");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(pauses() <= 12, "{} pauses in half a second: that is spinning", pauses());

    setrlimit(Resource::Nofile, before).unwrap();
    drop(late);
    assert_eq!(edge.ask(GET).await.text(), "a", "accepting comes back");
}
