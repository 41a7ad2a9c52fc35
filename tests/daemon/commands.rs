//! The command line against the running daemon: what it prints, how it exits, what it leaves on record.

use serde_json::Value;
use tokio::process::Command;

use crate::scene::{Scene, Script, text, tidegate};

/// Every command that asks the daemon for something; the switch goes where the group is.
const ORDERS: [&[&str]; 6] = [
    &["freeze", "app", "--reason", "maintenance"],
    &["unfreeze", "app", "--reason", "maintenance is over"],
    &["switch", "app", "dr", "--reason", "a visit"],
    &["failback", "app", "--reason", "the visit is over"],
    &["ack", "app", "--reason", "nothing latched"],
    &["confirm", "app", "--reason", "nothing proposed"],
];
const QUESTIONS: [&[&str]; 3] = [&["status"], &["explain", "app"], &["history"]];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_prints_json_and_text() {
    let scene = Scene::play(Script::default()).await;
    scene.wait_fitness("dr", "fit").await;
    let config = scene.path("tidegate.toml").display().to_string();
    let check = ["check", "--config", &config];
    for form in [&["--json"][..], &[]] {
        for command in QUESTIONS.iter().chain(&ORDERS).copied().chain([&check[..]]) {
            let output = scene.cli(&[command, form].concat()).await;
            let refused = command[0] == "confirm";
            assert_eq!(
                output.status.code(),
                Some(i32::from(refused)),
                "{command:?}: {}",
                text(&output.stderr)
            );
            if form.is_empty() {
                let said = if refused { &output.stderr } else { &output.stdout };
                assert!(!said.trim_ascii().is_empty(), "{command:?} says nothing");
                assert!(!said.starts_with(b"{"), "{command:?}: {}", text(said));
            } else {
                assert!(output.stderr.is_empty(), "{command:?}: {}", text(&output.stderr));
                let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
                assert!(json.is_object() || json.is_array(), "{command:?}: {json}");
                assert_eq!(json["label"] == "nothing-proposed", refused, "{command:?}: {json}");
            }
        }
    }
    let status = text(&scene.cli(&["status", "--all"]).await.stdout);
    for word in ["app", "active at main", "> main", "third", "1/1 origins up"] {
        assert!(status.contains(word), "`{word}` is not in:\n{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_is_on_record_with_who_when_and_why() {
    let scene = Scene::play(Script::default()).await;
    scene.wait_fitness("dr", "fit").await;
    let before = now_ms();
    for order in ORDERS {
        scene.cli(order).await;
    }
    let after = now_ms();
    // A decision is on record before its order is answered; of a refusal only a note is taken, which nothing waits for.
    scene
        .eventually("the refusal is on record", async || scene.history().await[0]["kind"] == "refused")
        .await;
    let mut history = scene.history().await;
    history.reverse();
    let expected = [
        ("start", None),
        ("frozen", Some("maintenance")),
        ("unfrozen", Some("maintenance is over")),
        ("switchover", Some("a visit")),
        ("failback", Some("the visit is over")),
        // The acknowledgement found nothing to lift: it changed nothing, so there is nothing to record.
        ("refused", None),
    ];
    let kinds: Vec<_> = history.iter().map(|event| event["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, expected.map(|(kind, _)| kind), "{history:?}");
    for (event, (kind, reason)) in history.iter().zip(expected) {
        assert_eq!(event["group"], "app");
        if let Some(reason) = reason {
            assert_eq!(event["reason"], reason);
        }
        assert!(!event["reason"].as_str().expect("a reason").is_empty());
        let (at, actor) = (event["at"].as_u64().expect("a time"), event["actor"].as_str().expect("an actor"));
        match kind {
            "start" => assert_eq!(actor, "tidegate"),
            _ => assert!((before..=after).contains(&at) && actor != "tidegate", "{event}"),
        }
    }
    assert_eq!((history[3]["from"].as_str(), history[3]["to"].as_str()), (Some("main"), Some("dr")));
    assert!(history[3]["epoch"].as_u64() < history[4]["epoch"].as_u64());

    let told = text(&scene.cli(&["history", "app"]).await.stdout);
    assert!(told.contains("main -> dr") && told.contains("a visit"), "{told}");
    let newest = scene.json(&["history", "-n", "1"]).await;
    assert_eq!(newest.as_array().map(Vec::len), Some(1));
    assert_eq!(newest[0]["kind"], "refused");

    // Under sudo the kernel sees root; whose hands they were stands beside it.
    let account = history[1]["actor"].as_str().expect("an actor");
    let mut command = scene.command(&["freeze", "app", "--reason", "by hand", "--json"]);
    let output = command.env("SUDO_USER", "ada").output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let newest = &scene.history().await[0];
    assert_eq!(newest["actor"].as_str(), Some(&*format!("ada as {account}")));
    let status = text(&scene.cli(&["status"]).await.stdout);
    assert!(status.contains("frozen (operator) by ada as") && status.contains("by hand"), "{status}");
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    since.as_millis() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failback_goes_home_and_is_refused_while_home_is_unfit() {
    let mut scene = Scene::play(Script::default()).await;
    scene.kill("main1").await;
    scene.wait_active("dr").await;
    let refused = scene.cli(&["failback", "app", "--reason", "too early"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("tidegate failback app --override unfit --reason"), "{said}");
    assert_eq!(scene.active().await.as_deref(), Some("dr"));

    scene.start_origin("main1").await;
    scene.wait_fitness("main", "fit").await;
    let done = scene.json(&["failback", "app", "--reason", "main is repaired"]).await;
    assert_eq!((done["site"].as_str(), done["changed"].as_bool()), (Some("main"), Some(true)));
    assert_eq!(scene.steered().await.1, [scene.door("main")]);
    assert_eq!(&*scene.visit().await.body, "main1");
    let newest = &scene.history().await[0];
    assert_eq!(
        (newest["kind"].as_str(), newest["reason"].as_str()),
        (Some("failback"), Some("main is repaired"))
    );
    let again = scene.json(&["failback", "app", "--reason", "once more"]).await;
    assert_eq!(again["changed"].as_bool(), Some(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_usage_exits_with_two() {
    let wrong: [&[&str]; 7] = [
        &[],
        &["swich", "app", "dr"],
        &["switch", "app", "dr"],
        &["switch", "app", "--reason", "why"],
        &["status", "--colour"],
        &["history", "-n", "0"],
        &["freeze", "app"],
    ];
    for arguments in wrong {
        let output = Command::new(tidegate()).args(arguments).output().await.expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
    for arguments in [["--help"], ["--version"]] {
        let output = Command::new(tidegate()).args(arguments).output().await.expect("it runs");
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_daemon_every_command_says_what_to_do() {
    let scene = Scene::set(Script { sites: vec![("main", 1)], ..Script::default() }).await;
    for command in QUESTIONS.iter().chain(&ORDERS) {
        let output = scene.cli(command).await;
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let said = text(&output.stderr);
        assert!(said.contains(&scene.socket().display().to_string()), "{said}");
        assert!(said.contains("tidegate run --config") && said.contains("--socket"), "{said}");
    }
    // Neither a socket nor a configuration.
    let nowhere = Command::new(tidegate())
        .args(["status", "--config", "/nonexistent/tidegate.toml"])
        .env_remove("TIDEGATE_SOCKET")
        .output()
        .await
        .expect("it runs");
    assert_eq!(nowhere.status.code(), Some(1));
    let said = text(&nowhere.stderr);
    assert!(said.contains("/nonexistent/tidegate.toml") && said.contains("--socket PATH"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_tells_where_the_socket_is() {
    let scene = Scene::play(Script::default()).await;
    let config = scene.path("tidegate.toml").display().to_string();
    let status = Command::new(tidegate())
        .args(["status", "--json"])
        .env("TIDEGATE_CONFIG", config)
        .env_remove("TIDEGATE_SOCKET")
        .output()
        .await
        .expect("it runs");
    assert_eq!(status.status.code(), Some(0), "{}", text(&status.stderr));
}

/// Relative paths start at the configuration, wherever a command is started: else a store would be forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relative_paths_mean_the_same_from_everywhere() {
    let mut scene = Scene::set(Script::default()).await;
    let absolute = format!("state_dir = \"{}\"", scene.path("state").display());
    scene.edit(&absolute, "state_dir = \"state\"");
    scene.start_daemon().await;
    scene.wait_ready().await;
    assert!(scene.path("state").join("tidegate.redb").exists());
    let elsewhere = tempfile::tempdir().expect("a folder");
    let status = Command::new(tidegate())
        .args(["status", "--config"])
        .arg(scene.path("tidegate.toml"))
        .current_dir(elsewhere.path())
        .env_remove("TIDEGATE_SOCKET")
        .output()
        .await
        .expect("it runs");
    assert!(status.status.success(), "{}", text(&status.stderr));
}

/// A configuration that is being edited takes nobody's hands off the daemon that runs on the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_broken_meanwhile_does_not_cut_the_command_line_off() {
    let scene = Scene::play(Script::default()).await;
    scene.edit("stateless = true", "stateles = true");
    let config = scene.path("tidegate.toml").display().to_string();
    let ask = async |arguments: &[&str]| {
        let mut command = Command::new(tidegate());
        command.args(arguments).args(["--config", &config]).env_remove("TIDEGATE_SOCKET");
        command.output().await.expect("it runs")
    };
    let status = ask(&["status"]).await;
    assert!(status.status.success(), "{}", text(&status.stderr));
    // Without even the two keys that lead to the socket it is a wrong configuration, and says so.
    scene.write("tidegate.toml", "nonsense = 1\n");
    let status = ask(&["status", "--json"]).await;
    assert_eq!(status.status.code(), Some(2), "{}", text(&status.stderr));
    let told: Value = serde_json::from_slice(&status.stdout).expect("JSON, even then");
    assert_eq!(told["label"], "config");
}

/// What reaches a log or a terminal is text, and one line of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reason_cannot_forge_a_line_of_the_history() {
    let scene = Scene::play(Script::default()).await;
    for reason in ["fine\n2026-01-01 00:00:00  app  failback", "\u{1b}[2J"] {
        let output = scene.cli(&["freeze", "app", "--reason", reason]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("printable"), "{}", text(&output.stderr));
    }
    assert!(scene.json(&["status"]).await["groups"][0]["durable"]["freeze"].is_null());
}

/// Every command that the help names is in the manual and in the completions, and nothing hidden is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manual_and_completions_name_every_command() {
    let run = async |arguments: &[&str]| {
        let output = Command::new(tidegate()).args(arguments).output().await.expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let help = run(&["--help"]).await;
    let (_, list) = help.split_once("Commands:\n").expect("help lists the commands");
    let commands: Vec<&str> = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()))
        .collect();
    assert!(commands.contains(&"explain") && !commands.contains(&"demo-site"), "{commands:?}");

    let folder = tempfile::tempdir().expect("a folder");
    run(&["man", "--out", &folder.path().display().to_string()]).await;
    let page = run(&["man"]).await;
    assert!(page.contains(".TH tidegate 1"), "{page}");
    for command in &commands {
        assert!(
            page.contains(&format!("tidegate\\-{}(1)", command.replace('-', "\\-"))),
            "{command}:\n{page}"
        );
        let own = std::fs::read_to_string(folder.path().join(format!("tidegate-{command}.1")));
        assert!(own.expect("each command has its page").contains(".SH SYNOPSIS"));
    }
    assert!(!folder.path().join("tidegate-demo-site.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).await;
        for command in &commands {
            assert!(script.contains(command), "{shell} does not complete {command}");
        }
    }
    let unknown = Command::new(tidegate()).args(["completions", "cmd"]).output().await.expect("it runs");
    assert_eq!(unknown.status.code(), Some(2));
}
