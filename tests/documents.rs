//! What the documents show must work as it stands, and what wakes people must be in the page for people who were woken.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tidegate_dns::DropReason;
use tidegate_health::event::{EventKind, Severity};
use tidegate_health::status::Condition;
use tidegate_proxy::{HandshakeFault, RefusedFor, RetryReason, SignalKind};

const ZONE: &str = "@ 60 IN SOA ns1 hostmaster 1 3600 600 86400 60\n@ 60 IN NS ns1\nns1 60 IN A 192.0.2.53\n";
/// A loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The README and every document beside it.
fn documents() -> Vec<PathBuf> {
    let mut documents = vec![root().join("README.md")];
    let docs = std::fs::read_dir(root().join("docs")).expect("there are documents");
    let markdown = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    documents.extend(docs.map(|entry| entry.expect("a document").path()).filter(markdown));
    documents
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(&format!("```{language}\n")) {
        let (block, after) = after.split_once("```").expect("a fence is closed");
        blocks.push(block.to_owned());
        rest = after;
    }
    blocks
}

/// A configuration that a reader copies must work as it stands, and a piece of one together with the whole before it.
#[test]
fn configurations_in_the_documents_pass_the_check() {
    let (mut whole, mut pieces) = (0, 0);
    for document in &documents() {
        let text = std::fs::read_to_string(document).expect("a document is text");
        let mut before = None;
        for block in blocks(&text, "toml") {
            let table: toml::Table = block.parse().expect("a configuration is TOML");
            let config = if table.contains_key("state_dir") {
                whole += 1;
                before = Some(table);
                block
            } else {
                pieces += 1;
                let mut both = before.clone().expect("a piece follows a whole configuration");
                merge(&mut both, table);
                both.to_string()
            };
            let folder = tempfile::tempdir().expect("a folder");
            write_certificates(folder.path(), "app.example.com");
            for line in config.lines().filter_map(|line| line.trim().strip_prefix("file = \"")) {
                let name = line.split('"').next().expect("the name ends");
                std::fs::write(folder.path().join(name), ZONE).expect("a zone file");
            }
            let path = folder.path().join("tidegate.toml");
            std::fs::write(&path, &config).expect("a configuration");
            let output = tidegate(&path, &["check"]);
            assert!(output.status.success(), "{}:\n{config}\n{}", document.display(), said(&output));
        }
    }
    assert!(whole > 1 && pieces > 0, "the README and the tutorial show configurations");
}

/// Adds what a piece says to a whole.
fn merge(whole: &mut toml::Table, piece: toml::Table) {
    for (key, value) in piece {
        match (whole.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(more)) => merge(inner, more),
            (_, value) => drop(whole.insert(key, value)),
        }
    }
}

/// The files that the documents' configurations name below `tls/`, for this domain and one label before it.
fn write_certificates(folder: &Path, domain: &str) {
    let names = vec![domain.to_owned(), format!("*.{domain}")];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let tls = folder.join("tls");
    std::fs::create_dir(&tls).expect("a folder");
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    for (name, text) in [
        (format!("{domain}.pem"), &cert),
        (format!("{domain}.key"), &key),
        ("origins-ca.pem".to_owned(), &cert),
    ] {
        std::fs::write(tls.join(&name), text).expect("a file");
        let mode = std::fs::Permissions::from_mode(if name.ends_with(".key") { 0o600 } else { 0o644 });
        std::fs::set_permissions(tls.join(&name), mode).expect("its owner may say so");
    }
}

