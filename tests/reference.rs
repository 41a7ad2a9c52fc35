//! The references under docs/ are written by the code that they describe.
//!
//! `TIDEGATE_UPDATE_DOCS=1 cargo test --test reference` writes them anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use tidegate::metrics::{Described, Metrics};
use tidegate_config::{Key, Section, Use, reference};

const UPDATE: &str = "TIDEGATE_UPDATE_DOCS";
const RENEW: &str = "TIDEGATE_UPDATE_DOCS=1 cargo test --test reference";

const CONFIGURATION: &str = "\
# Configuration

Every table and key, with its default and its bounds. `tidegate check` reads a file as the daemon does: it shows every
error at once, with its place, and warns of what is valid and dangerous.

The file is TOML. An unknown key is an error. Durations are strings of whole numbers with units from the largest to the
smallest: `\"250ms\"`, `\"10s\"`, `\"1m30s\"`, `\"365d\"`. Names have up to 63 letters, digits, `-` and `_`. Relative paths start at
the configuration file's folder. `NAME` and `SITE` stand for names of your own, `[]` for each element of a list. A key
marked *no effect yet* is read and checked, and does nothing in this version.

For a whole file to begin with see [first-hour.md](first-hour.md) and
[deploy/examples](../deploy/examples/tidegate.toml).
";

const METRICS: &str = "\
# Metrics

What `/metrics` of the admin listener and of the control socket tells Prometheus. Every label's values are bounded by the
configuration or by a fixed set, so no client can make new series. What to do when one of them is not as it should be:
[three-in-the-morning.md](three-in-the-morning.md).
";

#[test]
fn the_configuration_reference_is_current() {
    let sections = reference();
    let mut out = format!("{}\n{CONFIGURATION}", notice("config/src/spec"));
    for section in &sections {
        let heading = if section.table.is_empty() { "The top of the file" } else { section.table };
        let _ = write!(out, "\n## {}\n\n{}\n\n", code(section.table, heading), text(section.about));
        out.push_str("| key | required | what |\n| --- | --- | --- |\n");
        for key in section.keys {
            let required = if key.usage == Use::Required { "yes" } else { "" };
            let _ = writeln!(out, "| `{}` | {required} | {} |", key.name, what(section, key, &sections));
        }
    }
    hold("configuration.md", &out);
}

#[test]
fn the_metrics_reference_is_current() {
    let mut metrics = Metrics::new().expect("the metrics register").described();
    metrics.sort_by(|a, b| a.name.cmp(&b.name));
    let names: BTreeSet<_> = metrics.iter().map(|metric| &metric.name).collect();
    assert_eq!(names.len(), metrics.len(), "a metric is described once");
    let mut out = format!("{}\n{METRICS}\n", notice("src/metrics"));
    out.push_str("| metric | type | labels | what |\n| --- | --- | --- | --- |\n");
    for Described { name, kind, labels, help } in &metrics {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(out, "| `{name}` | {kind} | {} | {} |", labels.join(", "), cell(help));
    }
    hold("metrics.md", &out);
}

/// What is scraped from a fresh daemon is described: nothing goes around the register.
#[test]
fn what_is_scraped_is_described() {
    let metrics = Metrics::new().expect("the metrics register");
    let described: BTreeSet<_> = metrics.described().into_iter().map(|metric| metric.name).collect();
    let text = metrics.text().expect("the metrics are text");
    let scraped = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let mut count = 0;
    for name in scraped {
        assert!(described.contains(name), "{name} is not described");
        count += 1;
    }
    assert!(count > 0, "a fresh daemon has metrics without labels");
}

fn notice(from: &str) -> String {
    format!("<!-- Written from {from} by: {RENEW} -->\n")
}

/// A table's own words, and where the keys of a table in it are.
fn what(section: &Section, key: &Key, sections: &[Section]) -> String {
    let path = if section.table.is_empty() {
        key.name.to_owned()
    } else {
        format!("{}.{}", section.table, key.name)
    };
    let inner = ["", ".NAME", "[]", ".SITE[]"].iter().find_map(|tail| {
        let table = format!("{path}{tail}");
        sections.iter().find(|section| section.table == table)
    });
    let mut out = cell(&text(key.about));
    if let Some(inner) = inner {
        let _ = write!(out, " See [`{}`](#{}).", inner.table, anchor(inner.table));
    }
    if key.usage == Use::Pending {
        out.push_str(" *No effect yet.*");
    }
    out
}

/// The anchor that Markdown renderers make of a heading: lower case, letters, digits, `-` and `_`.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|char| char.is_alphanumeric() || matches!(char, '-' | '_'));
    kept.flat_map(char::to_lowercase).collect()
}

fn code(table: &str, heading: &str) -> String {
    if table.is_empty() { heading.to_owned() } else { format!("`{heading}`") }
}

fn text(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// A text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Holds a document against what it should be, or writes it where that is asked for.
fn hold(name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, wanted).expect("the document can be written");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    let line = differing.unwrap_or_else(|| found.lines().count().min(wanted.lines().count())) + 1;
    assert!(found == wanted, "docs/{name} is not what the code says, from line {line} on; renew it: {RENEW}");
}
