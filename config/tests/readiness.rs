//! Gates, witnesses, checks of published addresses and safety rules: what they come to, and what is told of mistakes.

use std::time::Duration;

use tidegate_config::{Config, FrontDoorProbe, GateSource, parse, render};
use tidegate_health::gate::{Limit, Purpose, Value};
use tidegate_health::id::{GroupId, SiteId};
use tidegate_health::safety::Demand;

/// Three sites, two groups.
const BASE: &str = r#"
[site.main]
front_door = ["192.0.2.10"]
[site.linode]
[site.ocean]
[group.app]
sites = ["main", "linode", "ocean"]
stateless = true
[group.mail]
sites = ["main", "linode"]
[service.web]
group = "app"
hosts = ["app.example.com"]
origins.main = [{ url = "http://192.0.2.20:80" }]
origins.linode = [{ url = "http://203.0.113.20:80" }]
origins.ocean = [{ url = "http://198.51.100.20:80" }]
"#;

/// Keys of the top come first in TOML.
fn text(top: &str, tables: &str) -> String {
    format!("{top}\n{BASE}\n{tables}\n")
}

fn lowered(top: &str, tables: &str) -> Config {
    parse("t.toml", &text(top, tables)).unwrap_or_else(|errors| panic!("{errors}")).config
}

fn errors(top: &str, tables: &str) -> String {
    match parse("t.toml", &text(top, tables)) {
        Ok(_) => panic!("there must be an error in\n{top}\n{tables}"),
        Err(errors) => errors.to_string(),
    }
}

