//! The daemon itself is stopped: a suspended machine must not fail over on waking.

use std::time::Duration;

use rustix::process::Signal;

use crate::client::{exchange, request};
use crate::scene::{HOST, Scene, Script};

/// `failover_after = "500ms"`, SIGSTOP for 10 s, continue: no switch, ten times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_stopped_for_ten_seconds_does_not_switch_on_waking() {
    tokio::join!(stopped_twice(), stopped_twice(), stopped_twice(), stopped_twice(), stopped_twice());
}

async fn stopped_twice() {
    let group = "stateless = true\nfailover_after = \"500ms\"\n";
    let service = "check = { path = \"/health\", interval = \"500ms\", fast_interval = \"100ms\", timeout = \"400ms\", fall = 2, rise = 2 }\n";
    let scene = Scene::play(Script { group, service, ..Script::default() }).await;
    scene.wait_active("main").await;
    for stop in 1..=2 {
        scene.signal_daemon(Signal::STOP);
        // The time is the scenario here, not a way to wait for something.
        tokio::time::sleep(Duration::from_secs(10)).await;
        scene.signal_daemon(Signal::CONT);
        let passes = scene.metric("tidegate_probes_total", &[("site", "main"), ("outcome", "pass")]).await;
        scene
            .eventually("main has passed several new checks", async || {
                scene.metric("tidegate_probes_total", &[("site", "main"), ("outcome", "pass")]).await
                    >= passes + 5.0
            })
            .await;
        assert_eq!(scene.active().await.as_deref(), Some("main"));
        assert_eq!(scene.metric("tidegate_control_stalls_total", &[]).await, f64::from(stop));
        assert_eq!(scene.metric("tidegate_switches_total", &[("kind", "failover")]).await, 0.0);
        let answer = exchange(scene.http, &request("GET", HOST, "/", &[], b"")).await.expect("an answer");
        assert_eq!(&*answer.body, "main1");
    }
}
