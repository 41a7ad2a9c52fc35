//! Lines as they are read, and a writer whose file fails in every way.

use std::io::Write;
use std::net::IpAddr;
use std::sync::mpsc;

use serde_json::{Value, json};

use super::*;
use crate::metrics::Metrics;

const PATIENCE: Duration = Duration::from_secs(30);

fn finished<'a>() -> Finished<'a> {
    Finished {
        generation: 7,
        service: "web",
        epoch: 3,
        site: "main",
        origin: Some("web/main/192.0.2.1:80"),
        tries: 2,
        method: "GET",
        host: "www.example.com",
        path: "/a",
        protocol: "HTTP/1.1",
        tls: true,
        client: IpAddr::from([192, 0, 2, 9]),
        request_id: "r1",
        code: 200,
        fault: None,
        duration: Duration::from_micros(12_345),
        connect: None,
        first_byte: Some(Duration::from_millis(12)),
        bytes_received: 5,
        bytes_sent: 11,
        spilled: false,
    }
}

fn metrics() -> AccessLogMetrics {
    Metrics::new().unwrap().access_log.clone()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn line(finished: &Finished<'_>) -> Value {
    let mut out = Vec::new();
    line::write(finished, SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_120), &mut out);
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "one line, whatever is in it");
    assert_eq!(out.last(), Some(&b'\n'));
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn a_line_has_every_field() {
    let expected = json!({
        "time": "2026-09-21T14:13:20.120Z", "client": "192.0.2.9", "tls": true, "protocol": "HTTP/1.1",
        "method": "GET", "host": "www.example.com", "path": "/a", "service": "web", "site": "main",
        "generation": 7, "epoch": 3, "origin": "web/main/192.0.2.1:80", "tries": 2, "spilled": false,
        "code": 200, "bytes_in": 5, "bytes_out": 11, "duration_ms": 12.345, "connect_ms": null,
        "first_byte_ms": 12.0, "request_id": "r1", "fault": null,
    });
    assert_eq!(line(&finished()), expected);
}

#[test]
fn what_is_not_known_is_null_and_what_is_hostile_stays_inside_its_string() {
    let refused = Finished {
        service: "none",
        site: "none",
        origin: None,
        method: "",
        host: "a\"},{\n\u{0}\u{7f}\u{2028}",
        path: "",
        protocol: "",
        request_id: "",
        fault: Some("bad-request"),
        ..finished()
    };
    let line = line(&refused);
    for field in ["service", "site", "origin", "method", "path", "protocol", "request_id"] {
        assert_eq!(line[field], Value::Null, "{field}");
    }
    assert_eq!(line["host"], refused.host);
    assert_eq!(line["fault"], "bad-request");
}

#[test]
fn long_texts_are_cut_between_characters() {
    let long = "ü".repeat(5000);
    assert_eq!(line(&Finished { path: &long, ..finished() })["path"], "ü".repeat(1024));
    let just = "x".repeat(2048);
    assert_eq!(line(&Finished { path: &just, ..finished() })["path"], just.as_str());
}

/// Paths of a log and of the one it is renamed to.
fn paths() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (log, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    (folder, log, old)
}

/// The request ids of a log, all of whose lines must be whole.
fn ids(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line at the end: {text}");
    let id = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        line["request_id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

fn record(log: &AccessLog, id: &str) {
    log.record(&Finished { request_id: id, ..finished() });
}

#[test]
fn lines_are_in_the_file_soon_and_all_of_them_after_the_end() {
    let (_folder, path, _) = paths();
    let log = AccessLog::start(Some(&path), metrics()).unwrap();
    record(&log, "first");
    eventually("the line is written without more to come", || ids(&path) == ["first"]);
    let many: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    many.iter().for_each(|id| record(&log, id));
    assert!(log.finish(PATIENCE));
    assert_eq!(ids(&path)[1..], many);
    record(&log, "too late");
    assert_eq!(ids(&path).len(), 5001);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o640,
        0,
        "nothing for others"
    );
}

#[test]
fn a_log_is_appended_to_and_a_torn_last_line_is_ended() {
    let (_folder, path, _) = paths();
    std::fs::write(&path, "{\"torn\":").unwrap();
    let log = AccessLog::start(Some(&path), metrics()).unwrap();
    record(&log, "a");
    assert!(log.finish(PATIENCE));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().next(), Some("{\"torn\":"));
    assert!(text.lines().nth(1).unwrap().contains("\"request_id\":\"a\""));
}