fn warnings(top: &str, tables: &str) -> String {
    let text = text(top, tables);
    let parsed = parse("t.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    parsed.warnings.iter().map(|warning| render(warning, "t.toml", &text)).collect()
}

#[test]
fn gates_are_lowered_with_where_they_count_and_how_they_are_measured() {
    let config = lowered(
        "",
        r#"
[group.mail.gate.replica]
command = ["/usr/lib/lag", "--db"]
max_lag = "5s"
[group.mail.gate.role]
http = { linode = "https://203.0.113.20:8008/patroni?a=b" }
value = "/role"
equals = "replica"
interval = "1s"
timeout = "500ms"
max_age = "10s"
[group.mail.gate.whole]
push = true
resynced = true
sites = ["main"]
"#,
    );
    let gates = &config.fleet.groups[1].gates;
    assert_eq!(gates.iter().map(|gate| &*gate.name).collect::<Vec<_>>(), ["replica", "role", "whole"]);
    assert_eq!(
        (gates[0].purpose, &gates[0].limit),
        (Purpose::Data, &Some(Limit::MaxLag(Duration::from_secs(5))))
    );
    assert_eq!(gates[0].sites, [SiteId(0), SiteId(1)].into());
    assert_eq!(gates[0].max_age, Duration::from_secs(60));
    assert_eq!(gates[1].purpose, Purpose::Ready);
    assert_eq!(gates[1].limit, Some(Limit::Equals(Value::Word("replica".into()))));
    assert_eq!(gates[1].sites, [SiteId(1)].into());
    assert_eq!((gates[2].purpose, gates[2].limit.clone()), (Purpose::Resynced, None));
    assert_eq!(gates[2].sites, [SiteId(0)].into());

    assert!(config.gates.iter().all(|gate| gate.group == GroupId(1)));
    assert!(matches!(&config.gates[0].source, GateSource::Command(words) if words[1] == "--db"));
    let GateSource::Http { urls, pointer } = &config.gates[1].source else { panic!("{:?}", config.gates[1]) };
    assert_eq!((urls[&SiteId(1)].path.as_str(), pointer.as_deref()), ("/patroni?a=b", Some("/role")));
    assert_eq!(config.gates[1].timeout, Duration::from_millis(500));
    assert!(matches!(config.gates[2].source, GateSource::Push));
}

#[test]
fn data_says_what_a_gate_is_about_whatever_it_measures() {
    let purpose = |keys: &str| {
        let table = format!("[group.mail.gate.g]\ncommand = [\"/bin/true\"]\n{keys}");
        lowered("", &table).fleet.groups[1].gates[0].purpose
    };
    assert_eq!(purpose(""), Purpose::Ready);
    assert_eq!(purpose("data = true"), Purpose::Data);
    assert_eq!(purpose("max_lag = \"1s\""), Purpose::Data);
    assert_eq!(purpose("max_lag = \"1s\"\ndata = false"), Purpose::Ready);
}

#[test]
fn another_command_is_another_check_and_another_interval_is_not() {
    let check =
        |keys: &str| lowered("", &format!("[group.mail.gate.g]\n{keys}")).fleet.groups[1].gates[0].check;
    let first = check("command = [\"/bin/a\"]");
    assert_eq!(first, check("command = [\"/bin/a\"]\ninterval = \"1s\""));
    assert_ne!(first, check("command = [\"/bin/b\"]"));
    let url = |url: &str| check(&format!("http = {{ main = \"{url}\" }}"));
    assert_eq!(url("http://a/x"), url("http://a/x"));
    assert_ne!(url("http://a/x"), url("http://a/y"), "the path is not shown to people, but it counts");
}

#[test]
fn a_gate_that_is_no_gate_is_told_why() {
    let table = [
        ("", "exactly one of `command`, `http` and `push = true`"),
        ("push = true\ncommand = [\"/bin/true\"]", "exactly one of"),
        ("push = false", "exactly one of"),
        ("command = [\"check\"]", "by its whole path"),
        ("push = true\nat_most = 1\nmax_lag = \"1s\"", "`max_lag` and `at_most`"),
        ("http = \"http://a/\"", "one URL cannot tell several sites apart"),
        ("http = { mian = \"http://a/\" }", "did you mean `main`?"),
        ("http = { ocean = \"http://a/\" }", "`ocean` is not one of the group's sites"),
        ("http = {}", "at one site at least"),
        ("http = { main = \"ftp://a/\" }", "begin with http:// or https://"),
        ("http = { main = \"http://a/\" }\nsites = [\"main\"]", "says already at which sites"),
        ("http = { main = \"http://a/\" }\nvalue = \"lag\"\nat_most = 1", "no JSON pointer"),
        ("http = { main = \"http://a/\" }\nvalue = \"/a~2\"\nat_most = 1", "no JSON pointer"),
        ("http = { main = \"http://a/\" }\nvalue = \"/lag\"", "nothing is said of the value"),
        ("push = true\nvalue = \"/lag\"\nat_most = 1", "`value` is about the answer to `http`"),
        ("push = true\nsites = [\"linod\"]", "did you mean `linode`?"),
        ("push = true\nsites = []", "at one site at least"),
        ("push = true\nat_most = \"1\"", "expected a number"),
        ("push = true\nat_most = inf", "expected a number"),
        ("push = true\nequals = [1]", "expected a number"),
        ("push = true\nresynced = true\ndata = true", "bars no failover"),
        ("command = [\"/bin/a\"]\nmax_age = \"6s\"", "unknown between two tests"),
        ("push = true\nmax_laag = \"1s\"", "did you mean `max_lag`?"),
    ];
    for (keys, told) in table {
        let errors = errors("", &format!("[group.mail.gate.g]\n{keys}"));
        assert!(errors.contains(told), "{keys}\n{errors}");
    }
    // Just enough is enough.
    lowered("", "[group.mail.gate.g]\ncommand = [\"/bin/a\"]\nmax_age = \"7s\"");
    lowered("", "[group.mail.gate.g]\nhttp = \"http://a/\"\nsites = [\"linode\"]");
}

#[test]
fn witnesses_have_a_port_or_get_one_and_a_majority() {
    let config = lowered("witnesses = [\"192.0.2.1\", \"192.0.2.2:53\", \"[2001:db8::1]:80\"]", "");
    let names: Vec<_> = config.fleet.witnesses.addresses.iter().map(|name| &**name).collect();
    assert_eq!(names, ["192.0.2.1:443", "192.0.2.2:53", "[2001:db8::1]:80"]);
    assert_eq!(config.fleet.witnesses.majority(), 2);
    assert_eq!(config.witnesses.addresses.len(), 3);
    assert_eq!(lowered("", "").fleet.witnesses.addresses.len(), 0);
    for (wrong, told) in [
        ("example.com", "not an address that can be asked"),
        ("192.0.2.1:0", "not an address that can be asked"),
        ("0.0.0.0", "nobody can reach"),
        ("192.0.2.2:53\", \"192.0.2.2:53", "listed twice"),
    ] {
        let errors = errors(&format!("witnesses = [\"{wrong}\"]"), "");
        assert!(errors.contains(told), "{wrong}\n{errors}");
    }
    assert!(warnings("witnesses = [\"192.0.2.1\", \"192.0.2.2\"]", "").contains("fewer than three"));
    let at_a_site = "witnesses = [\"192.0.2.1\", \"192.0.2.10\", \"203.0.113.20\"]";
    let told = warnings(at_a_site, "");
    assert!(
        told.contains("192.0.2.10:443 stands at one") && told.contains("203.0.113.20:443 stands at one"),
        "{told}"
    );
}

#[test]
fn a_front_door_is_checked_by_a_url_or_a_port() {
    let config =
        lowered("", "[site.main.front_door_check]\nurl = \"https://app.example.com/health\"\nfall = 2");
    let check = config.fleet.sites[0].front_door_check.expect("checked");
    assert_eq!((check.thresholds.fall, check.thresholds.rise), (2, 2));
    assert_eq!(check.max_age, Duration::from_secs(21));
    assert!(matches!(&config.front_doors[..], [it] if it.site == SiteId(0)));
    assert!(matches!(&config.front_doors[0].check, FrontDoorProbe::Http { url, expect_status }
        if url.host == "app.example.com" && expect_status.contains(399) && !expect_status.contains(400)));
    let config = lowered("", "[site.main.front_door_check]\ntcp = 443");
    assert!(matches!(config.front_doors[0].check, FrontDoorProbe::Tcp { port: 443 }));
    for (keys, told) in [
        ("main.front_door_check]", "exactly one of `url` and `tcp`"),
        ("main.front_door_check]\nurl = \"http://a/\"\ntcp = 80", "exactly one of `url` and `tcp`"),
        ("main.front_door_check]\ntcp = 80\nexpect_status = 200", "about the answer to `url`"),
        ("linode.front_door_check]\ntcp = 80", "no front door to check"),
        ("main.front_door_check]\ntcp = 65536", "outside 1..=65535"),
    ] {
        let errors = errors("", &format!("[site.{keys}"));
        assert!(errors.contains(told), "{keys}\n{errors}");
    }
}

#[test]
fn safety_rules_are_lowered_with_whom_they_are_about() {
    let config = lowered(
        "",
        r#"
[rule.keep-apart]
apart = ["app", "mail"]
[rule.no-ocean-by-day]
never = ["ocean"]
groups = ["app"]
hours = ["Mon-Fri 08:00-18:00"]
zone = "Europe/London"
[rule.spare]
sites_fit = 2
"#,
    );
    let rules = &config.fleet.rules;
    let both = [GroupId(0), GroupId(1)].into();
    assert!(matches!(&rules[0].demand, Demand::Apart { groups } if *groups == both));
    let Demand::Closed { groups, sites, hours: Some(hours) } = &rules[1].demand else {
        panic!("{:?}", rules[1])
    };
    assert_eq!((groups, sites), (&[GroupId(0)].into(), &[SiteId(2)].into()));
    assert_eq!(hours.to_string(), "Mon-Fri 08:00-18:00 (Europe/London)");
    assert!(matches!(&rules[2].demand, Demand::SitesFit { groups, at_least: 2 } if *groups == both));
}

#[test]
fn a_rule_that_is_no_rule_is_told_why() {
    let table = [
        ("r]", "exactly one of `apart`, `never` and `sites_fit`"),
        ("r]\nsites_fit = 2\nnever = [\"main\"]", "exactly one of"),
        ("r]\napart = [\"app\"]", "it takes two groups"),
        ("r]\napart = [\"app\", \"mial\"]", "did you mean `mail`?"),
        ("r]\napart = [\"app\", \"mail\"]\ngroups = [\"app\"]", "names its groups itself"),
        ("r]\nnever = [\"mainn\"]", "did you mean `main`?"),
        ("r]\nnever = []", "about no site"),
        ("r]\nsites_fit = 2\ngroups = []", "about no group"),
        ("r]\nsites_fit = 1", "outside 2..=256"),
        ("r]\nsites_fit = 2\nhours = [\"08:00-09:00\"]", "only `never` has `hours`"),
        ("r]\nnever = [\"main\"]\nzone = \"UTC\"", "about `hours`"),
        ("r]\nnever = [\"main\"]\nhours = [\"8-9\"]", "`8-9`: a time is written as 08:00"),
        ("r]\nnever = [\"main\"]\nhours = []", "1 to 64 spans"),
        (
            "r]\nnever = [\"main\"]\nhours = [\"08:00-09:00\"]\nzone = \"Europe/Londn\"",
            "did you mean `Europe/London`?",
        ),
        ("unfit]\nsites_fit = 2", "the name of a built-in rule"),
        ("data-loss]\nsites_fit = 2", "the name of a built-in rule"),
        ("\"a b\"]\nsites_fit = 2", "only letters, digits"),
        ("r]\nsites_fit = 2\naprt = []", "did you mean `apart`?"),
    ];
    for (keys, told) in table {
        let errors = errors("", &format!("[rule.{keys}"));
        assert!(errors.contains(told), "{keys}\n{errors}");
    }
}

#[test]
fn what_can_never_happen_is_warned_of() {
    let table = [
        (
            "[rule.r]\nsites_fit = 3",
            "the group `mail` has 2 sites, so a planned move of it always needs an override",
        ),
        ("[rule.r]\nnever = [\"main\", \"linode\"]", "the group `mail` can move nowhere at all"),
        (
            "[rule.r]\nnever = [\"main\", \"linode\"]\nhours = [\"08:00-09:00\"]",
            "the group `mail` can move nowhere in these hours",
        ),
        (
            "[rule.r]\nnever = [\"ocean\"]\ngroups = [\"mail\"]",
            "none of the rule's groups can be at `ocean` anyway",
        ),
        (
            "[group.a]\nsites = [\"main\"]\n[group.b]\nsites = [\"main\"]\n[rule.r]\napart = [\"a\", \"b\"]",
            "2 groups cannot be kept apart at 1 sites",
        ),
        ("[group.app.gate.g]\npush = true\nresynced = true", "this gate clears nothing"),
    ];
    for (tables, told) in table {
        let warnings = warnings("", tables);
        assert!(warnings.contains(told), "{tables}\n{warnings}");
    }
    let fine = "[rule.r]\napart = [\"app\", \"mail\"]\n[rule.s]\nsites_fit = 2";
    assert_eq!(warnings("", fine), warnings("", ""));
}
