//! HTTP/2 through the daemon: towards origins that are configured for it, and in front under load.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Response;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::client::{exchange, request};
use crate::scene::{HOST, Scene, Script, text};
use crate::secure::Secure;

/// An origin that speaks nothing but HTTP/2; counts its connections.
async fn origin(name: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                let mut served = false;
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    // Probes come on connections of their own.
                    if request.uri().path() != "/health" && !std::mem::replace(&mut served, true) {
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                    let head =
                        Response::builder().header("content-length", name.len()).body(()).expect("a head");
                    if let Ok(mut sending) = respond.send_response(head, false) {
                        let _ = sending.send_data(Bytes::from_static(name.as_bytes()), true);
                    }
                }
            });
        }
    });
    (addr, connections)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_that_speak_http2_are_probed_and_asked_in_it() {
    const SERVICE: &str = "origin_http = \"2\"\ncheck = { path = \"/health\", interval = \"200ms\", fast_interval = \"50ms\", timeout = \"1s\", fall = 2, rise = 2 }\n";
    let script = Script { sites: vec![("main", 1), ("dr", 1)], service: SERVICE, ..Script::default() };
    let mut scene = Scene::set(script).await;
    let (main, main_connections) = origin("two-main").await;
    let (dr, dr_connections) = origin("two-dr").await;
    for (site, addr) in [("main1", main), ("dr1", dr)] {
        scene.edit(&scene.origins[site].addr.to_string(), &addr.to_string());
    }
    scene.start_daemon().await;
    // Ready means that the probes have found them up.
    scene.wait_ready().await;
    let ask =
        async || exchange(scene.http, &request("POST", HOST, "/", &[], b"data")).await.expect("an answer");
    let mut bodies = BTreeSet::new();
    for _ in 0..10 {
        bodies.insert(ask().await.body);
    }
    assert_eq!(bodies, BTreeSet::from(["two-main".to_owned()]));
    assert_eq!(main_connections.load(Ordering::SeqCst), 1, "one connection for all of them");
    scene
        .eventually("the other site is fit", async || {
            scene.json(&["status"]).await["groups"][0]["sites"][1]["fitness"] == "fit"
        })
        .await;
    scene.post("switch", "{\"to\":\"dr\",\"reason\":\"test\"}").await;
    assert_eq!(ask().await.body, "two-dr");
    scene.post("switch", "{\"to\":\"main\",\"reason\":\"test\"}").await;
    assert_eq!(ask().await.body, "two-main");
    assert_eq!(main_connections.load(Ordering::SeqCst), 2, "the stay before the switch is over");
    assert_eq!(dr_connections.load(Ordering::SeqCst), 1);
}

/// 4 connections with 20 streams each ask for the page all the time, while the group moves to and fro.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switches_under_load_over_http2_fail_no_request() {
    const REQUESTS: usize = 20_000;
    let mut scene = Scene::set(Script { sites: vec![("main", 1), ("dr", 1)], ..Script::default() }).await;
    let https = Secure::add_to(&scene).https;
    scene.start_daemon().await;
    scene.wait_ready().await;
    for site in ["main", "dr"] {
        scene.wait_fitness(site, "fit").await;
    }
    let load = Command::new("h2load")
        .args(["-n", &REQUESTS.to_string(), "-c", "4", "-m", "20"])
        .arg(format!("--connect-to={https}"))
        .arg(format!("https://{HOST}:{}/", https.port()))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("h2load runs: install the package nghttp2-client");
    let load = tokio::spawn(load.wait_with_output());
    let mut switches = 0;
    while !load.is_finished() {
        switches += 1;
        let to = if switches % 2 == 1 { "dr" } else { "main" };
        let done = scene.post("switch", &format!("{{\"to\":\"{to}\",\"reason\":\"turn {switches}\"}}")).await;
        assert_eq!(done["site"], to, "{done}");
    }
    let output = text(&load.await.expect("no panic").expect("h2load ends").stdout);
    assert!(output.contains("Application protocol: h2"), "{output}");
    assert!(output.contains(&format!("{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout")), "{output}");
    assert!(output.contains(&format!("status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx")), "{output}");
    assert!(switches > 1, "the load was over before the group had moved");
}
