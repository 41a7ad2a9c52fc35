//! A full disk: traffic is served, nothing is switched, and all is well once there is room again.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::scene::{HOST, Scene, Script};

/// A small disk in a mount namespace of its own. It is gone with the process that holds it, however the test ends.
struct Disk {
    holder: Child,
    folder: PathBuf,
}

impl Disk {
    async fn mount(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let script =
            format!("mount -t tmpfs -o size=3m,mode=750 tmpfs '{}' && echo mounted && cat", folder.display());
        let mut unshare = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        let mut holder = unshare
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("unshare (package util-linux) runs");
        let mut line = String::new();
        let mut out = BufReader::new(holder.stdout.take().expect("it was asked for"));
        out.read_line(&mut line).await.expect("the holder speaks");
        assert_eq!(
            line.trim(),
            "mounted",
            "this test has to mount a tmpfs in a namespace of its own, which failed"
        );
        Self { holder, folder: folder.to_owned() }
    }

    fn id(&self) -> String {
        self.holder.id().expect("the holder runs").to_string()
    }

    /// What makes a program run where the disk is.
    fn wrapper(&self) -> Vec<String> {
        let user = (!rustix::process::geteuid().is_root()).then_some("--user --preserve-credentials");
        let options = user.into_iter().flat_map(|options| options.split(' ')).map(str::to_owned);
        let line = ["nsenter".to_owned(), "--target".into(), self.id(), "--mount".into()];
        line.into_iter().chain(options).chain(["--".into()]).collect()
    }

    /// Takes all the room there is left.
    fn fill(&self) {
        use std::io::Write;
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(self.filler()).expect("a file");
        while file.write(&[b'x'; 512]).is_ok_and(|written| written > 0) {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("the filler is there");
    }

    /// The path to it from outside.
    fn filler(&self) -> PathBuf {
        let inside = self.folder.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.id()).join("root").join(inside).join("filler")
    }
}

async fn start(scene: &mut Scene, disk: &Disk) {
    let wrapper = disk.wrapper();
    scene.start_daemon_under(&wrapper.iter().map(String::as_str).collect::<Vec<_>>()).await;
    scene.wait_ready().await;
}

/// Switches to and fro until one is refused; its refusal.
async fn switch_until_refused(scene: &Scene) -> Value {
    // A page or two may be free inside the store's file still.
    for turn in 0..500 {
        let to = if scene.active().await.as_deref() == Some("main") { "dr" } else { "main" };
        let body = json!({ "to": to, "reason": format!("turn {turn} {}", "x".repeat(400)) }).to_string();
        let (code, text) = scene.api("POST", "/api/v1/groups/app/switch", &body).await;
        if code != 200 {
            assert_eq!(code, 409, "{text}");
            return serde_json::from_str(&text).expect("JSON");
        }
    }
    panic!("500 switches were written to a full disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_switching_and_never_serving() {
    let mut scene = Scene::set(Script { sites: vec![("main", 1), ("dr", 1)], ..Script::default() }).await;
    // The disk is in another namespace; the socket must be where both see it.
    let socket = scene.path("tidegate.sock");
    scene.edit("[listen]\n", &format!("[listen]\nsocket = \"{}\"\n", socket.display()));
    scene.move_socket(socket);
    let disk = Disk::mount(&scene.path("state")).await;
    start(&mut scene, &disk).await;
    for site in ["main", "dr"] {
        scene.wait_fitness(site, "fit").await;
    }

    disk.fill();
    let refusal = switch_until_refused(&scene).await;
    assert_eq!(refusal["label"], "store", "{refusal}");
    assert!(refusal["next"].as_str().is_some_and(|next| next.contains("state_dir")), "{refusal}");
    let failures = async || scene.metric("tidegate_store_failures_total", &[]).await;
    assert!(failures().await >= 1.0);
    let place = scene.active().await.expect("a place");
    let other = if place == "main" { "dr" } else { "main" };
    for _ in 0..20 {
        let answer = scene.visit().await;
        assert_eq!((answer.code, answer.body), (200, format!("{place}1")));
        assert_eq!(scene.steered().await.1, [scene.door(&place)]);
    }
    assert_eq!(scene.get("/healthz").await.map(|(code, _)| code), Some(200));

    // The active site is lost: a failover is wanted, cannot be written, and so does not happen.
    let lost = format!("{place}1");
    let before = failures().await;
    scene.kill(&lost).await;
    scene.eventually("explain names the store", async || scene.stops().await.contains(&"store".into())).await;
    scene
        .eventually("it is tried again", async || {
            scene.metric("tidegate_store_failures_total", &[]).await > before + 1.0
        })
        .await;
    assert_eq!(scene.active().await.as_deref(), Some(&*place));
    assert_eq!(scene.steered().await.1, [scene.door(&place)], "DNS does not run ahead of the store");

    // Room again: the failover happens by itself, and lasts.
    disk.empty();
    scene.wait_active(other).await;
    assert_eq!(scene.visit().await.body, format!("{other}1"));
    scene.start_origin(&lost).await;
    scene.wait_fitness(&place, "fit").await;
    scene.json(&["switch", "app", &place, "--reason", "there is room"]).await;
    let epoch = scene.metric("tidegate_group_epoch", &[]).await;
    scene.kill_daemon().await;
    start(&mut scene, &disk).await;
    assert_eq!(scene.active().await.as_deref(), Some(&*place));
    assert_eq!(scene.metric("tidegate_group_epoch", &[]).await, epoch);
    assert_eq!(scene.visit().await.body, format!("{place}1"), "{HOST}");
}
