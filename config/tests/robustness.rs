//! Whatever is done to a text: it is read into a fleet that keeps its promises, or refused with a place in it.

use proptest::prelude::*;
use tidegate_config::{Config, parse, render};

const TEXTS: [&str; 5] = [
    include_str!("valid.toml"),
    include_str!("design.toml"),
    include_str!("dangers.toml"),
    include_str!("front.toml"),
    include_str!("broken.toml"),
];

/// Pieces that break things in interesting ways.
const PIECES: [&str; 24] = [
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "#",
    "0",
    "-1",
    "true",
    "1979-05-27",
    "\"é\u{1f600}\"",
    "\t",
    "[[",
    "\"0s\"",
    "[]",
    "{}",
    "\\u",
    "\u{0}",
    "\"main\"",
];

#[derive(Clone, Debug)]
enum Mutation {
    Remove { at: usize, len: usize },
    Insert { at: usize, piece: usize },
    RemoveLine(usize),
    RepeatLine(usize),
    SwapLines(usize, usize),
    ReplaceValue { line: usize, piece: usize },
    Cut(usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<usize>;
    prop_oneof![
        (at(), 1..8_usize).prop_map(|(at, len)| Mutation::Remove { at, len }),
        (at(), 0..PIECES.len()).prop_map(|(at, piece)| Mutation::Insert { at, piece }),
        at().prop_map(Mutation::RemoveLine),
        at().prop_map(Mutation::RepeatLine),
        (at(), at()).prop_map(|(a, b)| Mutation::SwapLines(a, b)),
        (at(), 0..PIECES.len()).prop_map(|(line, piece)| Mutation::ReplaceValue { line, piece }),
        at().prop_map(Mutation::Cut),
    ]
}

fn mutate(text: &str, mutation: &Mutation) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut lines: Vec<&str> = text.split('\n').collect();
    let line = |at: usize| at % lines.len();
    match *mutation {
        Mutation::Remove { at, len } => {
            let at = at % (chars.len() + 1);
            chars.iter().take(at).chain(chars.iter().skip(at + len)).collect()
        }
        Mutation::Insert { at, piece } => {
            let (front, back) = chars.split_at(at % (chars.len() + 1));
            let (front, back): (String, String) = (front.iter().collect(), back.iter().collect());
            format!("{front}{}{back}", PIECES[piece])
        }
        Mutation::RemoveLine(at) => {
            lines.remove(line(at));
            lines.join("\n")
        }
        Mutation::RepeatLine(at) => {
            let at = line(at);
            lines.insert(at, lines[at]);
            lines.join("\n")
        }
        Mutation::SwapLines(a, b) => {
            let (a, b) = (line(a), line(b));
            lines.swap(a, b);
            lines.join("\n")
        }
        Mutation::ReplaceValue { line: at, piece } => {
            let at = line(at);
            let changed = lines[at].split_once('=').map(|(key, _)| format!("{key}= {}", PIECES[piece]));
            let changed = changed.unwrap_or_default();
            lines[at] = &changed;
            lines.join("\n")
        }
        Mutation::Cut(at) => chars.iter().take(at % (chars.len() + 1)).collect(),
    }
}

