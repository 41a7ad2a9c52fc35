//! What is deployed beside the daemon speaks of metrics that the daemon has: alerts and the dashboard.
//!
//! A query that names a metric or a label which does not exist is not an error for Prometheus: it is an alert that
//! never comes. So every query is taken apart here and held against the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tidegate::metrics::{HeldBack, Metrics};
use tidegate_dns::DropReason;
use tidegate_health::durable::SwitchKind;
use tidegate_health::status::Condition;
use tidegate_proxy::{HandshakeFault, RefusedFor};

/// What PromQL itself knows; any other word of a query is a metric or a label.
const FUNCTIONS: [&str; 17] = [
    "absent",
    "and",
    "bool",
    "bottomk",
    "by",
    "changes",
    "count",
    "histogram_quantile",
    "increase",
    "max",
    "on",
    "or",
    "rate",
    "sum",
    "time",
    "unless",
    "without",
];
/// Prometheus adds these to every series.
const ADDED: [&str; 2] = ["job", "instance"];

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// Names and labels of every series that a scrape may have.
fn registry() -> BTreeMap<String, BTreeSet<String>> {
    let mut known = BTreeMap::from([("up".to_owned(), BTreeSet::new())]);
    for metric in Metrics::new().expect("the metrics register").described() {
        let labels: BTreeSet<String> = metric.labels.into_iter().collect();
        if metric.kind == "histogram" {
            known.insert(format!("{}_sum", metric.name), labels.clone());
            known.insert(format!("{}_count", metric.name), labels.clone());
            let labels = labels.into_iter().chain(["le".to_owned()]).collect();
            known.insert(format!("{}_bucket", metric.name), labels);
        } else {
            known.insert(metric.name, labels);
        }
    }
    known
}

/// A query, taken apart just enough.
#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

fn tokens(query: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = query.chars().peekable();
    while let Some(&next) = rest.peek() {
        let mut take_while = |wanted: &dyn Fn(char) -> bool| {
            let mut taken = String::new();
            while let Some(character) = rest.next_if(|character| wanted(*character)) {
                taken.push(character);
            }
            taken
        };
        if next.is_ascii_alphabetic() || next == '_' {
            tokens.push(Token::Word(take_while(&|character| {
                character.is_ascii_alphanumeric() || character == '_'
            })));
        } else if next.is_ascii_digit() {
            take_while(&|character| character.is_ascii_alphanumeric() || character == '.');
        } else if next == '$' {
            rest.next();
            while rest.next_if(|character| character.is_ascii_alphanumeric() || *character == '_').is_some() {
            }
        } else if next == '"' {
            rest.next();
            let text = rest.by_ref().take_while(|character| *character != '"').collect();
            tokens.push(Token::Text(text));
        } else {
            rest.next();
            if !next.is_whitespace() {
                tokens.push(Token::Sign(next));
            }
        }
    }
    tokens
}

/// Everything in a query that would never match anything.
fn faults(query: &str, known: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let tokens = tokens(query);
    let mut faults = Vec::new();
    let (mut metric, mut depth, mut named) = (String::new(), None, BTreeSet::new());
    for (position, token) in tokens.iter().enumerate() {
        let before = position.checked_sub(1).map(|before| &tokens[before]);
        match token {
            Token::Sign('{') => depth = Some('{'),
            Token::Sign('(') if is_grouping(before) => depth = Some('('),
            Token::Sign('}' | ')') => depth = None,
            Token::Word(label) if depth == Some('{') => {
                let own = known.get(&metric).is_some_and(|labels| labels.contains(label));
                if !own && !ADDED.contains(&&**label) {
                    faults.push(format!("{metric} has no label {label}"));
                }
                // After one or two signs: `=`, `!=`, `=~`, `!~`.
                let value = tokens[position + 1..].iter().take(3).find_map(|token| match token {
                    Token::Text(value) => Some(value),
                    _ => None,
                });
                faults.extend(value.and_then(|value| value_fault(&metric, label, value)));
            }
            Token::Word(label) if depth == Some('(') => {
                named.insert(label.clone());
            }
            Token::Word(word) if FUNCTIONS.contains(&&**word) => {}
            Token::Word(word) if known.contains_key(word) => metric.clone_from(word),
            Token::Word(word) => faults.push(format!("there is no metric {word}")),
            Token::Text(_) | Token::Sign(_) => {}
        }
    }
    // A grouping may name what any metric of the query has.
    let used =
        tokens.iter().filter_map(|token| if let Token::Word(word) = token { known.get(word) } else { None });
    let labels: BTreeSet<&str> = used.flatten().map(String::as_str).chain(ADDED).collect();
    let strange = named.iter().filter(|label| !labels.contains(&***label));
    faults.extend(strange.map(|label| format!("no metric of it has a label {label}")));
    faults
}

fn is_grouping(before: Option<&Token>) -> bool {
    matches!(before, Some(Token::Word(word)) if ["by", "without", "on"].contains(&&**word))
}

