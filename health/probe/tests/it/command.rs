//! Programs that behave and programs that do not: whatever they do, nothing is left of them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;
use tempfile::TempDir;
use tidegate_probe::command::{Command, End, OUTPUT_BYTES_MAX, Ran, Slots};
use tokio::time::{Instant, sleep, timeout};

use crate::support::DEADLINE;

fn shell(script: &str) -> Command {
    Command::new(["/bin/sh", "-c", script]).unwrap()
}

async fn run(command: &Command, limit: Duration) -> Ran {
    let slot = Slots::new(1).take().await;
    timeout(2 * DEADLINE, command.run(slot, limit)).await.expect("a run ends by its limit")
}

fn code(ran: &Ran) -> i32 {
    match ran.how {
        End::Exited(code) => code,
        ref other => panic!("{other:?}, {:?}", ran.line()),
    }
}

/// Process numbers that a script wrote, once there are as many as that.
async fn numbers(file: &PathBuf, count: usize) -> Vec<Pid> {
    let written = async {
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let whole = text.ends_with('\n').then(|| text.split_whitespace().map(|pid| pid.parse().unwrap()));
            let pids: Vec<_> = whole.into_iter().flatten().filter_map(Pid::from_raw).collect();
            if pids.len() == count {
                return pids;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, written).await.expect("the script writes its numbers")
}

/// Waits until none of them runs, and none is a zombie of ours. Zombies of others wait for the system's first process.
async fn gone(pids: &[Pid]) {
    let end = Instant::now() + DEADLINE;
    let own = format!("PPid:\t{}\n", std::process::id());
    for pid in pids {
        let path = format!("/proc/{}/status", pid.as_raw_nonzero());
        while let Ok(status) = std::fs::read_to_string(&path) {
            if status.contains("State:\tZ") && !status.contains(&own) {
                break;
            }
            assert!(Instant::now() < end, "still there: {status}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Ignores SIGTERM, as do a child and a grandchild; all of them sleep for an hour. Numbers go to `$PIDS`.
const STUBBORN: &str = "trap '' TERM HUP INT
    /bin/sh -c 'sleep 3600 & echo $! >>$PIDS; echo $$ >>$PIDS; sleep 3600 & wait' &
    echo $$ >>$PIDS; echo started; while :; do sleep 3600; done";

fn stubborn(folder: &TempDir) -> (Command, PathBuf) {
    let pids = folder.path().join("pids");
    (shell(STUBBORN).with_env("PIDS", pids.to_str().unwrap()), pids)
}

#[tokio::test]
async fn code_and_both_outputs_come_back() {
    let ran = run(&shell("echo out; echo err >&2; exit 3"), DEADLINE).await;
    assert_eq!(code(&ran), 3);
    assert_eq!((&*ran.stdout.bytes, &*ran.stderr.bytes), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(ran.line().as_deref(), Some("out"));
    let ran = run(&shell("echo; echo ' why ' >&2; kill -9 $$"), DEADLINE).await;
    assert!(matches!(ran.how, End::Signalled(9)), "{:?}", ran.how);
    assert_eq!(ran.line().as_deref(), Some("why"));
}

#[tokio::test]
async fn input_is_given_and_empty_otherwise() {
    let given = vec![b'x'; 300_000];
    let ran = run(&shell("wc -c").with_stdin(given.clone()), DEADLINE).await;
    assert_eq!((code(&ran), ran.line().as_deref()), (0, Some("300000")));
    let ran = run(&shell("wc -c"), DEADLINE).await;
    assert_eq!((code(&ran), ran.line().as_deref()), (0, Some("0")));
    // One that does not read is not held up by it.
    assert_eq!(code(&run(&shell("exit 4").with_stdin(given), DEADLINE).await), 4);
}

#[tokio::test]
async fn the_environment_is_short() {
    let command =
        Command::new(["/usr/bin/env"]).unwrap().with_env("TIDEGATE_SITE", "main").with_env("A", "1\x002");
    let ran = run(&command, DEADLINE).await;
    let text = String::from_utf8(ran.stdout.bytes.clone()).unwrap();
    let allowed = ["PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "TIDEGATE_SITE", "A"];
    for line in text.lines() {
        let (name, _) = line.split_once('=').unwrap();
        assert!(allowed.contains(&name), "{line}");
    }
    assert!(text.contains("PATH=/") || text.contains("PATH="), "{text}");
    assert!(text.contains("TIDEGATE_SITE=main\n") && text.contains("A=1\n"), "{text}");
}

#[tokio::test]
async fn nothing_that_is_open_is_inherited() {
    let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let _datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // The shell's own glob opens the folder it lists, as one more descriptor.
    let ran = run(&shell("for fd in /proc/$$/fd/*; do readlink $fd; done; pwd"), DEADLINE).await;
    let text = String::from_utf8(ran.stdout.bytes).unwrap();
    assert!(!text.contains("socket:"), "{text}");
    assert!(text.ends_with("/\n"), "{text}");
}

#[tokio::test]
async fn output_beyond_the_bound_is_cut_and_does_not_stop_the_program() {
    for (bytes, kept, cut) in
        [(OUTPUT_BYTES_MAX, OUTPUT_BYTES_MAX, false), (OUTPUT_BYTES_MAX + 1, OUTPUT_BYTES_MAX, true)]
    {
        let ran = run(&shell(&format!("head -c {bytes} /dev/zero; exit 5")), DEADLINE).await;
        assert_eq!((code(&ran), ran.stdout.bytes.len(), ran.stdout.cut), (5, kept, cut));
    }
    let ran = run(&shell("head -c 5000000 /dev/zero >&2; exit 6"), DEADLINE).await;
    assert_eq!((code(&ran), ran.stderr.bytes.len(), ran.stderr.cut), (6, OUTPUT_BYTES_MAX, true));
}

#[tokio::test]
async fn a_program_that_is_missing_says_so() {
    let ran = run(&Command::new(["/nowhere/program"]).unwrap(), DEADLINE).await;
    assert!(
        matches!(&ran.how, End::CannotStart(error) if error.kind() == std::io::ErrorKind::NotFound),
        "{ran:?}"
    );
    let folder = TempDir::new().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o644)).unwrap();
    let ran = run(&Command::new([plain]).unwrap(), DEADLINE).await;
    let denied = std::io::ErrorKind::PermissionDenied;
    assert!(matches!(&ran.how, End::CannotStart(error) if error.kind() == denied), "{ran:?}");
}

#[tokio::test]
async fn a_program_that_ignores_signals_is_gone_after_its_time_with_all_its_children() {
    let folder = TempDir::new().unwrap();
    let (command, file) = stubborn(&folder);
    let started = numbers(&file, 3);
    let slots = Slots::new(1);
    let slot = slots.take().await;
    // The limit must leave a loaded machine the time to start three processes.
    let (ran, pids) = tokio::join!(command.run(slot, Duration::from_secs(3)), started);
    assert!(matches!(ran.how, End::TimedOut), "{ran:?}");
    assert_eq!(ran.line().as_deref(), Some("started"), "what it said until then is kept");
    gone(&pids).await;
    timeout(DEADLINE, slots.take()).await.expect("the slot comes back");
}

#[tokio::test]
async fn nothing_is_left_when_nobody_waits_any_more() {
    let folder = TempDir::new().unwrap();
    let (command, file) = stubborn(&folder);
    let slots = Slots::new(1);
    let slot = slots.take().await;
    let pids = tokio::select! {
        ran = command.run(slot, DEADLINE) => panic!("{ran:?}"),
        pids = numbers(&file, 3) => pids,
    };
    gone(&pids).await;
    timeout(DEADLINE, slots.take()).await.expect("the slot comes back");
}

#[tokio::test]
async fn children_that_a_program_leaves_behind_end_with_it_and_do_not_hold_it_up() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pids");
    let command = shell("sleep 3600 & echo $! >>$PIDS; echo done").with_env("PIDS", file.to_str().unwrap());
    let (ran, pids) = tokio::join!(run(&command, 10 * DEADLINE), numbers(&file, 1));
    assert_eq!((code(&ran), ran.line().as_deref()), (0, Some("done")));
    gone(&pids).await;
}

#[tokio::test]
async fn a_program_that_left_the_group_with_its_pipes_does_not_hold_it_up() {
    let ran = run(&shell("setsid sleep 5 & echo done"), 10 * DEADLINE).await;
    assert_eq!((code(&ran), ran.line().as_deref()), (0, Some("done")));
}

#[tokio::test]
async fn slots_bound_how_many_run() {
    let slots = Slots::new(2);
    let (one, two) = (slots.try_take().unwrap(), slots.try_take().unwrap());
    assert!(slots.try_take().is_none());
    assert_eq!(slots.free(), 0);
    drop(one);
    assert_eq!(slots.free(), 1);
    drop(two);
    assert!(matches!(shell("exit 0").run(slots.take().await, DEADLINE).await.how, End::Exited(0)));
    assert_eq!(Slots::new(0).free(), 1);
}