/// What the core takes for granted.
fn assert_promises(config: &Config) {
    let fleet = &config.fleet;
    assert_eq!(config.origins.len(), fleet.origins.len());
    assert_eq!(config.services.len(), fleet.services.len());
    for (i, group) in fleet.groups.iter().enumerate() {
        assert!(!group.sites.is_empty());
        assert!(group.sites.iter().all(|site| site.index() < fleet.sites.len()));
        let mut distinct = group.sites.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), group.sites.len());
        assert!(group.services.iter().all(|&id| fleet.service(id).group.index() == i));
    }
    for (i, service) in fleet.services.iter().enumerate() {
        let group = fleet.group(service.group);
        assert_eq!(group.services.iter().filter(|id| id.index() == i).count(), 1);
        assert!(service.min_up >= 1);
        for (site, origins) in &service.origins {
            assert!(group.sites.contains(site) && !origins.is_empty());
            assert!(origins.iter().all(|&id| fleet.origin(id).site == *site));
            assert!(origins.iter().all(|&id| fleet.origin(id).service.index() == i));
        }
    }
    let listed: usize =
        fleet.services.iter().flat_map(|service| service.origins.values()).map(Vec::len).sum();
    assert_eq!(listed, fleet.origins.len());
    let names: std::collections::BTreeSet<_> = fleet.origins.iter().map(|origin| &origin.name).collect();
    assert_eq!(names.len(), fleet.origins.len());
    for origin in &fleet.origins {
        let thresholds = origin.thresholds;
        assert!(thresholds.fall >= 1 && thresholds.rise >= 1 && !thresholds.timeout.is_zero());
        assert!(!thresholds.fast_interval.is_zero() && thresholds.fast_interval <= thresholds.interval);
    }
    assert_front(config);
    for steer in config.zones.iter().flat_map(|zone| &zone.steer) {
        let group = fleet.group(steer.group);
        assert!(group.sites.iter().all(|&site| !fleet.site(site).front_door.is_empty()));
    }
}

/// What the listeners take for granted.
fn assert_front(config: &Config) {
    let (listen, limits) = (&config.listen, &config.limits);
    let needs_certificate =
        !listen.https.is_empty() || !listen.dot.is_empty() || (!listen.api.is_empty() && listen.api_tls);
    assert!(!needs_certificate || !config.certificates.is_empty());
    assert!(!listen.https.is_empty() || config.services.iter().all(|service| !service.redirect_https));
    assert!(limits.connections_max >= 1 && limits.connections_per_address_max != Some(0));
    assert!(limits.requests_per_connection_max >= 1 && limits.http2_streams_max >= 1);
    assert!(limits.body_rate_min >= 1 && limits.header_bytes_max >= 1024 && limits.headers_max >= 1);
    let times = [
        limits.handshake_timeout,
        limits.header_timeout,
        limits.body_timeout,
        limits.body_idle_timeout,
        limits.write_timeout,
        limits.idle_timeout,
    ];
    assert!(times.iter().all(|time| !time.is_zero()));
    assert!(
        config
            .services
            .iter()
            .filter_map(|service| service.hsts)
            .all(|hsts| hsts.max_age.subsec_nanos() == 0)
    );
    let trusted = &config.client_address;
    for network in trusted.proxy_protocol_from.iter().chain(&trusted.forwarded_for_from) {
        assert!(network.contains(network.address()));
    }
}

fn assert_read_or_refused(text: &str) {
    let found = match parse("t.toml", text) {
        Ok(parsed) => {
            assert_promises(&parsed.config);
            parsed.warnings
        }
        Err(refused) => {
            assert!(!refused.errors().is_empty());
            refused.errors().to_vec()
        }
    };
    let lines = text.split('\n').count();
    for found in found {
        assert!((1..=lines).contains(&found.line), "{found:?}");
        let line = text.split('\n').nth(found.line - 1).expect("just held against the number of lines");
        assert!((1..=line.chars().count() + 1).contains(&found.column), "{found:?}");
        assert!(text.get(found.span.clone()).is_some(), "{found:?}");
        assert!(!found.message.is_empty());
        let shown = render(&found, "t.toml", text);
        assert!(shown.contains('^') && shown.lines().all(|line| line.chars().count() < 400), "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_text_is_read_or_refused(
        text in 0..TEXTS.len(),
        mutations in prop::collection::vec(mutation(), 0..6),
    ) {
        let text = mutations.iter().fold(TEXTS[text].to_owned(), |text, mutation| mutate(&text, mutation));
        assert_read_or_refused(&text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(\\PC|[\\[\\]{}=\"'#\\n\\t. a-z0-9]){0,80}") {
        assert_read_or_refused(&text);
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{ a = ", "}")] {
        assert_read_or_refused(&format!("state_dir = {}{}\n", open.repeat(5_000), close.repeat(5_000)));
    }
    assert_read_or_refused(&format!("[{}a]\n", "a.".repeat(5_000)));
}