/// Values out of fixed sets.
fn value_fault(metric: &str, label: &str, value: &str) -> Option<String> {
    let values: Vec<&str> = match (metric, label) {
        (_, "condition") => Condition::ALL.iter().map(|condition| condition.slug()).collect(),
        (_, "kind") => SwitchKind::ALL.iter().map(|kind| kind.label()).collect(),
        ("tidegate_gate", "verdict") => ["pass", "fail", "unknown"].to_vec(),
        ("tidegate_witnesses", "state") => ["reached", "lost", "unknown"].to_vec(),
        ("tidegate_dns_dropped_total", "reason") => DropReason::ALL.map(DropReason::as_str).to_vec(),
        ("tidegate_client_connections_refused_total", "reason") => {
            RefusedFor::ALL.map(RefusedFor::as_str).to_vec()
        }
        ("tidegate_heartbeats_held_back_total", "reason") => HeldBack::ALL.map(HeldBack::as_str).to_vec(),
        ("tidegate_tls_handshakes_failed_total", "reason") => {
            HandshakeFault::ALL.map(HandshakeFault::as_str).to_vec()
        }
        _ => return None,
    };
    let strange = value.split('|').find(|one| !values.contains(one))?;
    Some(format!("{label} is never {strange}"))
}

struct Alert {
    name: String,
    query: String,
    text: String,
}

/// The alerts of the rules' file, which has an expression on one line each.
fn alerts() -> Vec<Alert> {
    let rules = read("prometheus/tidegate.rules.yml");
    let alerts: Vec<_> = rules
        .split("      - alert: ")
        .skip(1)
        .map(|text| {
            let line = |key: &str| {
                let found = text.lines().find_map(|line| line.trim_start().strip_prefix(key));
                found.unwrap_or_else(|| panic!("no {key} in:\n{text}")).to_owned()
            };
            Alert {
                name: text.lines().next().unwrap_or_default().to_owned(),
                query: line("expr: "),
                text: text.to_owned(),
            }
        })
        .collect();
    assert!(alerts.len() > 20, "the file is read");
    alerts
}

