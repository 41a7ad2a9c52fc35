//! What a valid text means: the domain types that come out.

use std::time::Duration;

use tidegate_config::{
    Check, Config, Ejection, HostPattern, Protocol, Retry, Scheme, Spill, Timeouts, Tls, Verify,
    check_name_servers, parse,
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

    let tls = Tls { verify: Verify::System, server_name: Some(Name::from("app.example.com")) };
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
        "tls = { verify = { ca = \"own.pem\" }, server_name = \"Inner.Example.\" }",
        1,
    );
    let text = text.replacen("host = \"donnager\"", "tls = { verify = \"off\" }", 1);
    let text =
        text.replacen("rise = 2", "rise = 2\ntls = { server_name = \"check.example\" }\nkind = \"http\"", 1);
    let config = config(&text);
    let own = |name: &str| Tls { verify: Verify::Ca("own.pem".into()), server_name: Some(Name::from(name)) };
    let off = |name: &str| Tls { verify: Verify::Off, server_name: Some(Name::from(name)) };
    let check_tls = |i: usize| match &config.origins[i].check {
        Check::Http { tls, .. } => tls.clone(),
        Check::Tcp => None,
    };
    assert_eq!(config.origins[0].scheme, Scheme::Https(own("inner.example")));
    assert_eq!(check_tls(0), Some(own("check.example")));
    assert_eq!(config.origins[1].scheme, Scheme::Https(off("inner.example")));
    assert_eq!(check_tls(1), Some(off("check.example")));
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
