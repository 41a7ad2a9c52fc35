//! Running out of file descriptors: it gets narrow, and nothing else.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::net::TcpStream;

use crate::scene::{Scene, Script};

/// All that the daemon may open.
const DESCRIPTORS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_descriptors_it_neither_spins_nor_switches_and_recovers() {
    let service = "check = { path = \"/health\", interval = \"100ms\", fast_interval = \"50ms\", timeout = \"1s\", fall = 2, rise = 2 }\n";
    let script = Script {
        service,
        // Clients that say nothing are not sent away while the test looks.
        top: "limits = { header_timeout = \"10m\", idle_timeout = \"10m\" }\n",
        ..Script::default()
    };
    let mut scene = Scene::set(script).await;
    for origin in ["main1", "dr1", "third1"] {
        // Every probe needs a descriptor of its own, and clients are waiting for each that becomes free.
        scene.mode(origin, "close").await;
    }
    let limit = format!("ulimit -n {DESCRIPTORS}; exec \"$@\"");
    scene.start_daemon_under(&["sh", "-c", &limit, "sh"]).await;
    scene.wait_ready().await;
    scene.wait_fitness("dr", "fit").await;
    let process = format!("/proc/{}", scene.daemon_id());

    let mut clients = Vec::new();
    while clients.len() < 2 * DESCRIPTORS {
        // More than are accepted wait in the kernel's queue, as they would in front of a full server.
        clients.push(TcpStream::connect(scene.http).await.expect("the queue takes it"));
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
    scene.eventually("its descriptors are free again", async || open() < DESCRIPTORS / 2).await;
    scene.wait_ready().await;
    assert_eq!(&*scene.visit().await.body, "main1");
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    assert_eq!(scene.metric("tidegate_switches_total", &[("kind", "failover")]).await, 0.0);
    assert!(scene.metric("tidegate_accept_failures_total", &[("listener", "http")]).await >= 1.0);
    assert!(
        scene.metric("tidegate_probes_total", &[("outcome", "out-of-descriptors")]).await >= 1.0,
        "probes were made without descriptors, and proved nothing:\n{}",
        scene.metrics().await
    );
    for site in ["main", "dr", "third"] {
        assert_eq!(scene.fitness(site).await, "fit");
    }
}

/// User and system time of a process so far. The kernel counts in ticks of 10 ms.
fn cpu_ms(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("{process}/stat")).expect("the daemon runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let fields: Vec<_> = fields.split(' ').collect();
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("ticks") * 10).sum()
}
