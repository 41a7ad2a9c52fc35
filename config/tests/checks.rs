//! Kinds of checks: what each one reads, and what it refuses.

use std::time::Duration;

use tidegate_config::{Check, Config, parse};

/// A configuration whose service `db` is checked like this.
fn with(check: &str) -> String {
    format!(
        "[site.main]\nfront_door = [\"192.0.2.1\"]\n[group.app]\nsites = [\"main\"]\n[service.db]\ngroup = \"app\"\n\
         protocol = \"tcp\"\ncheck = {{ {check} }}\norigins.main = [{{ url = \"tcp://10.0.0.1:5432\" }}]\n"
    )
}

fn config(check: &str) -> Config {
    parse("t.toml", &with(check)).unwrap_or_else(|found| panic!("{check}:\n{found}")).config
}

fn lowered(check: &str) -> Check {
    config(check).origins[0].check.clone()
}

/// What is wrong, with the help for it.
fn refused(check: &str) -> Vec<String> {
    let found = parse("t.toml", &with(check)).map(|_| ()).expect_err(check);
    let told = found.errors().iter().map(|error| {
        let help = error.help.as_deref().unwrap_or_default();
        format!("{}|{}|{help}", error.path, error.message)
    });
    told.collect()
}

#[test]
fn each_kind_has_its_keys_and_defaults() {
    assert_eq!(lowered("interval = \"2s\""), Check::Tcp, "by the origin's URL");
    let Check::Tls { fail_below, warn_below, tls } =
        lowered("kind = \"tls\", tls = { server_name = \"db.example\" }")
    else {
        panic!("a tls check")
    };
    let day = Duration::from_secs(86_400);
    assert_eq!(
        (fail_below, warn_below, tls.server_name.as_deref()),
        (Duration::ZERO, 21 * day, Some("db.example"))
    );
    assert!(matches!(
        lowered("kind = \"tls\", expiry_fail = \"30d\""),
        Check::Tls { fail_below, warn_below, .. } if fail_below == 30 * day && warn_below == 30 * day
    ));
    let grpc = lowered("kind = \"grpc\", grpc_service = \"db.Main\", host = \"db.example:1\"");
    let expected = Check::Grpc { service: "db.Main".into(), host: Some("db.example:1".into()), tls: None };
    assert_eq!(grpc, expected);
    assert!(matches!(lowered("kind = \"grpc\", tls = {}"), Check::Grpc { tls: Some(_), .. }));
    let dns = lowered("kind = \"dns\", query = \"Example.com\"");
    let expected = Check::Dns {
        query: "example.com.".into(),
        record_type: "SOA",
        rcode: 0,
        answer: None,
        over_tcp: false,
    };
    assert_eq!(dns, expected);
    let dns = lowered(
        "kind = \"dns\", query = \".\", query_type = \"NS\", expect_rcode = \"REFUSED\", expect_answer = \"a\", \
         transport = \"tcp\"",
    );
    let expected = Check::Dns {
        query: ".".into(),
        record_type: "NS",
        rcode: 5,
        answer: Some("a".into()),
        over_tcp: true,
    };
    assert_eq!(dns, expected);
    let command = config("kind = \"command\", command = [\"/bin/check\", \"-w\", \"\"], warning = \"fail\"");
    let argv = ["/bin/check", "-w", ""].map(String::from).to_vec();
    assert_eq!(command.origins[0].check, Check::Command { argv, warning_passes: false });
    let programs: Vec<_> = command.programs.iter().map(|it| it.path.display().to_string()).collect();
    assert_eq!(programs, ["/bin/check"]);
    assert_eq!(lowered("kind = \"push\", dead_man = \"30s\""), Check::Push);
}

#[test]
fn commands_are_slower_and_silence_is_its_own_interval() {
    let times = |check: &str| {
        let config = config(check);
        let it = config.fleet.origins[0].thresholds;
        (it.interval.as_millis(), it.fast_interval.as_millis(), it.timeout.as_millis())
    };
    assert_eq!(times("kind = \"tcp\""), (1000, 250, 500));
    assert_eq!(times("kind = \"command\", command = [\"/a\"]"), (10_000, 2000, 5000));
    assert_eq!(times("kind = \"command\", command = [\"/a\"], interval = \"1s\""), (1000, 1000, 500));
    assert_eq!(times("kind = \"push\", dead_man = \"30s\""), (30_000, 250, 30_000));
}

