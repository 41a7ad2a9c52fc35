//! What a daemon refuses to start with, and how it says so.

use tokio::process::Command;

use crate::scene::{Scene, Script, free_address, text, tidegate};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_configuration_is_told_in_full() {
    let mut scene = Scene::set(Script::default()).await;
    scene.edit("protocol = \"http\"", "protocl = \"http\"");
    scene.edit("failover_after = \"0s\"", "failover_after = \"soon\"");
    scene.edit("group = \"app\", ttl", "group = \"apps\", ttl");
    let (code, said) = scene.run_daemon().await;
    assert_eq!(code, Some(2), "{said}");
    let config = std::fs::read_to_string(scene.path("tidegate.toml")).expect("the configuration");
    let file = scene.path("tidegate.toml").display().to_string();
    for (wrong, hint) in [("protocl", "`protocol`"), ("\"soon\"", "soon"), ("\"apps\"", "`app`")] {
        let (number, line) = config
            .lines()
            .enumerate()
            .find(|(_, line)| line.contains(wrong))
            .expect("the fault is in the configuration");
        let column = line.find(wrong).expect("it is in this line") + 1;
        let place = format!("{file}:{}:{column}", number + 1);
        assert!(said.contains(&place), "{place} is not in:\n{said}");
        assert!(said.contains(hint), "{hint} is not in:\n{said}");
    }
    assert!(said.matches('^').count() >= 3, "each fault has its caret:\n{said}");
    assert!(!scene.path("state").exists(), "nothing was touched");

    let check = Command::new(tidegate()).args(["check", "--config", &file]).output().await.expect("it runs");
    assert_eq!(check.status.code(), Some(2));
    assert!(text(&check.stdout).contains("protocl") && text(&check.stderr).contains("3 errors"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_file_with_a_fault_is_named_with_its_line() {
    let mut scene = Scene::set(Script::default()).await;
    let zone = std::fs::read_to_string(scene.path("scene.test.zone")).expect("the zone");
    scene.write("scene.test.zone", &format!("{zone}bad IN A 192.0.2.300\n"));
    let (code, said) = scene.run_daemon().await;
    assert_eq!(code, Some(2), "{said}");
    let line = zone.lines().count() + 1;
    let place = format!("{}:{line}", scene.path("scene.test.zone").display());
    assert!(said.contains(&place), "{place} is not in:\n{said}");

    // A record of its own at a steered name would be a second truth.
    scene.write("scene.test.zone", &format!("{zone}www IN A 192.0.2.200\n"));
    let (code, said) = scene.run_daemon().await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("scene.test") && said.contains("www"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_read_are_named() {
    let mut scene = Scene::set(Script::default()).await;
    let check = |scene: &Scene| {
        let mut command = Command::new(tidegate());
        command.args(["check", "--config"]).arg(scene.path("tidegate.toml"));
        command
    };
    for (file, gone) in [("scene.test.zone", "scene.test.zone.gone"), ("tidegate.toml", "tidegate.toml.gone")]
    {
        std::fs::rename(scene.path(file), scene.path(gone)).expect("it can be moved");
        let (code, said) = scene.run_daemon().await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("cannot read {}", scene.path(file).display())), "{said}");
        let checked = check(&scene).output().await.expect("it runs");
        assert_eq!(checked.status.code(), Some(1), "the check says it as the daemon does");
        assert!(text(&checked.stderr).contains("cannot read"));
        std::fs::rename(scene.path(gone), scene.path(file)).expect("it can be moved back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_taken_is_named() {
    let mut scene = Scene::set(Script::default()).await;
    let taken = |address| std::net::TcpListener::bind(address).expect("the address is free");
    for (address, what) in [(scene.http, "http"), (scene.dns, "dns"), (scene.admin, "admin")] {
        let other = taken(address);
        let (code, said) = scene.run_daemon().await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("cannot listen on ") && said.contains(what), "{said}");
        assert!(said.contains(&address.to_string()) && said.contains("in use"), "{said}");
        assert!(!scene.socket().exists(), "a daemon that ends takes its socket along");
        drop(other);
    }
    let other = std::net::UdpSocket::bind(scene.dns).expect("the address is free");
    let (code, said) = scene.run_daemon().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("dns (UDP)") && said.contains(&scene.dns.to_string()), "{said}");
    drop(other);
    // Nothing of all that stays behind.
    scene.start_daemon().await;
    scene.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_on_the_same_store_is_refused() {
    let scene = Scene::play(Script::default()).await;
    let mut config = std::fs::read_to_string(scene.path("tidegate.toml")).expect("the configuration");
    for address in [scene.http, scene.dns, scene.admin] {
        config = config.replace(&address.to_string(), &free_address().to_string());
    }
    scene.write("second.toml", &config);
    let mut second = Command::new(tidegate());
    second.args(["run", "--config"]).arg(scene.path("second.toml")).kill_on_drop(true);
    let second = second.output().await.expect("it runs");
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(
        said.contains("in use") && said.contains("tidegate.redb") && said.contains("state_dir"),
        "{said}"
    );
    // The first one is none the worse for it.
    assert_eq!(&*scene.visit().await.body, "main1");
    assert_eq!(scene.active().await.as_deref(), Some("main"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_none_is_refused_and_left_alone() {
    let mut scene = Scene::play(Script::default()).await;
    scene.json(&["freeze", "app", "--reason", "something to lose"]).await;
    scene.kill_daemon().await;
    let store = scene.path("state").join("tidegate.redb");
    let good = std::fs::read(&store).expect("the store");
    let mut bad_header = good.clone();
    bad_header[..512].reverse();
    let garbage: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("garbage", garbage),
        ("text", b"not a store\n".to_vec()),
        ("a bad header", bad_header),
    ] {
        std::fs::write(&store, &bytes).expect("the store can be overwritten");
        let (code, said) = scene.run_daemon().await;
        assert_eq!(code, Some(1), "{what}: {said}");
        assert!(said.contains(&store.display().to_string()), "{what}: {said}");
        assert!(said.contains("backup"), "{what}: it says what to do: {said}");
        assert!(!said.contains("panicked"), "{what}: {said}");
        assert!(std::fs::read(&store).expect("the store") == bytes, "{what} was changed");
    }
    std::fs::write(&store, &good).expect("the store can be overwritten");
    scene.start_daemon().await;
    scene.wait_ready().await;
    assert_eq!(scene.metric("tidegate_group_frozen", &[("group", "app")]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_without_the_active_site_is_refused() {
    let mut scene = Scene::play(Script::default()).await;
    scene.wait_fitness("dr", "fit").await;
    scene.json(&["switch", "app", "dr", "--reason", "to be taken away"]).await;
    scene.kill_daemon().await;
    scene.rewrite(&Script { sites: vec![("main", 1), ("third", 1)], ..Script::default() });
    let (code, said) = scene.run_daemon().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`app`") && said.contains("`dr`"), "{said}");

    // With the site back, so is the decision.
    scene.rewrite(&Script::default());
    scene.start_daemon().await;
    scene.wait_ready().await;
    assert_eq!(scene.active().await.as_deref(), Some("dr"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn something_else_at_the_sockets_path_is_left_alone() {
    let mut scene = Scene::set(Script::default()).await;
    std::fs::create_dir(scene.path("state")).expect("a folder");
    std::fs::write(scene.socket(), "precious").expect("a file");
    let (code, said) = scene.run_daemon().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("control socket") && said.contains("no socket"), "{said}");
    assert_eq!(std::fs::read_to_string(scene.socket()).expect("the file"), "precious");
}

/// `check` and `run` see the same faults: certificates that only requests need, and every file that is wrong at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_only_traffic_needs_are_checked_too() {
    let service = "check = { kind = \"tcp\" }\ntls = { verify = { ca = \"ca.pem\" } }\n";
    let mut scene = Scene::set(Script { service, ..Script::default() }).await;
    scene.edit("url = \"http://", "url = \"https://");
    let zone = std::fs::read_to_string(scene.path("scene.test.zone")).expect("the zone");
    scene.write("scene.test.zone", &format!("{zone}bad IN A 192.0.2.300\n"));
    scene.write("ca.pem", "this is no certificate\n");
    let (code, said) = scene.run_daemon().await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("ca.pem") && said.contains("192.0.2.300"), "both faults are told:\n{said}");
    assert_eq!(said.matches("ca.pem").count(), 1, "once is enough:\n{said}");
    let check =
        Command::new(tidegate()).args(["check", "--config"]).arg(scene.path("tidegate.toml")).output().await;
    assert_eq!(check.expect("it runs").status.code(), Some(2));
}

/// The user that a package makes may have low ports; another one has to be told what is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_low_port_without_the_capability_says_what_to_do() {
    let lowest: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .expect("the kernel says where privileged ports end")
        .trim()
        .parse()
        .expect("a number");
    assert!(lowest > 1, "this machine has no privileged ports, so this cannot be tested here");
    let mut scene = Scene::set(Script::default()).await;
    scene.edit(&format!("http = [\"{}\"]", scene.http), "http = [\"127.0.0.1:1\"]");
    // Root without this capability is an ordinary user as far as ports go; an ordinary user never had it.
    let without: &[&str] = &["setpriv", "--bounding-set", "-net_bind_service"];
    let wrapper = if rustix::process::geteuid().is_root() { without } else { &["env"] };
    scene.start_daemon_under(wrapper).await;
    assert_eq!(scene.wait_daemon().await, Some(1));
    let said = scene.daemon_log();
    assert!(said.contains("cannot listen on http 127.0.0.1:1: "), "{said}");
    assert!(said.contains("CAP_NET_BIND_SERVICE") && said.contains("tidegate"), "{said}");
}