/// The example is for real people: it must load whole, and warn of nothing but what it says itself.
#[test]
fn the_example_configuration_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["tidegate.toml", "example.com.zone"] {
        let text = read(&format!("deploy/examples/{name}"));
        // The package makes the folder of the log; it isn't on every machine that runs tests.
        let text = text.replace("\"/var/log/tidegate/", "\"");
        std::fs::write(folder.path().join(name), text).expect("a copy");
    }
    write_certificates(folder.path(), "example.com");
    let output = tidegate(&folder.path().join("tidegate.toml"), &["check", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the check prints JSON");
    let messages: BTreeSet<_> = found["findings"]
        .as_array()
        .expect("findings are a list")
        .iter()
        .map(|finding| finding["message"].as_str().expect("a finding says something"))
        .collect();
    let expected = [
        "the group shares data and has no fence: it never switches by itself",
        "`example.com` has only one name server",
    ];
    assert_eq!(messages, BTreeSet::from(expected));
}

/// The commands that are shown, in their order, against a daemon that runs on the tutorial's configuration.
#[test]
fn the_commands_of_the_documents_work() {
    let text = read("docs/first-hour.md");
    let config = blocks(&text, "toml").into_iter().find(|block| block.contains("state_dir"));
    let zones = blocks(&text, "zone");
    let zone = zones.iter().find(|block| block.contains("SOA")).expect("the tutorial shows its zone");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("app.example.com.zone"), zone).expect("a zone file");
    let path = folder.path().join("tidegate.toml");
    let config = on_loopback(&config.expect("the tutorial shows a configuration"), folder.path());
    std::fs::write(&path, config).expect("a configuration");
    let daemon = Daemon::start(&path);

    for document in ["README.md", "docs/first-hour.md", "docs/three-in-the-morning.md"] {
        let shown = blocks(&read(document), "sh").concat();
        let commands = shown.lines().map(str::trim_start);
        let commands = commands.map(|line| line.strip_prefix("sudo ").unwrap_or(line));
        // Those that run until they are stopped are not for a test of the others.
        let commands: Vec<_> = commands
            .filter(|line| line.starts_with("tidegate ") && !line.starts_with("tidegate run"))
            .collect();
        assert!(commands.len() > 1, "{document} shows commands");
        for command in commands {
            let output = daemon.shell(command);
            assert!(output.status.success(), "{document}: {command}\n{}", said(&output));
        }
    }
}

/// The tutorial's configuration with the addresses of one machine; what it says of groups and names stays.
fn on_loopback(config: &str, folder: &Path) -> String {
    let mut table: toml::Table = config.parse().expect("the tutorial's configuration is TOML");
    table.insert("state_dir".to_owned(), folder.join("state").display().to_string().into());
    let anywhere = vec![toml::Value::from("127.0.0.1:0")];
    let listen = table["listen"].as_table_mut().expect("a table");
    *listen = toml::Table::from_iter([
        ("http".to_owned(), anywhere.clone().into()),
        ("dns".to_owned(), anywhere.into()),
    ]);
    let origins = table["service"]["web"]["origins"].as_table_mut().expect("origins by site");
    for origin in origins.iter_mut().flat_map(|(_, listed)| listed.as_array_mut().expect("a list")) {
        origin["url"] = format!("http://{}", healthy()).into();
    }
    table.to_string()
}

/// An origin that passes every check until the test ends.
fn healthy() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            // A check that went away needs no answer.
            if stream.read(&mut request).is_ok_and(|read| read > 0) {
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        }
    });
    address
}

struct Daemon<'a> {
    child: Child,
    config: &'a Path,
}