#[test]
fn a_renamed_log_is_continued_in_a_new_file() {
    let (_folder, path, old) = paths();
    let log = AccessLog::start(Some(&path), metrics()).unwrap();
    record(&log, "a");
    eventually("it is written", || ids(&path) == ["a"]);
    std::fs::rename(&path, &old).unwrap();
    record(&log, "b");
    eventually("the open file is written on", || ids(&old) == ["a", "b"]);
    log.commit(AccessLog::prepare(Some(&path)).unwrap());
    record(&log, "c");
    assert!(log.finish(PATIENCE));
    assert_eq!(ids(&old), ["a", "b"]);
    assert_eq!(ids(&path), ["c"]);
}

#[test]
fn a_log_can_be_turned_on_and_off() {
    let (_folder, path, _) = paths();
    let log = AccessLog::start(None, metrics()).unwrap();
    record(&log, "a");
    log.commit(AccessLog::prepare(Some(&path)).unwrap());
    record(&log, "b");
    eventually("it is written", || ids(&path) == ["b"]);
    log.commit(AccessLog::prepare(None).unwrap());
    record(&log, "c");
    assert!(log.finish(PATIENCE));
    assert_eq!(ids(&path), ["b"]);
}

#[test]
fn a_path_that_cannot_work_is_told_with_its_reason() {
    let (folder, path, _) = paths();
    let missing = folder.path().join("gone").join("access.log");
    assert!(check(&path).is_ok() && !path.exists(), "checking makes nothing");
    assert!(check(&missing).unwrap_err().contains("make that folder"));
    assert!(check(folder.path()).unwrap_err().contains("is a folder"));
    std::fs::write(&path, "").unwrap();
    assert!(check(&path.join("x")).unwrap_err().contains("no folder"));
    let error = AccessLog::prepare(Some(&missing)).map(drop).unwrap_err().to_string();
    assert!(error.contains("gone/access.log"), "{error}");
}

/// Takes what it is told to, and then fails as it is told to.
struct Disk {
    room: mpsc::Receiver<Step>,
    left: usize,
    file: std::fs::File,
}

