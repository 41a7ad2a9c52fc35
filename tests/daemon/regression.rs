//! Reports from users of other systems that must not be true of this one, as far as they concern the daemon as a
//! whole. Each test is named for its report; the others stand where the part is that they concern.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{ask, exchange, request};
use crate::scene::{HOST, Scene, Script};

/// "One slow answer flapped the record."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn powerdns_7469_one_slow_answer_moves_nothing() {
    let service = "check = { path = \"/health\", interval = \"200ms\", fast_interval = \"50ms\", timeout = \"150ms\", fall = 3, rise = 2 }\n";
    let scene = Scene::play(Script { service, ..Script::default() }).await;
    scene.wait_fitness("dr", "fit").await;
    let probes = async |outcome| {
        scene.metric("tidegate_probes_total", &[("site", "main"), ("outcome", outcome)]).await
    };
    let (passes, epoch) = (probes("pass").await, scene.metric("tidegate_group_epoch", &[]).await);
    scene.mode("main1", "silent-once").await;
    scene.eventually("one check was too slow", async || probes("timeout").await >= 1.0).await;
    scene.eventually("others were not", async || probes("pass").await >= passes + 10.0).await;
    assert_eq!(scene.metric("tidegate_group_epoch", &[]).await, epoch);
    assert_eq!(scene.steered().await, (ResponseCode::NoError, vec![scene.door("main")]));
}

/// "All down: the answer mixed every region."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn powerdns_12789_all_down_never_mixes_sites() {
    let mut scene = Scene::play(Script::default()).await;
    for origin in ["main1", "dr1", "third1"] {
        scene.kill(origin).await;
    }
    for site in ["main", "dr", "third"] {
        scene.wait_fitness(site, "unfit").await;
    }
    let place = scene.active().await.expect("it stays somewhere");
    for _ in 0..20 {
        assert_eq!(scene.steered().await, (ResponseCode::NoError, vec![scene.door(&place)]));
    }
    let absent = ask(scene.dns, HOST, RecordType::AAAA).await.expect("an answer");
    assert_eq!((absent.metadata.response_code, absent.answers.len()), (ResponseCode::NoError, 0));
    let answer = scene.visit().await;
    assert_eq!(answer.code, 502);
    assert!(answer.header("x-tidegate-reason").is_some(), "{}", answer.head);

    // Fail static: whoever comes back at that site serves, before any probe has passed twice.
    scene.start_origin(&format!("{place}1")).await;
    scene.eventually("it serves", async || scene.visit().await.code == 200).await;
    assert_eq!(scene.visit().await.body, format!("{place}1"));
}

/// "With three clusters, the fallback had the wrong one's addresses."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k8gb_1705_the_fallback_has_its_own_addresses() {
    let mut scene = Scene::play(Script::default()).await;
    for (lost, next) in [("main", "dr"), ("dr", "third")] {
        scene.kill(&format!("{lost}1")).await;
        scene.wait_active(next).await;
        assert_eq!(scene.steered().await, (ResponseCode::NoError, vec![scene.door(next)]));
        assert_eq!(scene.visit().await.body, format!("{next}1"), "both sides are of one mind");
    }
}

/// "Down servers get traffic just after a reload."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_918_an_origin_that_is_down_gets_nothing_after_a_restart() {
    let mut scene = Scene::play(Script { sites: vec![("main", 2), ("dr", 1)], ..Script::default() }).await;
    scene.mode("main1", "error").await;
    let down = ("origin", scene.origins["main1"].addr.to_string());
    scene
        .eventually("main1 is down", async || {
            scene.metric("tidegate_origin_up", &[("site", "main"), (down.0, &down.1)]).await == 0.0
        })
        .await;
    scene.kill_daemon().await;
    scene.start_daemon().await;
    // From the very first moment that anybody can connect.
    scene.wait_open().await;
    for _ in 0..50 {
        let answer = scene.visit().await;
        assert_eq!((answer.code, &*answer.body), (200, "main2"));
    }
    assert_eq!(scene.active().await.as_deref(), Some("main"));
}

/// "`Connection: close` leaks upstream."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pingora_713_connection_close_stays_on_its_side() {
    let scene = Scene::play(Script { sites: vec![("main", 1), ("dr", 1)], ..Script::default() }).await;
    let headers =
        [("Connection", "close, X-Secret"), ("X-Secret", "for the next hop alone"), ("X-Id", "kept")];
    let answer =
        exchange(scene.http, &request("GET", HOST, "/echo", &headers, b"")).await.expect("an answer");
    let told = answer.body.to_ascii_lowercase();
    assert!(told.contains("x-id"), "{told}");
    assert!(!told.contains("x-secret") && !told.contains("close"), "{told}");
    assert_eq!(answer.header("connection"), Some("close"), "{}", answer.head);
}

/// "Slow-loris": a client that sends a byte now and then is cut after the whole time it has, not each byte's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pingora_447_slow_heads_are_cut_in_time() {
    let top = "limits = { header_timeout = \"500ms\" }\n";
    let scene = Scene::play(Script { top, ..Script::default() }).await;
    let mut slow = tokio::net::TcpStream::connect(scene.http).await.expect("a connection");
    slow.write_all(b"GET / HTTP/1.1\r\n").await.expect("it is open");
    let begun = std::time::Instant::now();
    let mut answer = Vec::new();
    loop {
        let _ = slow.write_all(b"x").await;
        match tokio::time::timeout(Duration::from_millis(50), slow.read_buf(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) | Err(_) => assert!(begun.elapsed() < crate::scene::PATIENCE, "it was never cut"),
        }
    }
    let answer = crate::scene::text(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(&*scene.visit().await.body, "main1");
}
