//! Clients that take their time, as slowhttptest makes them: each is cut at its deadline, the others are served.

use std::process::Stdio;
use std::time::Instant;

use tokio::process::{Child, Command};

use crate::client::{exchange, request};
use crate::recorder::Recorder;
use crate::scene::{HOST, PATIENCE, Scene, Script, text};
use crate::secure::Secure;

/// Slow clients at once, over each of HTTP and HTTPS.
const CLIENTS: usize = 200;
/// Those that read slowly cost the kernel megabytes.
const READERS: usize = 50;
/// The program gives up after this.
const SECONDS_MAX: &str = "120";

/// A whole header gets longer than the rest, because it may be this test that is starved.
const LIMITS: &str = "limits = { header_timeout = \"4s\", body_timeout = \"2s\", body_idle_timeout = \"2s\", write_timeout = \"2s\", idle_timeout = \"2s\" }\n";

/// Lets slow clients loose over HTTP and HTTPS at once, and asks for pages until the daemon has cut all of them. What
/// the program says of them; nothing if it has not noticed yet.
async fn stand(mode: &[&str], clients: usize, path: &str) -> (Scene, Vec<String>) {
    let mut scene = Scene::set(Script { sites: vec![("main", 1)], top: LIMITS, ..Script::default() }).await;
    let recorder = Recorder::start().await;
    scene.edit(&scene.origins["main1"].addr.to_string(), &recorder.addr.to_string());
    let secure = Secure::add_to(&scene);
    // The program asks for the host that it connects to.
    scene.edit(&format!("hosts = [\"{HOST}\"]"), &format!("hosts = [\"{HOST}\", \"127.0.0.1\"]"));
    scene.start_daemon().await;
    scene.wait_ready().await;
    assert_eq!(connections(&scene).await, 0.0);

    let urls = [format!("http://{}{path}", scene.http), format!("https://{}{path}", secure.https)];
    let mut slow = urls.map(|url| tokio::spawn(attack(mode, clients, &url).wait_with_output()));
    let (mut most, mut served) = (0.0_f64, 0);
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let answer = exchange(scene.http, &request("GET", HOST, "/", &[], b"")).await.expect("an answer");
        assert_eq!((answer.code, &*answer.body), (200, "recorded"));
        served += 1;
        let open = connections(&scene).await;
        most = most.max(open);
        // How many are there at once depends on how fast they come; how many came is counted below.
        if most > clients as f64 / 4.0 && open == 0.0 {
            break;
        }
        assert!(Instant::now() < deadline, "{open} are still open, of {most}");
    }
    assert!(served > 3, "{served} were served meanwhile");
    scene.eventually("the kernel keeps none of them either", async || sockets(&scene, &secure) == 0).await;
    let mut said = Vec::new();
    for output in &mut slow {
        // Who reads slowly hears late that nothing more comes.
        if mode.contains(&"-X") {
            assert!(!output.is_finished(), "it was the daemon that closed");
            output.abort();
        } else {
            said.push(text(&output.await.expect("no panic").expect("it ends").stdout));
        }
    }
    (scene, said)
}

fn attack(mode: &[&str], clients: usize, url: &str) -> Child {
    let clients = clients.to_string();
    Command::new("slowhttptest")
        .args(mode)
        .args(["-c", &clients, "-r", &clients, "-l", SECONDS_MAX, "-p", SECONDS_MAX, "-u", url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("slowhttptest runs: install the package of that name")
}

/// Sockets of the daemon's listeners that have data or an end to send, whether or not a process has them open.
fn sockets(scene: &Scene, secure: &Secure) -> usize {
    const WITH_DATA: [&str; 4] = ["01", "04", "09", "0B"];
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
    let is_ours = |local: &str| {
        let port = local.split(':').nth(1).and_then(|port| u16::from_str_radix(port, 16).ok());
        port == Some(scene.http.port()) || port == Some(secure.https.port())
    };
    let fields = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| is_ours(fields[1]) && WITH_DATA.contains(&fields[3])).count()
}

async fn connections(scene: &Scene) -> f64 {
    scene.metric("tidegate_client_connections", &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_headers_are_cut_at_their_deadline_while_others_are_served() {
    let (scene, said) = stand(&["-H", "-i", "1", "-x", "8"], CLIENTS, "/").await;
    assert_timed_out(&scene, &said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_are_cut_at_their_deadline_while_others_are_served() {
    let (scene, said) = stand(&["-B", "-i", "1", "-x", "8", "-s", "8192"], CLIENTS, "/").await;
    assert_timed_out(&scene, &said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_are_cut_at_their_deadline_while_others_are_served() {
    stand(&["-X", "-n", "1", "-z", "5", "-w", "10", "-y", "20"], READERS, "/large").await;
}

/// They were told why, with a 408. One or the other may have been closed by the program first.
async fn assert_timed_out(scene: &Scene, said: &[String]) {
    for said in said {
        assert!(said.contains("No open connections left"), "some were not cut:\n{said}");
    }
    let told = scene.metric("tidegate_requests_total", &[("code", "408")]).await;
    scene.eventually("nobody is left", async || connections(scene).await == 0.0).await;
    assert!(told > 1.9 * CLIENTS as f64, "{told} of {}", 2 * CLIENTS);
}
