//! What testssl.sh says of the listeners for TLS: nothing worse than LOW.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::scene::{HOST, Scene, Script, text};
use crate::secure::Secure;

/// The scans take half a minute of CPU each, most of which goes into starting programs.
const PATIENCE: Duration = Duration::from_secs(600);

/// Findings that are not about the daemon, each with the reason.
const EXPECTED: [(&str, &str); 6] = [
    ("engine_problem", "the OpenSSL of the machine that scans has no GOST"),
    ("cert_chain_of_trust", "the test made the certificate"),
    ("cert_revocation", "nobody could revoke it"),
    ("security_headers", "an origin's answers are its own"),
    (
        "sessionresumption_ticket",
        "says whether sessions resume, if the program does not leave before the ticket has come",
    ),
    ("service", "DNS is no service that the program knows"),
];

/// Protocols, ciphers, forward secrecy, the certificate, and whose preference counts.
const SETTINGS: [&str; 5] = ["-p", "-s", "-f", "-S", "-P"];

/// All findings of these checks.
async fn scan(scene: &Scene, target: &str, checks: &[&str]) -> Vec<Value> {
    let file = scene.path(&format!("{}.json", target.replace(['/', ':'], "_")));
    let child = Command::new("testssl")
        .args(["--ip", "127.0.0.1", "--nodns", "none", "--quiet", "--color", "0", "--warnings", "batch"])
        .args(checks)
        .arg("--jsonfile")
        .arg(&file)
        .arg(target)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("testssl runs: install the package testssl.sh");
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let said = text(&output.expect("it ends in time").expect("its output can be read").stdout);
    let findings = std::fs::read(&file).unwrap_or_else(|error| panic!("no findings, {error}:\n{said}"));
    serde_json::from_slice(&findings).unwrap_or_else(|error| panic!("{error}:\n{said}"))
}

/// Fails for what is worse than LOW, for what says that the scan did not work, and for a scan that saw no TLS.
fn judge(name: &str, findings: &[Value], also: &[&str]) {
    let of = |id: &str| {
        let finding = findings.iter().find(|finding| finding["id"] == id);
        finding.unwrap_or_else(|| panic!("{name}: nothing about {id}"))["finding"]
            .as_str()
            .unwrap_or_default()
    };
    for version in ["TLS1_2", "TLS1_3"] {
        assert!(of(version).starts_with("offered"), "{name}: {version} is {}", of(version));
    }
    for version in ["SSLv2", "SSLv3", "TLS1", "TLS1_1"] {
        assert_eq!(of(version), "not offered", "{name}: {version}");
    }
    // One of each kind of check, so that none is left out silently.
    for id in ["cipherlist_NULL", "PFS", "cipher_order", "cert_keySize"].iter().chain(also) {
        of(id);
    }
    let worse: Vec<_> = findings
        .iter()
        .filter(|finding| !["OK", "INFO", "LOW"].iter().any(|severity| finding["severity"] == *severity))
        .filter(|finding| !EXPECTED.iter().any(|(id, _)| finding["id"] == *id))
        .map(|finding| format!("{} {}: {}", finding["severity"], finding["id"], finding["finding"]))
        .collect();
    assert!(worse.is_empty(), "{name}: {worse:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn testssl_finds_nothing_worse_than_low() {
    let script = Script {
        sites: vec![("main", 1)],
        service: "hsts = { max_age = \"365d\" }\ncheck = { path = \"/health\", interval = \"200ms\", fast_interval = \"50ms\", timeout = \"1s\", fall = 2, rise = 2 }\n",
        ..Script::default()
    };
    let mut scene = Scene::set(script).await;
    let secure = Secure::add_to(&scene);
    scene.start_daemon().await;
    scene.wait_ready().await;
    let https = format!("https://{HOST}:{}", secure.https.port());
    let dot = format!("{HOST}:{}", secure.dot.port());
    // What the library could do wrong is asked once; how it is set up, of each listener.
    let all = [&SETTINGS[..], &["-h", "-U"]].concat();
    let (https, dot) = tokio::join!(scan(&scene, &https, &all), scan(&scene, &dot, &SETTINGS),);
    judge("HTTPS", &https, &["heartbleed", "CCS", "ROBOT", "secure_client_renego", "HSTS_time"]);
    judge("DNS over TLS", &dot, &[]);
}
