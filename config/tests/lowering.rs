//! What a valid text means: the domain types that come out.

use std::time::Duration;

use tidegate_config::{
    Check, ClientAddress, ClientCertificate, Config, Ejection, HostPattern, Hsts, Limits, Network,
    OriginHttp, Protocol, Retry, Scheme, Spill, Timeouts, Tls, TlsVersion, Verify, check_name_servers, parse,
};
use tidegate_health::fleet::{Data, Failback, FirstStart, Mode, SwitchLimit, Thresholds};
use tidegate_health::id::{GroupId, Name, OriginId, ServiceId, SiteId};

const VALID: &str = include_str!("valid.toml");

fn config(text: &str) -> Config {
    parse("t.toml", text).unwrap_or_else(|errors| panic!("{errors}")).config
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn the_design_means_what_it_says() {
    let config = config(include_str!("design.toml"));
    assert_eq!(config.state_dir.to_str(), Some("/var/lib/tidegate"));
    assert_eq!(config.listen.socket.to_str(), Some("/var/lib/tidegate/tidegate.sock"));
    assert_eq!(config.listen.http, ["0.0.0.0:80".parse().unwrap()]);
    assert_eq!(config.listen.admin, Some("127.0.0.1:9090".parse().unwrap()));
    assert_eq!((&*config.node.name, config.node.site), ("edge-1", Some(SiteId(0))));
    assert_eq!((config.startup_deadline, config.drain_deadline), (secs(5), secs(30)));

    let fleet = &config.fleet;
    let sites: Vec<_> =
        fleet.sites.iter().map(|site| (&*site.name, &*site.label, site.front_door.len())).collect();
    assert_eq!(
        sites,
        [("main", "Main data centre", 2), ("linode", "DR cloud", 1), ("ocean", "Backup cloud", 1)]
    );
    assert_eq!(fleet.first_start, FirstStart::Preferred);

    let [group] = fleet.groups.as_slice() else { panic!("one group") };
    assert_eq!(group.sites, [SiteId(0), SiteId(1), SiteId(2)]);
    assert_eq!(group.services, [ServiceId(0)]);
    assert_eq!((group.data, group.mode), (Data::Stateful, Mode::Automatic));
    assert_eq!((group.failover_after, group.minimum_stay), (secs(10), secs(0)));
    assert_eq!(group.switch_limit, SwitchLimit { count: 3, window: secs(3600) });
    assert_eq!(group.wants.iter().map(|name| &**name).collect::<Vec<_>>(), ["email"]);
    assert!(group.requires.is_empty());

    let [service] = fleet.services.as_slice() else { panic!("one service") };
    assert_eq!(
        (&*service.name, service.group, service.critical, service.min_up),
        ("web", GroupId(0), true, 1)
    );
    assert_eq!(service.origins_at(SiteId(0)), [OriginId(0), OriginId(1)]);
    assert_eq!(service.origins_at(SiteId(2)), [OriginId(3)]);
    let names: Vec<_> = fleet.origins.iter().map(|origin| (&*origin.name, origin.host.as_deref())).collect();
    assert_eq!(
        names,
        [
            ("web/main/10.0.0.11:8443", Some("canterbury")),
            ("web/main/10.0.0.12:8443", Some("donnager")),
            ("web/linode/203.0.113.20:8443", None),
            ("web/ocean/198.51.100.20:8443", None),
        ]
    );
    let ms = Duration::from_millis;
    let thresholds =
        Thresholds { fall: 3, rise: 2, interval: secs(1), fast_interval: ms(250), timeout: ms(500) };
    assert!(fleet.origins.iter().all(|origin| origin.thresholds == thresholds));

    let tls = Tls {
        verify: Verify::System,
        server_name: Some(Name::from("app.example.com")),
        client_certificate: None,
    };
    let endpoint = &config.origins[2];
    assert_eq!(endpoint.addr, "203.0.113.20:8443".parse().unwrap());
    assert_eq!(endpoint.scheme, Scheme::Https(tls.clone()));
    let Check::Http { path, host, expect_status, expect_body, tls: check_tls } = &endpoint.check else {
        panic!("an https origin is checked over https");
    };
    assert_eq!(
        (path.as_str(), host.as_deref(), expect_body.as_deref()),
        ("/health", Some("app.example.com"), None)
    );
    assert_eq!((expect_status.to_string().as_str(), check_tls.as_ref()), ("200-299", Some(&tls)));

    let settings = &config.services[0];
    assert_eq!((settings.protocol, settings.spill), (Protocol::Http, Spill::Never));
    assert_eq!(settings.timeouts, Timeouts::default());
    assert_eq!((settings.retry, settings.ejection), (Retry::default(), Ejection::default()));

    let [zone] = config.zones.as_slice() else { panic!("one zone") };
    assert_eq!((&*zone.origin, zone.file.to_str()), ("example.com", Some("example.com.zone")));
    let [steer] = zone.steer.as_slice() else { panic!("one steered name") };
    assert_eq!((&*steer.name, steer.group, steer.ttl), ("app.example.com", GroupId(0), secs(30)));
}

#[test]
fn tls_and_checks_refine_from_the_service_to_the_origin() {
    let text = VALID.replacen(
        "spill = \"safe\"",
        "tls = { verify = { ca = \"own.pem\" }, server_name = \"Inner.Example.\", client_certificate = { cert = \"edge.pem\", key = \"edge.key\" } }",
        1,
    );
    let text = text.replacen("host = \"donnager\"", "tls = { verify = \"off\" }", 1);
    let text =
        text.replacen("rise = 2", "rise = 2\ntls = { server_name = \"check.example\" }\nkind = \"http\"", 1);
    let config = config(&text);
    let edge = ClientCertificate { cert: "edge.pem".into(), key: "edge.key".into() };
    let tls = |verify, name: &str, own: Option<&ClientCertificate>| Tls {
        verify,
        server_name: Some(Name::from(name)),
        client_certificate: own.cloned(),
    };
    let own = |name: &str| tls(Verify::Ca("own.pem".into()), name, Some(&edge));
    let off = |name: &str| tls(Verify::Off, name, Some(&edge));
    let check_tls = |i: usize| match &config.origins[i].check {
        Check::Http { tls, .. } => tls.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(config.origins[0].scheme, Scheme::Https(own("inner.example")));
    assert_eq!(check_tls(0), Some(own("check.example")));
    assert_eq!(config.origins[1].scheme, Scheme::Https(off("inner.example")));
    assert_eq!(check_tls(1), Some(off("check.example")));
    let dr = "client_certificate = { cert = \"dr.pem\", key = \"dr.key\" }";
    let text = text.replacen("203.0.113.20:8443\"", &format!("203.0.113.20:8443\", tls = {{ {dr} }}"), 1);
    let dr = ClientCertificate { cert: "dr.pem".into(), key: "dr.key".into() };
    let origins = self::config(&text).origins;
    assert_eq!(
        origins[2].scheme,
        Scheme::Https(tls(Verify::Ca("own.pem".into()), "inner.example", Some(&dr)))
    );
}

#[test]
fn the_front_means_what_it_says() {
    let config = config(include_str!("front.toml"));
    let listen = &config.listen;
    assert_eq!(listen.https, ["0.0.0.0:443".parse().unwrap(), "[::]:443".parse().unwrap()]);
    assert_eq!(listen.dot, ["0.0.0.0:853".parse().unwrap()]);
    assert_eq!((listen.http2, listen.tls_version_min), (false, TlsVersion::V1_3));
    let certificates: Vec<_> = config
        .certificates
        .iter()
        .map(|at| (at.cert.to_str().unwrap(), at.key.to_str().unwrap(), at.names.clone(), at.declared.line))
        .collect();
    let names =
        vec![HostPattern::Exact("api.example.com".into()), HostPattern::Wildcard("example.org".into())];
    let (first, second) = (("example.pem", "example.key", vec![], 4), ("/etc/b.pem", "/etc/b.key", names, 5));
    assert_eq!(certificates, [first, second]);
    let networks =
        |texts: &[&str]| texts.iter().map(|text| Network::parse(text).unwrap()).collect::<Vec<_>>();
    let client_address = ClientAddress {
        proxy_protocol_from: networks(&["10.0.0.0/8", "2001:db8::/32"]),
        forwarded_for_from: networks(&["192.0.2.7/32"]),
    };
    assert_eq!(config.client_address, client_address);
    let limits = Limits {
        connections_max: 1,
        connections_per_address_max: Some(2),
        requests_per_connection_max: 3,
        handshake_timeout: secs(4),
        header_timeout: secs(5),
        header_bytes_max: 6_000,
        headers_max: 7,
        body_bytes_max: Some(8),
        body_timeout: secs(9),
        body_rate_min: 10,
        body_idle_timeout: secs(11),
        write_timeout: secs(12),
        idle_timeout: secs(13),
        http2_streams_max: 14,
    };
    assert_eq!(config.limits, limits);
    assert_eq!(config.access_log.as_deref().and_then(|path| path.to_str()), Some("log/access.jsonl"));
    let [web, api] = config.services.as_slice() else { panic!("two services") };
    assert_eq!((web.redirect_https, web.origin_http), (true, OriginHttp::Http2));
    assert_eq!(web.hsts, Some(Hsts { max_age: secs(730 * 86_400), include_subdomains: true, preload: true }));
    assert_eq!((api.redirect_https, api.origin_http), (false, OriginHttp::Http1));
    assert_eq!(
        api.hsts,
        Some(Hsts { max_age: secs(365 * 86_400), include_subdomains: false, preload: false })
    );
}

#[test]
fn the_front_is_plain_unless_told_otherwise() {
    let config = config(VALID);
    assert!(config.certificates.is_empty() && config.access_log.is_none());
    assert_eq!((config.listen.http2, config.listen.tls_version_min), (true, TlsVersion::V1_2));
    assert_eq!((config.client_address, config.limits), (ClientAddress::default(), Limits::default()));
    let settings = &config.services[0];
    assert_eq!(
        (settings.redirect_https, settings.hsts, settings.origin_http),
        (false, None, OriginHttp::Http1)
    );
}

#[test]
fn defaults_shrink_with_what_they_depend_on() {
    let checks = "[service.web.check]\n";
    let (front, _) = VALID.split_once(checks).expect("the text has a check");
    let thresholds = |check: &str| config(&format!("{front}{checks}{check}")).fleet.origins[0].thresholds;
    let ms = Duration::from_millis;
    let default =
        Thresholds { fall: 3, rise: 2, interval: secs(1), fast_interval: ms(250), timeout: ms(500) };
    assert_eq!(thresholds(""), default);
    let short = Thresholds { interval: ms(100), fast_interval: ms(100), timeout: ms(50), ..default };
    assert_eq!(thresholds("interval = \"100ms\""), short);
    let shortest = Thresholds { interval: ms(10), fast_interval: ms(10), timeout: ms(5), ..default };
    assert_eq!(thresholds("interval = \"10ms\""), shortest);

    let ejection = |text: &str| {
        config(&VALID.replacen("spill", &format!("ejection = {text}\nspill"), 1)).services[0].ejection
    };
    assert_eq!(ejection("{ max = \"1s\" }").base, secs(1));
    assert_eq!(ejection("{ base = \"10m\" }").max, secs(600));
}

#[test]
fn stateless_groups_may_return_by_themselves() {
    let group = &config(VALID).fleet.groups[0];
    assert_eq!(group.data, Data::Stateless { failback: Failback::Automatic { after: secs(1800) } });
    let manual = VALID.replacen("{ automatic_after = \"30m\" }", "\"manual\"", 1);
    assert_eq!(config(&manual).fleet.groups[0].data, Data::Stateless { failback: Failback::Manual });
}

#[test]
fn hosts_have_one_form_and_match_as_written() {
    let text = VALID.replacen("\"*.app.example.com\"", "\"*.APP.example.com.\"", 1);
    let hosts = &config(&text).services[0].hosts;
    let expected =
        [HostPattern::Exact("app.example.com".into()), HostPattern::Wildcard("app.example.com".into())];
    assert_eq!(*hosts, expected);
    let table = [
        ("app.example.com", true, false),
        ("a.app.example.com", false, true),
        ("a.b.app.example.com", false, true),
        (".app.example.com", false, false),
        ("notapp.example.com", false, false),
        ("example.com", false, false),
    ];
    for (host, exact, wildcard) in table {
        assert_eq!((hosts[0].matches(host), hosts[1].matches(host)), (exact, wildcard), "{host}");
    }
}

#[test]
fn order_is_that_of_the_text() {
    let names: Vec<_> =
        ["zulu", "alpha", "mike"].map(|name| format!("[site.{name}]\n")).into_iter().collect();
    let sites = config(&names.concat()).fleet.sites;
    assert_eq!(sites.iter().map(|site| &*site.name).collect::<Vec<_>>(), ["zulu", "alpha", "mike"]);
}

#[test]
fn name_servers_at_one_site_are_warned_of() {
    let config = config(VALID);
    let warn = |servers: &[(&str, &[&str])]| {
        let servers: Vec<_> = servers
            .iter()
            .map(|(name, ips)| ((*name).to_owned(), ips.iter().map(|ip| ip.parse().unwrap()).collect()))
            .collect();
        let found = check_name_servers(&config, "example.com", &servers);
        assert!(found.iter().all(|found| VALID[found.span.clone()].contains("example.com")));
        found.into_iter().map(|found| found.message).collect::<Vec<_>>()
    };
    let main = "every name server of `example.com` is at the site `main`";
    assert_eq!(warn(&[("ns1", &["192.0.2.10"]), ("ns2", &["2001:db8::10"])]), [main]);
    assert_eq!(warn(&[("ns1", &["192.0.2.10"])]), [main]);
    assert_eq!(warn(&[("ns1", &["192.0.2.10"]), ("ns2", &["203.0.113.10"])]), [""; 0]);
    assert_eq!(warn(&[("ns1", &["192.0.2.10"]), ("ns2", &["198.51.100.1"])]), [""; 0]);
    assert_eq!(warn(&[("ns1", &["192.0.2.10"]), ("ns2", &[])]), [""; 0]);
    assert_eq!(warn(&[("ns1", &[])]), ["`example.com` has only one name server"]);
    assert_eq!(warn(&[]), [""; 0]);
    assert!(check_name_servers(&config, "example.org", &[]).is_empty());
}
