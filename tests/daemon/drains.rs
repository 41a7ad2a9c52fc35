//! Drains and forces through the command line, with traffic on.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Load, request};
use crate::scene::{FAST_CHECK, HOST, Scene, Script, text};
use crate::talker::Talker;

const OLD: [&str; 3] = ["host", "old", "--reason=new disks"];

/// A main site of an origin and a talker, which is the machine `old`; and a DR site.
async fn play(talker: &Talker) -> Scene {
    let mut scene = Scene::set(Script { service: FAST_CHECK, ..Script::default() }).await;
    let entry = format!("origins.main = [{{ url = \"http://{}\", host = \"old\" }}, ", talker.addr);
    scene.edit("origins.main = [", &entry);
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene
        .eventually("both origins are up", async || {
            scene.metric("tidegate_origin_up", &[("site", "main")]).await == 2.0
        })
        .await;
    scene
}

/// An answer of the talker that has begun and takes as long as it is told.
struct Download {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Download {
    async fn begin(scene: &Scene) -> Self {
        // The other origin answers this at once, with its name.
        loop {
            let mut stream = TcpStream::connect(scene.http).await.expect("the proxy listens");
            stream.write_all(&request("GET", HOST, "/slow", &[], b"")).await.expect("it can be sent");
            let mut read = Vec::new();
            while !read.windows(4).any(|end| end == b"\r\n\r\n") {
                stream.read_buf(&mut read).await.expect("an answer");
            }
            if text(&read).ends_with("\r\n\r\n") && text(&read).contains("Length: 10\r\n") {
                return Self { stream, read };
            }
        }
    }

    async fn end(mut self) {
        while !self.read.ends_with(b"xxxxxxxxxx") {
            let more = self.stream.read_buf(&mut self.read).await.expect("the download goes on");
            assert_ne!(more, 0, "it was cut");
        }
    }
}

impl Scene {
    async fn ordered(&self, command: &str, arguments: &[&str]) -> String {
        let output = self.cli(&[&[command][..], arguments].concat()).await;
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{command} {arguments:?}: {said}");
        said
    }

    async fn first_force(&self) -> Value {
        self.json(&["status"]).await["forces"][0].clone()
    }
}

#[tokio::test]
async fn a_host_is_drained_under_load_finishes_its_work_and_is_then_safe_to_power_off() {
    let talker = Talker::start().await;
    let scene = play(&talker).await;
    let download = Download::begin(&scene).await;
    let begun = Instant::now();
    let load = Load::start(scene.http, 2, &["GET", "POST"]);
    load.more(&scene, 50).await;

    let preview = scene.ordered("drain", &["host", "old", "--preview"]).await;
    assert!(preview.contains("1 of 2 web left") && preview.contains("fit as before"), "{preview}");
    assert!(scene.first_force().await.is_null(), "a preview changes nothing");
    let said = scene.ordered("drain", &OLD).await;
    assert!(said.contains("safe to power off"), "{said}");
    let (answered, checked) = (Instant::now(), talker.checks());
    load.more(&scene, 100).await;
    let force = scene.first_force().await;
    assert_eq!((&force["safe"], &force["in_flight"]), (&false.into(), &1.into()), "{force}");
    let waited = scene.cli(&[&["drain"][..], &OLD, &["--wait=100ms"]].concat()).await;
    assert_eq!(waited.status.code(), Some(1), "a script must not power it off");
    assert!(text(&waited.stdout).contains("not safe to power off yet"), "{}", text(&waited.stdout));

    talker.feed(10);
    download.end().await;
    scene.eventually("it is safe", async || scene.first_force().await["safe"] == true).await;
    let status = scene.ordered("status", &[]).await;
    for words in ["host `old` drained by", "new disks", "safe to power off", "its checks say up"] {
        assert!(status.contains(words), "`{words}` is not in:\n{status}");
    }
    scene.eventually("its checks go on", async || talker.checks() > checked + 2).await;
    assert_eq!(scene.metric("tidegate_forces", &[("kind", "drain")]).await, 1.0);

    let waited = scene.ordered("drain", &[&OLD[..], &["--wait=1m"]].concat()).await;
    assert!(waited.contains("nothing to do") && waited.contains("safe to power off"), "{waited}");

    let (served, undrained) = (talker.others(), Instant::now());
    scene.ordered("undrain", &["host", "old", "--reason=they are in"]).await;
    scene.eventually("it serves again", async || talker.others() > served).await;
    let log = load.end().await;
    let failed: Vec<_> = log.iter().filter(|entry| !entry.is_ok()).collect();
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed.first());
    let of = |by: &str, span: std::ops::Range<Instant>| {
        log.iter().filter(|entry| span.contains(&entry.began) && entry.by() == by).count()
    };
    assert_eq!(of("talker", answered..undrained), 0, "no new work once the order is answered");
    assert!(of("main1", answered..undrained) >= 90 && of("talker", begun..answered) > 0);
    let history = scene.ordered("history", &[]).await;
    assert!(history.contains("drain host `old` (1 origin): new disks"), "{history}");
    assert!(history.contains("undrain host `old` (1 origin): they are in"), "{history}");
}