#[test]
fn every_alert_asks_for_metrics_and_labels_that_exist() {
    let known = registry();
    let found: Vec<_> = alerts()
        .iter()
        .flat_map(|alert| {
            faults(&alert.query, &known).into_iter().map(|fault| format!("{}: {fault}", alert.name))
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_type_next() {
    for Alert { name, text, .. } in alerts() {
        assert!(
            text.contains("severity: critical") || text.contains("severity: warning"),
            "{name}: how bad?"
        );
        let summary = text.lines().find(|line| line.trim_start().starts_with("summary: \""));
        assert!(
            summary.is_some_and(|line| line.contains("{{ $labels.") || name == "TidegateAbsent"),
            "{name}: where?"
        );
        let description = text.lines().find(|line| line.trim_start().starts_with("description: \""));
        let next = description.and_then(|line| line.split_once("Next: `")).map(|(_, next)| next);
        assert!(next.is_some_and(|next| next.contains('`')), "{name}: what to do?");
    }
}

/// Each alert is shown to stay quiet and to fire; promtool runs what is written there.
#[test]
fn promtool_accepts_the_rules_and_every_alert_is_tested_both_ways() {
    let tests: Vec<PathBuf> = std::fs::read_dir(deploy("prometheus/tests"))
        .expect("the rules have tests")
        .map(|entry| entry.expect("a test").path())
        .collect();
    let promtool = |arguments: &[&str], files: &[PathBuf]| {
        let output = Command::new("promtool").args(arguments).args(files).output();
        let output = output.expect("promtool has to be installed (Debian: package prometheus)");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    };
    promtool(&["check", "rules", "--lint-fatal"], &[deploy("prometheus/tidegate.rules.yml")]);
    promtool(&["test", "rules"], &tests);

    let all: String =
        tests.iter().map(|path| std::fs::read_to_string(path).expect("a test is text")).collect();
    for Alert { name, .. } in alerts() {
        let expected: Vec<&str> = all
            .split(&format!("alertname=\"{name}\",alertstate=\"firing\"}})\n"))
            .skip(1)
            .filter_map(|after| after.lines().find_map(|line| line.trim().strip_prefix("exp_samples: ")))
            .collect();
        assert!(expected.contains(&"[]"), "{name} is not shown to stay quiet");
        assert!(expected.iter().any(|samples| samples.contains("value: 1")), "{name} is not shown to fire");
    }
}

/// Every query of the dashboard, with the title of what shows it.
fn queries(value: &Value, title: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            let title = fields.get("title").and_then(Value::as_str).unwrap_or(title);
            for (key, value) in fields {
                match value.as_str() {
                    Some(query) if key == "expr" => found.push((title.to_owned(), query.to_owned())),
                    _ => queries(value, title, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, title, found)),
        _ => {}
    }
}

#[test]
fn every_query_of_the_dashboard_asks_for_metrics_and_labels_that_exist() {
    let dashboard: Value =
        serde_json::from_str(&read("grafana/tidegate.json")).expect("the dashboard is JSON");
    let known = registry();
    let mut found = Vec::new();
    queries(&dashboard, "", &mut found);
    assert!(found.len() > 20, "the dashboard is read");
    let mut wrong: Vec<_> = found
        .iter()
        .flat_map(|(title, query)| {
            faults(query, &known).into_iter().map(move |fault| format!("{title}: {fault}: {query}"))
        })
        .collect();

    let variables = dashboard["templating"]["list"].as_array().expect("the dashboard has variables");
    let mut names = BTreeSet::from(["__rate_interval", "__all", "datasource"]);
    for variable in variables {
        names.insert(variable["name"].as_str().expect("a variable has a name"));
        let Some(query) = variable["definition"].as_str() else { continue };
        let inner = query.strip_prefix("label_values(").and_then(|inner| inner.strip_suffix(')'));
        let (metric, label) = inner.and_then(|inner| inner.split_once(", ")).expect("a metric and a label");
        wrong.extend(faults(&format!("sum by ({label}) ({metric})"), &known));
    }
    for (title, query) in &found {
        for name in query.split('$').skip(1) {
            let end = name.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            let name = &name[..end.unwrap_or(name.len())];
            if !names.contains(name) {
                wrong.push(format!("{title}: there is no variable {name}"));
            }
        }
    }
    let panels = dashboard["panels"].as_array().expect("the dashboard has panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "a panel's id is its own");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the package installs is accepted as it is, and what it shows commented out would be, too.
#[test]
fn the_packages_configuration_is_accepted_as_installed_and_with_its_examples() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |text: &str| {
        let path = folder.path().join("tidegate.toml");
        std::fs::write(&path, text).expect("a configuration");
        let output =
            Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["check", "--config"]).arg(&path).output();
        let output = output.expect("the check runs");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        said.into_owned()
    };
    let installed = read("debian/tidegate.toml");
    assert!(check(&installed).contains(": ok, 0 warnings; 0 sites"));

    let made = rcgen::generate_simple_self_signed(vec!["app.example.com".to_owned()]).expect("a certificate");
    let tls = folder.path().join("tls");
    std::fs::create_dir(&tls).expect("a folder");
    std::fs::write(tls.join("app.example.com.pem"), made.cert.pem()).expect("a certificate's file");
    let key = tls.join("app.example.com.key");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a key's file");
    std::fs::set_permissions(&key, Permissions::from_mode(0o640)).expect("its owner may say so");
    let zone = "@ 60 IN SOA ns1 hostmaster 1 3600 600 86400 60\n@ 60 IN NS ns1\nns1 60 IN A 192.0.2.53\n";
    std::fs::write(folder.path().join("example.com.zone"), zone).expect("a zone");
    let is_toml = |line: &str| {
        line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    };
    let shown: Vec<&str> = installed
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|inner| is_toml(inner)).unwrap_or(line))
        .collect();
    // The package makes the folder of the log; it isn't on every machine that runs tests.
    let shown = shown.join("\n").replace("\"/var/log/tidegate/", "\"");
    assert!(shown.contains("\naccess_log = ") && shown.contains("\ndot = "), "{shown}");
    assert!(check(&shown).contains("2 sites, 1 groups, 1 services, 3 origins, 1 zones"));
}

/// The judge is judged: what does not exist is found, wherever it stands.
#[test]
fn a_query_for_what_does_not_exist_is_found() {
    let known = registry();
    for (query, fault) in [
        ("tidegate_group_activ == 1", "there is no metric tidegate_group_activ"),
        ("tidegate_group_active{grup=\"app\"}", "tidegate_group_active has no label grup"),
        ("sum by (sight) (tidegate_group_active)", "no metric of it has a label sight"),
        ("sum without (sight) (rate(tidegate_group_active[5m]))", "no metric of it has a label sight"),
        ("tidegate_group_condition{condition=\"unwell\"}", "condition is never unwell"),
        ("tidegate_switches_total{kind=~\"failover|fallback\"}", "kind is never fallback"),
        ("rate(tidegate_dns_dropped_total{reason=~\"timed_out|to_many\"}[5m])", "reason is never to_many"),
        ("rat(tidegate_group_active[5m])", "there is no metric rat"),
        ("sum by (le) (tidegate_group_active)", "no metric of it has a label le"),
    ] {
        assert_eq!(faults(query, &known), [fault], "{query}");
    }
    for query in [
        "histogram_quantile(0.99, sum by (service, le) (rate(tidegate_probe_duration_seconds_bucket[5m])))",
        "up{job=\"tidegate\",instance=~\"$instance\"} == 0",
        "rate(tidegate_requests_total{code=~\"5..\"}[$__rate_interval]) > 1e3",
    ] {
        assert_eq!(faults(query, &known), [] as [&str; 0], "{query}");
    }
}