impl<'a> Daemon<'a> {
    /// Starts it and waits until its group has a place.
    fn start(config: &'a Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["run", "--config"]).arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = Self { child: command.spawn().expect("the daemon starts"), config };
        let end = Instant::now() + PATIENCE;
        loop {
            let output = daemon.shell("tidegate status --json");
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if status["groups"][0]["active"] == "main" {
                return daemon;
            }
            assert!(Instant::now() < end, "the group has no place:\n{}", said(&output));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A line as a reader types it.
    fn shell(&self, line: &str) -> Output {
        let folder = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().expect("a folder").display();
        let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("PATH", path).env("TIDEGATE_CONFIG", self.config);
        command.current_dir(self.config.parent().expect("it lies in a folder"));
        command.output().expect("a shell runs")
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // It may have ended by itself, which a command has shown then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tidegate(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).arg("--config").arg(config).output().expect("the command runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whoever was woken by a word finds it in the page for those who were woken.
#[test]
fn every_reason_and_alarm_is_in_the_page_for_three_in_the_morning() {
    let page = read("docs/three-in-the-morning.md");
    // What stops a move, what is in a site's way, and why the proxy answers by itself.
    let mut words = labels(&read("health/src/explain/stops.rs"));
    words.extend(labels(&read("health/src/fit.rs")));
    let refusals = read("proxy/src/page.rs");
    words.extend(refusals.split("refusal(").filter_map(|call| labels(call.split(';').next()?).pop_first()));
    words.extend(Condition::ALL.map(|condition| condition.slug().to_owned()));
    for word in ["latched", "not-proven", "origins-down", "no-origin", "no-http2", "head-too-large"] {
        assert!(words.contains(word), "`{word}` is found in the code: {words:?}");
    }
    // What is done on purpose wants nobody, and what is over neither.
    let alarming = EventKind::ALL.into_iter().filter(|kind| kind.severity() >= Severity::Warning);
    words.extend(alarming.map(|kind| kind.label().to_owned()));
    let missing: Vec<_> = words.iter().filter(|word| !page.contains(word.as_str())).collect();
    assert!(missing.is_empty(), "the page says nothing of {missing:?}");
    // What the access log says of a failed request, and the metrics of what came to nothing. Some are ordinary words.
    let mut words = faults();
    words.extend(DropReason::ALL.map(|reason| reason.as_str().to_owned()));
    words.extend(RefusedFor::ALL.map(|reason| reason.as_str().to_owned()));
    words.extend(HandshakeFault::ALL.map(|fault| fault.as_str().to_owned()));
    words.extend(
        [RetryReason::Connect, RetryReason::Died, RetryReason::Stale]
            .map(|reason| reason.as_str().to_owned()),
    );
    let missing: Vec<_> = words.iter().filter(|word| !page.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "the page says nothing of {missing:?}");
    // What an alarm calls itself is what the woken look for.
    let rules = read("deploy/prometheus/tidegate.rules.yml");
    let alarms: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!alarms.is_empty(), "there are alarms");
    let missing: Vec<_> = alarms.iter().filter(|alarm| !page.contains(&format!("`{alarm}`"))).collect();
    assert!(missing.is_empty(), "the page says nothing of {missing:?}");
}

/// The words for which a request may have failed that are not those of the proxy's own pages.
fn faults() -> BTreeSet<String> {
    let within = |path: &str, function: &str| {
        let source = read(path);
        let (_, body) = source.split_once(function).unwrap_or_else(|| panic!("{path} has no {function}"));
        labels(body.split("\n}\n").next().unwrap_or_default())
    };
    let mut words = within("proxy/src/forward/fault.rs", "fn as_str(self)");
    words.extend(within("proxy/src/forward/relay.rs", "fn broken_off("));
    words.extend(within("proxy/src/forward/mod.rs", "fn stopped("));
    for word in ["turned-away", "bad-target", "local", "answer-cut", "answer-stalled", "stopped"] {
        assert!(words.contains(word), "`{word}` is found in the code: {words:?}");
    }
    words.extend(
        [SignalKind::Refused, SignalKind::ConnectTimeout, SignalKind::Status5xx]
            .map(|kind| kind.as_str().to_owned()),
    );
    words
}

/// Whoever reads the access log finds every field of it, in its order, and whether it may be null.
#[test]
fn every_field_of_the_access_log_is_described() {
    let source = read("src/access_log/line.rs");
    let (_, fields) = source.split_once("struct Line<'a> {\n").expect("a line is a struct");
    let (fields, _) = fields.split_once("\n}").expect("the struct ends");
    let fields: Vec<(&str, bool)> = fields
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "))
        .filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .map(|(name, shape)| (name, shape.starts_with("Option<")))
        .collect();
    assert!(fields.len() > 20 && fields.contains(&("fault", true)), "{fields:?}");
    let page = read("docs/access-log.md");
    let described: Vec<(&str, bool)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "))
        .map(|(name, rest)| (name, !rest.rsplit(" | ").next().unwrap_or_default().starts_with("never")))
        .collect();
    assert_eq!(described, fields);
    let example = blocks(&page, "json").pop().expect("the page shows a line");
    let example: serde_json::Value = serde_json::from_str(&example).expect("a line is JSON");
    let shown: BTreeSet<_> = example.as_object().expect("of fields").keys().map(String::as_str).collect();
    assert_eq!(shown, fields.iter().map(|(name, _)| *name).collect());
}

/// Whoever reads messages by a program finds every field, in its order, and every kind with its severity.
#[test]
fn every_field_and_kind_of_a_notification_is_described() {
    let source = read("src/notify/message.rs");
    let (_, fields) = source.split_once("struct Body<'a> {\n").expect("a body is a struct");
    let (fields, _) = fields.split_once("\n}").expect("the struct ends");
    let fields: Vec<(&str, bool)> = fields
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "))
        .map(|(name, shape)| (name, shape.starts_with("Option<")))
        .collect();
    assert!(fields.len() > 15 && fields.contains(&("group", true)), "{fields:?}");
    let page = read("docs/notifications.md");
    let rows =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
    let rows: Vec<_> = rows.collect();
    let described: Vec<(&str, bool)> = rows
        .iter()
        .filter(|(name, _)| !Severity::ALL.iter().any(|severity| severity.label() == *name))
        .map(|(name, rest)| (*name, !rest.ends_with("| never")))
        .collect();
    assert_eq!(described, fields);
    let example = blocks(&page, "json").pop().expect("the page shows a message");
    let example: serde_json::Value = serde_json::from_str(&example).expect("a message is JSON");
    let shown: BTreeSet<_> = example.as_object().expect("of fields").keys().map(String::as_str).collect();
    assert_eq!(shown, fields.iter().map(|(name, _)| *name).collect());
    for kind in EventKind::ALL {
        let of_it = rows.iter().find(|(name, _)| *name == kind.severity().label());
        let (_, row) = of_it.expect("each severity has a row");
        assert!(
            row.contains(&format!("`{}`", kind.label())),
            "`{}` is not in the row of its severity",
            kind.label()
        );
    }
}

/// Whoever asks what abuse is bounded by finds every bound, with its default.
#[test]
fn every_limit_is_in_the_security_model() {
    let page = read("docs/security.md");
    let sections = tidegate_config::reference();
    let limits = sections.iter().find(|section| section.table == "limits").expect("there are limits");
    for key in limits.keys {
        let row =
            page.lines().find(|line| line.starts_with('|') && line.contains(&format!("| `{}` |", key.name)));
        let row = row.unwrap_or_else(|| panic!("`{}` is not in the table of bounds", key.name));
        let (_, default) = key.about.iter().find_map(|line| line.split_once("Default ")).unwrap_or_default();
        let number: String =
            default.trim_start_matches(['`', '"']).chars().take_while(char::is_ascii_digit).collect();
        let said = if number.is_empty() { "none" } else { &number };
        assert!(row.contains(&format!("| {said} ")), "{row}: its default is {said}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut followed = 0;
    for document in &documents() {
        let text = std::fs::read_to_string(document).expect("a document is text");
        let links = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        for link in links.filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = document.parent().expect("a document lies in a folder");
            let target = if path.is_empty() { document.clone() } else { folder.join(path) };
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).expect("a document is text");
                let found = text.lines().any(|line| line.starts_with('#') && self::anchor(line) == anchor);
                assert!(found, "{}: {link} is no heading", document.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 10, "documents link to each other");
}

/// The anchor that renderers of Markdown make of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.map(|char| if char == ' ' { '-' } else { char }).collect()
}

/// The string literals of a source that are labels: lower-case words with hyphens between them.
fn labels(source: &str) -> BTreeSet<String> {
    let is_label = |text: &&str| {
        text.len() > 2
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    source.split('"').skip(1).step_by(2).filter(is_label).map(str::to_owned).collect()
}