/// The connections of before are those of another target then, and still of the same machine.
#[tokio::test]
async fn a_reload_hides_no_work_of_a_drained_machine() {
    let talker = Talker::start().await;
    let scene = play(&talker).await;
    let download = Download::begin(&scene).await;
    scene.ordered("drain", &OLD).await;
    scene.edit("[service.web]\n", "[service.web]\nejection = { status_failures = 7 }\n");
    scene.ordered("reload", &[]).await;
    let force = scene.first_force().await;
    assert_eq!((&force["safe"], &force["in_flight"]), (&false.into(), &1.into()), "{force}");
    talker.feed(10);
    download.end().await;
    scene.eventually("it is safe", async || scene.first_force().await["safe"] == true).await;
    // Of what the configuration has no more nobody knows whether it is safe.
    scene.edit(", host = \"old\"", "");
    scene.ordered("reload", &[]).await;
    let force = scene.first_force().await;
    assert_eq!((&force["safe"], &force["count"]), (&false.into(), &0.into()), "{force}");
}

#[tokio::test]
async fn what_is_let_in_again_starts_slowly() {
    const SLOW: Duration = Duration::from_secs(6);
    let talker = Talker::start().await;
    let scene = play(&talker).await;
    scene.ordered("drain", &OLD).await;
    scene.edit("[service.web]\n", "[service.web]\nslow_start = \"6s\"\n");
    scene.ordered("reload", &[]).await;
    let begun = Instant::now();
    scene.eventually("the other origin has long been up", async || begun.elapsed() > SLOW).await;

    scene.ordered("undrain", &["host", "old", "--reason=they are in"]).await;
    let served = async |count: usize| {
        let before = talker.others();
        for _ in 0..count {
            assert_eq!(scene.visit().await.code, 200);
        }
        talker.others() - before
    };
    scene.eventually("it serves again", async || served(1).await > 0).await;
    let begun = Instant::now();
    let some = served(100).await;
    // A tenth of its elections at first, and no more than the time that has passed since allows; it wins half of them.
    let share = (begun.elapsed().as_secs_f64() / SLOW.as_secs_f64() + 0.1).min(1.0);
    assert!(some as f64 <= 50.0 * share + 15.0, "{some} of 100, when its share was {share} at most");
    scene.eventually("it has its whole share", async || served(40).await >= 12).await;
}

#[tokio::test]
async fn a_drain_outlives_the_daemon() {
    let talker = Talker::start().await;
    let mut scene = play(&talker).await;
    scene.ordered("drain", &OLD).await;
    scene.kill_daemon().await;
    let served = talker.others();
    scene.start_daemon().await;
    scene.wait_ready().await;
    for _ in 0..20 {
        assert_eq!(scene.visit().await.body, "main1");
    }
    assert_eq!(talker.others(), served);
    assert_eq!(scene.first_force().await["pattern"], "old");
    assert!(scene.daemon_log().contains("still held: drain host `old`"), "{}", scene.daemon_log());
}

#[tokio::test]
async fn a_drain_that_would_leave_a_group_without_an_origin_is_refused_unless_the_rule_is_named() {
    let talker = Talker::start().await;
    let scene = play(&talker).await;
    scene.wait_fitness("dr", "fit").await;
    let site = ["site", "main", "--reason=power"];
    let output = scene.cli(&[&["drain"][..], &site].concat()).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in ["would be unfit", "tidegate switch app", "--override unfit"] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    assert_eq!(scene.visit().await.code, 200);
    scene.ordered("drain", &[&site[..], &["--override=unfit"]].concat()).await;
    scene.eventually("the group leaves", async || scene.active().await.as_deref() == Some("dr")).await;
    scene.eventually("all is served there", async || scene.visit().await.body == "dr1").await;
}

#[tokio::test]
async fn a_drain_that_should_be_over_alarms_and_a_force_ends_by_itself() {
    let talker = Talker::start().await;
    let scene = play(&talker).await;
    scene.ordered("drain", &[&OLD[..], &["--for=100ms"]].concat()).await;
    scene.ordered("force", &["origin", "web/dr/*", "down", "--reason=it lies", "--for=100ms"]).await;
    let overdue = async || scene.metric("tidegate_drains_overdue", &[]).await == 1.0;
    scene.eventually("the drain is overdue", overdue).await;
    let downs = async || scene.metric("tidegate_forces", &[("kind", "down")]).await;
    scene.eventually("the force is over", async || downs().await == 0.0).await;
    let status = scene.ordered("status", &[]).await;
    assert!(status.contains("OVERDUE") && status.contains("host `old` drained"), "{status}");
    scene
        .eventually("the history tells of both", async || {
            let history = scene.ordered("history", &[]).await;
            history.contains("overdue") && history.contains("was ordered for a time that is over")
        })
        .await;
    scene.ordered("undrain", &["host", "old", "--reason=done"]).await;
    scene.eventually("the alarm ends", async || !overdue().await).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_what_to_do() {
    let talker = Talker::start().await;
    let scene = play(&talker).await;
    for (arguments, words) in [
        (&["drain", "host", "new", "--reason=x"][..], "no origin matches"),
        (&["undrain", "host", "old", "--reason=x"], "there is no drain"),
        (&["drain", "host", "old", "--reason=x", "--for=2"], "has no unit"),
        (&["drain", "host", "old", "--reason= "], "a reason"),
        (&["drain", "host", "old"], "--reason"),
        (&["force", "host", "old", "sideways", "--reason=x"], "sideways"),
    ] {
        let output = scene.cli(arguments).await;
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{arguments:?}: {said}");
    }
    assert!(scene.first_force().await.is_null());
}
