//! Running out of file descriptors, at whichever listener: it gets narrow, and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::net::TcpStream;

use crate::scene::{Scene, Script};
use crate::secure::Secure;
use crate::tls;

/// All that the daemon may open.
const DESCRIPTORS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_descriptors_it_neither_spins_nor_switches_and_recovers() {
    let (scene, secure) = scene().await;
    exhaust(&scene, &secure, scene.http).await;
    assert!(scene.metric("tidegate_accept_failures_total", &[("listener", "http")]).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_descriptors_by_https_clients_it_recovers() {
    let (scene, secure) = scene().await;
    exhaust(&scene, &secure, secure.https).await;
    assert!(scene.metric("tidegate_accept_failures_total", &[("listener", "http")]).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_descriptors_by_clients_of_dns_over_tls_it_recovers() {
    let (scene, secure) = scene().await;
    exhaust(&scene, &secure, secure.dot).await;
    let labels = [("protocol", "tls"), ("reason", "accept_failed")];
    assert!(scene.metric("tidegate_dns_dropped_total", &labels).await >= 1.0);
}

/// A daemon with few descriptors.
async fn scene() -> (Scene, Secure) {
    let service = "check = { path = \"/health\", interval = \"100ms\", fast_interval = \"50ms\", timeout = \"1s\", fall = 2, rise = 2 }\n";
    let script = Script {
        service,
        // Clients that say nothing are not sent away while the test looks.
        top: "limits = { header_timeout = \"10m\", handshake_timeout = \"10m\", idle_timeout = \"10m\" }\n",
        ..Script::default()
    };
    let mut scene = Scene::set(script).await;
    let secure = Secure::add_to(&scene);
    for origin in ["main1", "dr1", "third1"] {
        // Every probe needs a descriptor of its own, and clients are waiting for each that becomes free.
        scene.mode(origin, "close").await;
    }
    let limit = format!("ulimit -n {DESCRIPTORS}; exec \"$@\"");
    scene.start_daemon_under(&["sh", "-c", &limit, "sh"]).await;
    scene.wait_ready().await;
    scene.wait_fitness("dr", "fit").await;
    (scene, secure)
}

/// Takes all descriptors by connections to `listener`, looks what the daemon makes of that, and gives them back.
async fn exhaust(scene: &Scene, secure: &Secure, listener: SocketAddr) {
    let process = format!("/proc/{}", scene.daemon_id());
    let mut clients = Vec::new();
    while clients.len() < 2 * DESCRIPTORS {
        // More than are accepted wait in the kernel's queue, as they would in front of a full server.
        clients.push(TcpStream::connect(listener).await.expect("the queue takes it"));
    }
    let open = || std::fs::read_dir(format!("{process}/fd")).expect("the daemon runs").count();
    scene.eventually("the daemon is out of descriptors", async || open() >= DESCRIPTORS).await;

    let before = cpu_ms(&process);
    // The time is the scenario here, not a way to wait for something.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = cpu_ms(&process) - before;
    assert!(spent < 500, "{spent} ms of CPU in 2 s of waiting");
    assert!(open() >= DESCRIPTORS - 2, "it was not exhausted all the time");
    assert_eq!(scene.steered().await, (ResponseCode::NoError, vec![scene.door("main")]));

    drop(clients);
    // Those that waited in the queue are gone, too, but the daemon has to accept them to see that.
    scene
        .eventually("its descriptors are free again", async || {
            queued(listener) == 0 && open() < DESCRIPTORS / 2
        })
        .await;
    scene.wait_ready().await;
    assert_served(scene, secure).await;
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    assert_eq!(scene.metric("tidegate_switches_total", &[("kind", "failover")]).await, 0.0);
    assert!(
        scene.metric("tidegate_probes_total", &[("outcome", "out-of-descriptors")]).await >= 1.0,
        "probes were made without descriptors, and proved nothing:\n{}",
        scene.metrics().await
    );
    for site in ["main", "dr", "third"] {
        assert_eq!(scene.fitness(site).await, "fit");
    }
}

/// Connections that wait to be accepted: what the kernel shows in place of bytes to be read.
fn queued(listener: SocketAddr) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
    let port = format!(":{:04X}", listener.port());
    let fields = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let mut listening = fields.filter(|fields| fields[1].ends_with(&port) && fields[3] == "0A");
    let queues = listening.next().expect("it listens")[4].to_owned();
    u64::from_str_radix(queues.split(':').nth(1).expect("two queues"), 16).expect("a number")
}

/// Every listener serves.
async fn assert_served(scene: &Scene, secure: &Secure) {
    assert_eq!(&*scene.visit().await.body, "main1");
    let session = secure.connect(b"http/1.1").await.expect("HTTPS is served");
    let answer = tls::visit(session).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("main1"), "{answer}");
    let mut session = secure.connect_to(secure.dot, b"dot").await.expect("DNS over TLS is served");
    let answer = tls::resolve(&mut session).await.expect("an answer");
    assert_eq!((answer[3] & 0x0f, answer[7]), (0, 1), "no error, one address");
}

/// User and system time of a process so far. The kernel counts in ticks of 10 ms.
fn cpu_ms(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("{process}/stat")).expect("the daemon runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let fields: Vec<_> = fields.split(' ').collect();
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("ticks") * 10).sum()
}