#[test]
fn keys_of_other_kinds_are_refused_with_whose_they_are() {
    let told = |key: &str, kinds: &str| {
        format!(
            "service.db.check.{key}|`{key}` is not a key of this kind of check|it goes with `kind` {kinds}"
        )
    };
    assert_eq!(refused("kind = \"tcp\", path = \"/health\""), [told("path", "`http`")]);
    assert_eq!(
        refused("kind = \"dns\", query = \"a.example\", host = \"a\""),
        [told("host", "`http` or `grpc`")]
    );
    assert_eq!(refused("command = [\"/bin/true\"]"), [told("command", "`command`")]);
    assert_eq!(refused("kind = \"http\", dead_man = \"3s\""), [told("dead_man", "`push`")]);
    let asked = "`http`, `tcp`, `tls`, `grpc`, `dns` or `command`";
    assert_eq!(
        refused("kind = \"push\", dead_man = \"3s\", interval = \"1s\", timeout = \"1s\""),
        [told("interval", asked), told("timeout", asked)]
    );
    assert_eq!(refused("kind = \"grpc\", warning = \"pass\""), [told("warning", "`command`")]);
}

#[test]
fn what_a_kind_needs_is_missed() {
    for (kind, key) in [("dns", "query"), ("command", "command"), ("push", "dead_man")] {
        let message = format!("service.db.check|`{key}` is missing: this kind of check needs it|");
        assert_eq!(refused(&format!("kind = \"{kind}\"")), [message]);
    }
    // What is there and wrong is not missing, too.
    assert_eq!(refused("kind = \"push\", dead_man = 3").len(), 1);
}

#[test]
fn values_have_bounds_on_both_sides() {
    let long = |count: usize| "x".repeat(count);
    for (kind, key, inside, outside) in [
        ("push", "dead_man", "\"1s\"".to_owned(), "\"999ms\"".to_owned()),
        ("push", "dead_man", "\"1d\"".to_owned(), "\"1d1ms\"".to_owned()),
        ("tls", "expiry_fail", "\"3650d\"".to_owned(), "\"3651d\"".to_owned()),
        ("tls", "expiry_warn", "\"0s\"".to_owned(), "30".to_owned()),
        ("tls", "expiry_fail = \"9d\", expiry_warn", "\"9d\"".to_owned(), "\"8d\"".to_owned()),
        ("grpc", "grpc_service", format!("\"{}\"", long(256)), format!("\"{}\"", long(257))),
        (
            "dns",
            "query = \"a.example\", expect_answer",
            format!("\"{}\"", long(1024)),
            format!("\"{}\"", long(1025)),
        ),
        ("dns", "query = \"a.example\", query_type", "\"TXT\"".to_owned(), "\"AXFR\"".to_owned()),
        ("dns", "query = \"a.example\", expect_rcode", "\"NXDOMAIN\"".to_owned(), "3".to_owned()),
        ("dns", "query = \"a.example\", transport", "\"tcp\"".to_owned(), "\"tls\"".to_owned()),
        ("dns", "query", "\"a.example\"".to_owned(), "\"a b\"".to_owned()),
        ("command", "command", "[\"/bin/true\"]".to_owned(), "[\"true\"]".to_owned()),
        ("command", "command", "[\"/bin/true\", \"\"]".to_owned(), "[]".to_owned()),
        ("command", "command", "[\"/bin/true\"]".to_owned(), "[\"/bin/true\", \"\\u0000\"]".to_owned()),
        ("command", "command = [\"/bin/true\"], warning", "\"fail\"".to_owned(), "\"ignore\"".to_owned()),
    ] {
        config(&format!("kind = \"{kind}\", {key} = {inside}"));
        let found = refused(&format!("kind = \"{kind}\", {key} = {outside}"));
        let last = key.rsplit(' ').next().unwrap_or(key);
        assert!(found.len() == 1 && found[0].contains(last), "{kind} {key} {outside}: {found:?}");
    }
}

#[test]
fn a_kind_that_is_nearly_right_is_guessed() {
    let found = refused("kind = \"grcp\", grpc_service = \"a\"");
    assert_eq!(found.len(), 1, "keys of a kind that cannot be read are not judged: {found:?}");
    assert!(found[0].contains("did you mean `grpc`"), "{found:?}");
}