enum Step {
    /// So many bytes fit, then it is full.
    Room(usize),
    /// The next write blocks until there is another step.
    Block,
    Broken,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while let Ok(step) = self.room.try_recv() {
            match step {
                Step::Room(more) => self.left += more,
                Step::Block => match self.room.recv() {
                    Ok(Step::Room(more)) => self.left += more,
                    _ => return Err(io::ErrorKind::BrokenPipe.into()),
                },
                Step::Broken => return Err(io::ErrorKind::Other.into()),
            }
        }
        let length = bytes.len().min(self.left);
        if length == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.left -= length;
        self.file.write(&bytes[..length])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A log on such a disk.
fn on_disk(path: &Path) -> (AccessLog, AccessLogMetrics, mpsc::Sender<Step>) {
    let (steps, room) = mpsc::channel();
    let disk = Disk { room, left: 0, file: std::fs::File::create(path).unwrap() };
    let metrics = metrics();
    let opened = Opened { path: path.to_owned(), sink: Some(Box::new(disk)), is_new: false };
    (AccessLog::start_with(Prepared(Some(opened)), metrics.clone()).unwrap(), metrics, steps)
}

#[test]
fn a_full_disk_loses_no_line_while_there_is_room_in_memory_and_tears_none() {
    let (_folder, path, _) = paths();
    let (log, metrics, steps) = on_disk(&path);
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    expected.iter().for_each(|id| record(&log, id));
    eventually("the alarm is raised", || metrics.failing.get() == 1);
    // Room for a part of a line, again and again.
    for _ in 0..7 {
        steps.send(Step::Room(333)).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        eventually("the room is used", || std::fs::metadata(&path).unwrap().len() > length);
    }
    steps.send(Step::Room(1 << 20)).unwrap();
    eventually("all is there", || std::fs::read_to_string(&path).unwrap().lines().count() == 20);
    assert_eq!(ids(&path), expected);
    eventually("the alarm is called off", || metrics.failing.get() == 0);
    assert_eq!((metrics.dropped_failing.get(), metrics.dropped_slow.get()), (0, 0));
    assert!(log.finish(PATIENCE));
}

#[test]
fn lines_beyond_the_buffer_are_counted_and_those_within_it_are_kept() {
    let (_folder, path, _) = paths();
    let (log, metrics, steps) = on_disk(&path);
    record(&log, "first");
    eventually("the alarm is raised", || metrics.failing.get() == 1);
    let mut sent = 1;
    while metrics.dropped_failing.get() < 10 {
        assert!(sent < 100_000, "the buffer has no end");
        record(&log, "more");
        sent += 1;
    }
    steps.send(Step::Room(usize::MAX >> 1)).unwrap();
    assert!(log.finish(PATIENCE));
    assert_eq!(ids(&path).len() as u64 + metrics.dropped_failing.get(), sent);
    assert_eq!(ids(&path)[0], "first");
}

#[test]
fn a_stuck_disk_blocks_nobody_and_the_end_is_bounded() {
    let (_folder, path, _) = paths();
    let (log, metrics, steps) = on_disk(&path);
    steps.send(Step::Block).unwrap();
    record(&log, "first");
    let mut sent = 1_u64;
    while metrics.dropped_slow.get() + metrics.dropped_failing.get() == 0 {
        assert!(sent < 100_000, "the buffer has no end");
        record(&log, "more");
        sent += 1;
    }
    assert!(!log.finish(Duration::from_millis(50)), "it is still stuck");
    steps.send(Step::Room(usize::MAX >> 1)).unwrap();
    eventually("the rest is written once it can be", || ids_so_far(&path) as u64 + 1 == sent);
}

fn ids_so_far(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn a_broken_file_is_opened_anew_and_goes_on_with_a_whole_line() {
    let (_folder, path, _) = paths();
    let (log, metrics, steps) = on_disk(&path);
    steps.send(Step::Room(50)).unwrap();
    record(&log, "torn");
    record(&log, "whole");
    eventually("the disk is full", || metrics.failing.get() == 1);
    steps.send(Step::Broken).unwrap();
    eventually("it goes on in the file", || ids_so_far(&path) == 2);
    let text = std::fs::read_to_string(&path).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["request_id"], "whole");
    assert_eq!(metrics.dropped_failing.get(), 1, "the torn line counts as lost");
    assert!(log.finish(PATIENCE));
}

#[test]
fn a_pipe_without_a_reader_is_an_alarm_and_one_that_comes_later_reads() {
    let (_folder, path, _) = paths();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let metrics = metrics();
    let log = AccessLog::start(Some(&path), metrics.clone()).unwrap();
    record(&log, "a");
    eventually("the alarm is raised", || metrics.failing.get() == 1);
    let reading = path.clone();
    let reader = std::thread::spawn(move || {
        use std::io::BufRead as _;
        let mut line = String::new();
        io::BufReader::new(std::fs::File::open(reading).unwrap()).read_line(&mut line).unwrap();
        line
    });
    assert!(reader.join().unwrap().contains("\"request_id\":\"a\""));
    drop(log);
}
