//! The protocol's words, and a watchdog that a stuck control task does not feed.

use serde_json::json;
use tokio::net::UnixDatagram as Listener;
use tokio::sync::mpsc;

use super::*;
use crate::control::Message;

const PATIENCE: Duration = Duration::from_secs(30);

/// A service manager, and the way to tell it.
fn manager(folder: &tempfile::TempDir, watchdog: Option<Duration>) -> (Listener, ServiceManager) {
    let path = folder.path().join("notify");
    let listener = Listener::bind(&path).expect("the folder is new");
    (listener, ServiceManager::to(path.as_os_str(), watchdog).expect("the path is short"))
}

async fn heard(listener: &Listener) -> String {
    let mut buffer = [0; 1024];
    let read = tokio::time::timeout(PATIENCE, listener.recv(&mut buffer)).await.expect("in time");
    String::from_utf8_lossy(&buffer[..read.expect("the socket is open")]).into_owned()
}

/// Answers as a control task does, `times` times.
async fn live(inbox: &mut mpsc::Receiver<Message>, times: usize) {
    for _ in 0..times {
        match tokio::time::timeout(PATIENCE, inbox.recv()).await.expect("it is asked in time") {
            Some(Message::Alive(answer)) => answer.send(()).expect("somebody waits for it"),
            other => panic!("{other:?} was not to come"),
        }
    }
}

#[tokio::test]
async fn the_watchdog_is_fed_only_while_control_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let (listener, notify) = manager(&folder, Some(Duration::from_millis(40)));
    let (messages, mut inbox) = mpsc::channel(8);
    let tending = tokio::spawn(notify.tend(Handle::new(messages), Worlds::default()));
    live(&mut inbox, 2).await;
    for _ in 0..2 {
        assert_eq!(heard(&listener).await, "WATCHDOG=1");
    }
    // Stuck: it takes the question and never answers.
    let unanswered = inbox.recv().await;
    assert!(matches!(unanswered, Some(Message::Alive(_))), "{unanswered:?}");
    let silence = tokio::time::timeout(Duration::from_millis(700), listener.recv(&mut [0; 64])).await;
    assert!(silence.is_err(), "the watchdog was fed for a control task that does not answer");
    // Alive again: asked anew by itself.
    live(&mut inbox, 1).await;
    assert_eq!(heard(&listener).await, "WATCHDOG=1");
    tending.abort();
}

#[tokio::test]
async fn a_control_task_that_is_gone_feeds_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (listener, notify) = manager(&folder, Some(Duration::from_millis(40)));
    let (messages, inbox) = mpsc::channel(8);
    drop(inbox);
    let tending = tokio::spawn(notify.tend(Handle::new(messages), Worlds::default()));
    let silence = tokio::time::timeout(Duration::from_millis(500), listener.recv(&mut [0; 64])).await;
    assert!(silence.is_err());
    tending.abort();
}

#[tokio::test]
async fn every_phase_has_its_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let (listener, notify) = manager(&folder, None);
    notify.starting(Duration::from_secs(30)).await;
    let said = heard(&listener).await;
    assert!(said.starts_with("EXTEND_TIMEOUT_USEC=45000000\nSTATUS="), "{said}");
    notify.ready().await;
    assert_eq!(heard(&listener).await, "READY=1");
    notify.reloading().await;
    let said = heard(&listener).await;
    let usec = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("both, in this order");
    assert!(usec.parse::<u64>().expect("a number") > 0);
    notify.reloaded().await;
    assert_eq!(heard(&listener).await, "READY=1");
    notify.stopping(Duration::from_secs(5)).await;
    let said = heard(&listener).await;
    assert!(said.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000\nSTATUS="), "{said}");
}

#[tokio::test]
async fn abstract_names_are_reached_too() {
    let name = format!("tidegate-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let listener = UnixDatagram::bind_addr(&address).expect("nobody has this name");
    listener.set_nonblocking(true).expect("it is a socket");
    let listener = Listener::from_std(listener).expect("within the runtime");
    let notify = ServiceManager::to(OsStr::new(&format!("@{name}")), None).expect("a short name");
    notify.ready().await;
    assert_eq!(heard(&listener).await, "READY=1");
}

#[tokio::test]
async fn a_manager_that_does_not_read_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_listener, notify) = manager(&folder, None);
    let manager = notify.manager.clone().expect("there is one");
    while manager.socket.send_to_addr(b"READY=1", &manager.address).is_ok() {}
    tokio::time::timeout(PATIENCE, notify.ready()).await.expect("it gives up");
}

#[test]
fn the_watchdog_of_another_process_is_not_ours() {
    let own = std::process::id().to_string();
    let second = Some(Duration::from_secs(1));
    assert_eq!(watchdog(Some("1000000"), None), second);
    assert_eq!(watchdog(Some("1000000"), Some(&own)), second);
    for (usec, pid) in [
        (Some("1000000"), Some("1")),
        (Some("1000000"), Some("me")),
        (Some("0"), None),
        (Some("soon"), None),
        (None, None),
    ] {
        assert_eq!(watchdog(usec, pid), None, "{usec:?} {pid:?}");
    }
}

fn status(groups: &[serde_json::Value]) -> Status {
    serde_json::from_value(json!({ "round_complete": true, "groups": groups }))
        .expect("the shape of a status")
}

fn group(
    name: &str,
    active: Option<&str>,
    condition: &str,
    durable: &serde_json::Value,
) -> serde_json::Value {
    json!({
        "name": name, "condition": condition, "active": active, "epoch": 1, "since": null, "kind": null,
        "actor": null, "reason": null, "degraded": [], "proposal": null, "stateless": true,
        "durable": durable, "sites": [],
    })
}

#[test]
fn the_summary_names_what_needs_a_person_first() {
    let durable = json!({ "decision": null });
    let latched = json!({ "decision": null, "latched": ["main"] });
    let status = status(&[
        group("app", Some("main"), "ok", &durable),
        group("mail", Some("dr"), "ok", &latched),
        group("db", None, "undecided", &durable),
    ]);
    assert_eq!(summary(&status), "mail at dr: ok, latched; db nowhere: UNDECIDED; app at main: ok");
}

#[test]
fn a_long_summary_is_cut_and_stays_one_line() {
    let durable = json!({ "decision": null });
    let names: Vec<_> = (0..100).map(|number| format!("group\n{number}")).collect();
    let groups: Vec<_> = names.iter().map(|name| group(name, Some("main"), "ok", &durable)).collect();
    let text = summary(&status(&groups));
    assert!(text.ends_with("... (more: tidegate status)"), "{text}");
    assert!(!text.contains('\n') && text.chars().count() < STATUS_MAX + 40);
}
