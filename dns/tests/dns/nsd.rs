//! The question table held against NSD's answers for the same zones.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Seen, Server, ZONES, ask_tcp, ask_udp, ask_udp_for, question, table_view};
use crate::questions;

/// NSD on a free port of loopback, until dropped.
struct Nsd {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nsd {
    fn start() -> Self {
        let binary = binary();
        // The port is free when it is picked and could be taken before NSD binds it; then NSD ends, and the next is tried.
        for _ in 0..5 {
            if let Some(nsd) = Self::try_start(&binary) {
                return nsd;
            }
        }
        panic!("NSD does not start; run it by hand to see why: {} -d -c nsd.conf", binary.display());
    }

    fn try_start(binary: &Path) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let address = free_port();
        let path = folder.path().display();
        let mut config = format!(
            "server:\n server-count: 1\n ip-address: {}@{}\n username: \"\"\n zonesdir: \"{path}\"\n pidfile: \"{path}/pid\"\n \
             xfrdfile: \"{path}/xfrd\"\n zonelistfile: \"{path}/list\"\n database: \"\"\n rrl-ratelimit: 0\n \
             ipv4-edns-size: 1232\nremote-control:\n control-enable: no\n",
            address.ip(),
            address.port()
        );
        for (origin, text) in ZONES {
            fs::write(folder.path().join(origin), text).unwrap();
            config += &format!("zone:\n name: {origin}\n zonefile: {origin}\n");
        }
        let config_path = folder.path().join("nsd.conf");
        fs::write(&config_path, config).unwrap();
        let child = Command::new(binary)
            .arg("-d")
            .arg("-c")
            .arg(&config_path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} can't be run: {error}", binary.display()));
        let mut nsd = Self { child, address, _folder: folder };
        nsd.is_up().then_some(nsd)
    }

    fn is_up(&mut self) -> bool {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            let query = question("example.test SOA");
            if ask_udp_for(self.address, &query, Duration::from_millis(100))
                .is_some_and(|bytes| bytes[3] & 15 == 0)
            {
                return true;
            }
        }
        false
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // Asked to end rather than killed, because only then it ends its own children.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join("nsd"))
        .find(|file| file.is_file())
        .expect("this test compares with NSD, which is not installed: install the package `nsd`")
}

fn free_port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// Where our answers differ on purpose: the question as in the table, over which transports, and why. What ours are is in
/// the snapshot of `questions`.
const DIFFERENCES: &[(&str, &[&str], &str)] = &[
    ("tohosted.example.test A", BOTH, ALIAS_STAYS),
    ("back.other.test A", BOTH, ALIAS_STAYS),
    (
        "fat.example.test A",
        UDP,
        "RFC 9471: TC when in-domain glue doesn't fit; NSD 4.6 sends part of it as if it were all",
    ),
    ("many.example.test MX", UDP, "NSD's courtesy NS records leave less room for addresses"),
    ("example.test AXFR", UDP, NO_TRANSFERS),
    ("nothing.example.test AXFR", BOTH, NO_TRANSFERS),
    ("www.example.test A class=255", BOTH, "class ANY asks for more than one class; only IN is served"),
    ("www.example.test A extra=3", BOTH, "bytes after the message are a malformed message; NSD looks away"),
    ("www.example.test A questions=0", TCP, "NSD closes the connection; the asker deserves to hear why"),
    ("www.example.test A opts=2", BOTH, QUESTION_ECHOED),
    ("www.example.test A edns=1232 cut=2", BOTH, QUESTION_ECHOED),
    ("www.example.test A opcode=2", BOTH, QUESTION_ECHOED),
    ("www.example.test A opcode=6", BOTH, QUESTION_ECHOED),
    ("www.example.test A opcode=15 edns=1232", BOTH, QUESTION_ECHOED),
];

const UDP: &[&str] = &["UDP"];
const TCP: &[&str] = &["TCP"];
const BOTH: &[&str] = &["UDP", "TCP"];
const ALIAS_STAYS: &str =
    "an alias is followed within its zone only: resolvers don't believe one zone about another";
const NO_TRANSFERS: &str = "zone transfers are refused whatever the name and transport";
const QUESTION_ECHOED: &str =
    "an error repeats the question where it could be read, so that the asker can match it";

/// NSD adds the zone's own NS records and their addresses to positive answers. No resolver needs them there and they make
/// answers larger, so we don't; what of them we don't send is taken off before comparing.
fn without_courtesy(mut theirs: Seen, ours: Option<&Seen>) -> Seen {
    if !theirs.flags.starts_with("aa") || theirs.answer.is_empty() {
        return theirs;
    }
    let apexes = ZONES.map(|(origin, _)| format!("{origin}. "));
    let is_courtesy =
        |record: &String| apexes.iter().any(|apex| record.starts_with(apex) && record.contains(" NS "));
    let hosts: Vec<String> = theirs
        .authority
        .iter()
        .filter(|record| is_courtesy(record))
        .filter_map(|record| record.split(' ').next_back().map(|host| format!("{host} ")))
        .collect();
    theirs
        .authority
        .retain(|record| !is_courtesy(record) || ours.is_some_and(|ours| ours.authority.contains(record)));
    theirs.additional.retain(|record| {
        !hosts.iter().any(|host| record.starts_with(host.as_str()))
            || ours.is_some_and(|ours| ours.additional.contains(record))
    });
    theirs
}

#[test]
fn dns_questions_match_nsd() {
    let nsd = Nsd::start();
    let server = Server::start(table_view());
    let mut compared = 0;
    let mut wrong = String::new();
    for line in questions::lines() {
        let query = question(line);
        for (transport, ask) in [("UDP", ask_udp as fn(_, &_) -> _), ("TCP", ask_tcp)] {
            let ours = ask(server.address, &query).map(|bytes| Seen::decode(&query, &bytes));
            let theirs = ask(nsd.address, &query).map(|bytes| Seen::decode(&query, &bytes));
            let theirs = theirs.map(|theirs| without_courtesy(theirs, ours.as_ref()));
            compared += 1;
            let on_purpose = DIFFERENCES
                .iter()
                .find(|(other, transports, _)| *other == line && transports.contains(&transport))
                .map(|(.., reason)| *reason);
            let show = |seen: &Option<Seen>| seen.as_ref().map_or("  silence\n".into(), Seen::render);
            match on_purpose {
                None if ours != theirs => {
                    wrong += &format!(
                        "{line} over {transport}\n ours:\n{} NSD's:\n{}",
                        show(&ours),
                        show(&theirs)
                    );
                }
                Some(reason) if ours == theirs => {
                    wrong +=
                        &format!("{line} over {transport} is equal, but listed as different: {reason}\n");
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(compared >= 200, "only {compared} answers were compared");
}
