//! Both sides of every limit: it works just inside, and is refused just outside, at the place of the value.

use tidegate_config::parse;

const VALID: &str = include_str!("valid.toml");

/// A text with a line put in after the header of a table; the table may be new.
fn with(table: &str, line: &str, text: &str) -> String {
    let header = format!("[{table}]");
    match table {
        "" => format!("{line}\n{text}"),
        _ if text.contains(&header) => text.replacen(&header, &format!("{header}\n{line}"), 1),
        _ => format!("{text}\n{header}\n{line}\n"),
    }
}

/// A text without the lines of a key.
fn without(key: &str, text: &str) -> String {
    text.lines()
        .filter(|line| !line.starts_with(&format!("{key} =")))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn messages(text: &str) -> Vec<String> {
    parse("t.toml", text).map_or_else(
        |found| found.errors().iter().map(|error| error.message.clone()).collect(),
        |_| Vec::new(),
    )
}

#[test]
fn numbers_and_durations_have_bounds() {
    let table = [
        ("", "startup_deadline", "\"10m\"", "\"10m1ms\""),
        ("", "drain_deadline", "\"1h\"", "\"1h1s\""),
        ("", "probes_per_target_max", "1", "0"),
        ("", "probes_per_target_max", "1024", "1025"),
        ("", "check_commands_max", "1", "0"),
        ("", "check_commands_max", "256", "257"),
        ("limits", "connections_max", "1", "0"),
        ("limits", "connections_max", "1000000", "1000001"),
        ("limits", "header_timeout", "\"10ms\"", "\"9ms\""),
        ("limits", "header_bytes_max", "1024", "1023"),
        ("limits", "header_bytes_max", "1048576", "1048577"),
        ("limits", "headers_max", "256", "257"),
        ("limits", "connections_per_address_max", "1", "0"),
        ("limits", "connections_per_address_max", "1000000", "1000001"),
        ("limits", "requests_per_connection_max", "1000000000", "1000000001"),
        ("limits", "handshake_timeout", "\"10ms\"", "\"9ms\""),
        ("limits", "handshake_timeout", "\"10m\"", "\"10m1ms\""),
        ("limits", "body_bytes_max", "0", "-1"),
        ("limits", "body_bytes_max", "1099511627776", "1099511627777"),
        ("limits", "body_timeout", "\"10ms\"", "\"9ms\""),
        ("limits", "body_timeout", "\"1d\"", "\"1d1ms\""),
        ("limits", "body_rate_min", "1", "0"),
        ("limits", "body_rate_min", "1000000000", "1000000001"),
        ("limits", "body_idle_timeout", "\"10ms\"", "\"9ms\""),
        ("limits", "body_idle_timeout", "\"1d\"", "\"1d1ms\""),
        ("limits", "write_timeout", "\"10ms\"", "\"9ms\""),
        ("limits", "write_timeout", "\"1d\"", "\"1d1ms\""),
        ("limits", "idle_timeout", "\"1d\"", "\"1d1ms\""),
        ("limits", "http2_streams_max", "1", "0"),
        ("limits", "http2_streams_max", "1000", "1001"),
        ("service.web", "hsts", "{ max_age = \"3650d\" }", "{ max_age = \"3650d1s\" }"),
        ("service.web", "hsts", "{ max_age = \"0s\" }", "{ max_age = \"1500ms\" }"),
        ("service.web", "origin_http", "\"2\"", "\"3\""),
        ("service.web", "redirect_https", "false", "\"no\""),
        ("listen", "tls_version_min", "\"1.3\"", "\"1.1\""),
        ("listen", "tls_version_min", "\"1.2\"", "1.2"),
        ("listen", "http2", "false", "0"),
        ("client_address", "proxy_protocol_from", "[\"10.0.0.0/32\"]", "[\"10.0.0.0/33\"]"),
        (
            "client_address",
            "forwarded_for_from",
            "[\"10.0.0.0/8\", \"10.0.0.0/9\"]",
            "[\"10.0.0.0/8\", \"10.0.0.0/8\"]",
        ),
        ("client_address", "forwarded_for_from", "[\"::/1\"]", "[\"::1/127\"]"),
        ("", "access_log", "\"a\"", "\"\""),
        ("group.app", "failover_after", "\"0s\"", "0"),
        ("group.app", "failover_after", "\"1d\"", "\"1d1s\""),
        ("group.app", "minimum_stay", "\"30d\"", "\"31d\""),
        ("group.app", "failback", "{ automatic_after = \"30d\" }", "{ automatic_after = \"30d1ms\" }"),
        ("group.app", "switches_max", "{ count = 1 }", "{ count = 0 }"),
        ("group.app", "switches_max", "{ count = 1000 }", "{ count = 1001 }"),
        ("group.app", "switches_max", "{ window = \"1s\" }", "{ window = \"999ms\" }"),
        ("service.web", "min_up", "1", "0"),
        ("service.web", "min_up", "1", "2"),
        ("service.web", "min_up", "1", "-1"),
        ("service.web", "retry", "{ attempts = 1 }", "{ attempts = 0 }"),
        ("service.web", "retry", "{ attempts = 7 }", "{ attempts = 8 }"),
        ("service.web", "timeouts", "{ connect = \"1ms\" }", "{ connect = \"0s\" }"),
        ("service.web", "ejection", "{ failures = 1 }", "{ failures = 0 }"),
        ("service.web", "ejection", "{ share_percent_max = 100 }", "{ share_percent_max = 101 }"),
        ("service.web", "ejection", "{ base = \"5s\", max = \"5s\" }", "{ base = \"5s\", max = \"4999ms\" }"),
        ("service.web.check", "interval", "\"1h\"", "\"1h1ms\""),
        ("service.web.check", "fast_interval", "\"10ms\"", "\"9ms\""),
        ("service.web.check", "fast_interval", "\"1s\"", "\"1001ms\""),
        ("service.web.check", "timeout", "\"1m\"", "\"1m1ms\""),
        ("service.web.check", "timeout", "\"1ms\"", "\"0ms\""),
        ("service.web.check", "fall", "1", "0"),
        ("service.web.check", "fall", "100", "101"),
        ("service.web.check", "rise", "1", "0"),
        ("service.web.check", "expect_status", "100", "99"),
        ("service.web.check", "expect_status", "[\"200-299\", 599]", "[\"200-299\", 600]"),
        ("service.web.check", "path", "\"/a?b=%20\"", "\"/a#b\""),
        ("service.web.check", "host", "\"a.example:65535\"", "\"a.example:65536\""),
    ];
    for (place, key, inside, outside) in table {
        let put = |value: &str| with(place, &format!("{key} = {value}"), &without(key, VALID));
        assert_eq!(messages(&put(inside)), [""; 0], "{place}.{key} = {inside}");
        let refused = put(outside);
        let found = parse("t.toml", &refused).map(|_| ()).expect_err(outside);
        let [error] = found.errors() else { panic!("one error for {place}.{key} = {outside}:\n{found}") };
        let line = refused.lines().nth(error.line - 1).expect("the line is in the text");
        assert!(line.starts_with(key), "{place}.{key} = {outside}: the error is at {line:?}");
    }
}

/// What makes the front of [`VALID`] a TLS front.
const TLS: &str = "certificates = [{ cert = \"a.pem\", key = \"a.key\", names = [\"a.example\"] }]";

#[test]
fn tls_needs_a_certificate_and_a_redirect_needs_tls() {
    let listening = |key: &str| with("listen", &format!("{key} = [\"0.0.0.0:443\"]"), VALID);
    for key in ["https", "dot", "api"] {
        assert_eq!(messages(&with("", TLS, &listening(key))), [""; 0]);
        let missing = format!("`listen.{key}` needs a certificate");
        assert_eq!(messages(&listening(key)), [missing.as_str()]);
        assert_eq!(messages(&with("", "certificates = []", &listening(key))), [missing.as_str()]);
        // What is wrong with the only certificate is said once.
        let broken = "certificates = [{ cert = \"a.pem\" }]";
        assert_eq!(messages(&with("", broken, &listening(key))), ["`key` is missing"]);
        assert_eq!(messages(&listening(key).replace("\"0.0.0.0:443\"", "")), [""; 0]);
    }
    let redirect = |text: &str| with("service.web", "redirect_https = true", text);
    assert_eq!(messages(&with("", TLS, &redirect(&listening("https")))), [""; 0]);
    assert_eq!(messages(&with("", TLS, &redirect(&listening("dot")))), ["nothing listens for HTTPS"]);
    assert_eq!(messages(&redirect(VALID)), ["nothing listens for HTTPS"]);
}

#[test]
fn the_api_needs_tls_off_loopback() {
    let api = |address: &str, more: &str| {
        messages(&with("listen", &format!("api = [\"{address}\"]\n{more}"), VALID))
    };
    for address in ["127.0.0.1:9443", "127.8.9.1:9443", "[::1]:9443", "[::ffff:127.0.0.1]:9443"] {
        assert_eq!(api(address, "api_tls = false"), [""; 0], "{address}");
        assert_eq!(api(address, ""), ["`listen.api` needs a certificate"], "{address}");
    }
    for address in ["0.0.0.0:9443", "[::]:9443", "10.0.0.1:9443", "128.0.0.1:9443", "[::2]:9443"] {
        let refused = format!("tokens would travel to {address} in the clear");
        assert_eq!(api(address, "api_tls = false"), [refused], "{address}");
        assert_eq!(api(address, "api_tls = true"), ["`listen.api` needs a certificate"], "{address}");
    }
}

#[test]
fn a_certificate_has_each_name_once() {
    let two = |names: &str| {
        let second = format!("{{ cert = \"b.pem\", key = \"b.key\", names = [{names}] }}");
        let both = TLS.replace(" }]", &format!(" }}, {second}]"));
        messages(&with("", &both, VALID))
    };
    assert_eq!(two("\"b.example\", \"*.a.example\""), [""; 0]);
    // One for each kind of key.
    assert_eq!(two("\"a.example\""), [""; 0]);
    assert_eq!(two("\"b.example\", \"B.example.\""), ["`B.example.` is listed twice"]);
    assert_eq!(two(""), ["a certificate for no name is never used"]);
    assert_eq!(two("\"a.*.example\"").len(), 1);
}

#[test]
fn what_is_not_read_as_http_has_no_settings_of_http() {
    let tcp = |line: &str| {
        let service = "[service.raw]\ngroup = \"app\"\nprotocol = \"tcp\"\n";
        let origins = "origins.main = [{ url = \"tcp://10.0.0.3:5432\" }]\n";
        messages(&format!(
            "{VALID}\n{service}{line}\n{origins}origins.dr = [{{ url = \"tcp://10.1.0.3:5432\" }}]\n"
        ))
    };
    assert_eq!(tcp(""), [""; 0]);
    for (key, value) in [("origin_http", "\"2\""), ("hsts", "{}"), ("redirect_https", "true")] {
        let refused = format!("`{key}` is for http services; a tcp or tls service is not read");
        assert!(tcp(&format!("{key} = {value}")).contains(&refused), "{key}");
    }
}

#[test]
fn ttls_are_whole_seconds_up_to_a_week() {
    for (ttl, ok) in
        [("0s", true), ("7d", true), ("7d1s", false), ("1s", true), ("1500ms", false), ("999ms", false)]
    {
        let text = VALID.replace("ttl = \"30s\"", &format!("ttl = \"{ttl}\""));
        assert_eq!(messages(&text).is_empty(), ok, "{ttl}");
    }
}

#[test]
fn names_have_at_most_63_characters() {
    let site = |name: String| format!("[site.{name}]\n");
    assert_eq!(messages(&site("a".repeat(63))), [""; 0]);
    assert_eq!(messages(&site("a".repeat(64))), ["a name has at most 63 characters"]);
    assert_eq!(messages("[site.\"a/b\"]\n"), ["a name has only letters, digits, `-` and `_`"]);
    assert_eq!(messages("[site.-a]\n"), ["a name begins with a letter or a digit"]);
    assert_eq!(messages("[site.\"\"]\n"), ["a name must not be empty"]);
}

#[test]
fn things_are_counted() {
    let sites = |count: usize| (0..count).map(|i| format!("[site.s{i}]\n")).collect::<String>();
    assert_eq!(messages(&sites(256)), [""; 0]);
    assert_eq!(messages(&sites(257)), ["more than 256 sites"]);

    let groups = |count: usize| {
        let groups = (0..count).map(|i| format!("[group.g{i}]\nsites = [\"a\"]\n"));
        format!("[site.a]\n{}", groups.collect::<String>())
    };
    assert_eq!(messages(&groups(4_096)), [""; 0]);
    assert_eq!(messages(&groups(4_097)), ["more than 4096 groups"]);

    let listed = |count: usize| {
        let names = (0..count).map(|i| format!("\"c{i}\",")).collect::<String>();
        format!("capabilities = [{names}]\n")
    };
    assert_eq!(messages(&listed(10_000)), [""; 0]);
    assert_eq!(messages(&listed(10_001)), ["a list has at most 10000 elements"]);
}

#[test]
fn the_control_socket_fits_into_an_address() {
    let socket = |length: usize| format!("[listen]\nsocket = \"/{}\"\n", "s".repeat(length - 1));
    assert_eq!(messages(&socket(107)), [""; 0]);
    assert_eq!(messages(&socket(108)), ["the control socket's path would have more than 107 bytes"]);
    // "/tidegate.sock" has fourteen bytes.
    let state_dir = |length: usize| format!("state_dir = \"/{}\"\n", "s".repeat(length - 1));
    assert_eq!(messages(&state_dir(93)), [""; 0]);
    assert_eq!(messages(&state_dir(94)), ["the control socket's path would have more than 107 bytes"]);
}

#[test]
fn what_belongs_together_is_held_against_each_other() {
    let table: [(&str, &str, &[&str]); 18] = [
        ("sites = [\"main\", \"dr\"]", "sites = [\"main\", \"dr\", \"main\"]", &["`main` is listed twice"]),
        (
            "sites = [\"main\", \"dr\"]",
            "sites = [\"main\"]",
            &["the site `dr` is not one of the group `app`'s sites"],
        ),
        ("stateless = true", "", &["a group that shares data never returns by itself"]),
        ("spill = \"safe\"", "spill = \"any\"", &[]),
        ("spill = \"safe\"", "long_lived = \"keep\"", &[]),
        (
            "spill = \"safe\"",
            "protocol = \"tls\"",
            &[
                "a tcp or tls service needs tcp:// origins",
                "a tcp or tls service needs tcp:// origins",
                "a tcp or tls service needs tcp:// origins",
            ],
        ),
        ("hosts = [\"app.example.com\", \"*.app.example.com\"]", "", &["`hosts` is missing"]),
        (
            "hosts = [\"app.example.com\",",
            "hosts = [\"APP.example.com.\", \"app.example.com\",",
            &["`app.example.com` is listed twice"],
        ),
        (
            "https://10.0.0.12:8443",
            "http://10.0.0.11:8443",
            &["10.0.0.11:8443 is an origin of this service already"],
        ),
        ("origins.dr", "origins.nowhere", &["there is no site `nowhere`"]),
        ("wants = [\"email\"]", "requires = [\"emails\"]", &["the capability `emails` is not declared"]),
        ("front_door = [\"203.0.113.10\"]", "", &["the site `dr` of the group `app` has no front door"]),
        ("front_door = [\"203.0.113.10\"]", "front_door = [\"0.0.0.0\"]", &["nobody can reach 0.0.0.0"]),
        ("admin = \"127.0.0.1:9090\"", "admin = \"0.0.0.0:80\"", &["0.0.0.0:80 is taken by `listen.http`"]),
        ("http = [\"0.0.0.0:80\"]", "http = [\"127.0.0.1:0\", \"127.0.0.1:0\"]", &[]),
        (
            "http = [\"0.0.0.0:80\"]",
            "http = [\"0.0.0.0:80\", \"192.0.2.1:80\", \"[::]:80\", \"192.0.2.1:81\"]",
            &["192.0.2.1:80 is taken by `listen.http`, which has 0.0.0.0:80"],
        ),
        (
            "admin = \"127.0.0.1:9090\"",
            "admin = \"127.0.0.1:80\"",
            &["127.0.0.1:80 is taken by `listen.http`, which has 0.0.0.0:80"],
        ),
        (
            "[zone.\"example.com\"]",
            "[zone.example.com]",
            &["`file` is missing", "`example` is not a whole zone", "unknown key `com`"],
        ),
    ];
    for (old, new, expected) in table {
        assert!(VALID.contains(old), "{old}");
        let mut found = messages(&VALID.replacen(old, new, 1));
        let mut expected: Vec<_> = expected.iter().map(|&message| message.to_owned()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{old} -> {new}");
    }
}
