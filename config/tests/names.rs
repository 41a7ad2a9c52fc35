//! Origins that are given by name: what is written, and what comes of the addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_config::{Addresses, Check, Config, NamedOrigin, Resolver, Scheme, parse};
use tidegate_health::id::{ServiceId, SiteId};

const TEXT: &str = r#"
[listen]
http = ["127.0.0.1:80"]
[site.main]
[site.dr]
[group.app]
sites = ["main", "dr"]
stateless = true
[service.web]
group = "app"
hosts = ["*.example.com"]
origins.main = [{ url = "https://App.Main.example:8443", host = "canterbury" }, { url = "http://10.0.0.1:8080" }]
origins.dr = [{ url = "http://app.dr.example" }]
"#;

fn config(text: &str) -> Config {
    parse("t.toml", text).unwrap_or_else(|errors| panic!("{errors}")).config
}

fn errors(text: &str) -> Vec<String> {
    let found = parse("t.toml", text).expect_err("it is wrong");
    found.errors().iter().map(|error| error.message.clone()).collect()
}

fn addresses(table: &[(&str, &[&str])]) -> Addresses {
    let ips = |list: &[&str]| list.iter().map(|text| text.parse().expect("an address")).collect();
    table.iter().map(|(name, list)| ((*name).into(), ips(list))).collect()
}

fn names(config: &Config) -> Vec<(&str, Option<&str>)> {
    config.fleet.origins.iter().map(|origin| (&*origin.name, origin.resolved_from.as_deref())).collect()
}

#[test]
fn a_name_is_no_origin_before_it_is_resolved() {
    let config = config(TEXT);
    assert_eq!(names(&config), [("web/main/10.0.0.1:8080", None)]);
    assert_eq!(
        config.names().iter().map(|name| &**name).collect::<Vec<_>>(),
        ["app.dr.example", "app.main.example"]
    );
    let (config, concerns) = config.resolve(&BTreeMap::new());
    assert!(concerns.is_empty());
    assert_eq!(names(&config), [("web/main/10.0.0.1:8080", None)]);
    let unresolved = &config.fleet.unresolved;
    assert_eq!(unresolved[&(ServiceId(0), SiteId(0))], ["app.main.example".into()]);
    assert_eq!(unresolved[&(ServiceId(0), SiteId(1))], ["app.dr.example".into()]);
}

#[test]
fn every_address_of_a_name_is_an_origin_like_the_others() {
    let both: &[&str] = &["10.0.0.2", "2001:db8::2"];
    let table = addresses(&[("app.main.example", both), ("app.dr.example", &["10.1.0.1"])]);
    let (config, concerns) = config(TEXT).resolve(&table);
    assert!(concerns.is_empty(), "{concerns:?}");
    assert_eq!(
        names(&config),
        [
            ("web/main/10.0.0.1:8080", None),
            ("web/main/10.0.0.2:8443", Some("app.main.example")),
            ("web/main/[2001:db8::2]:8443", Some("app.main.example")),
            ("web/dr/10.1.0.1:80", Some("app.dr.example")),
        ]
    );
    assert!(config.fleet.unresolved.is_empty());
    let origin = &config.fleet.origins[1];
    assert_eq!(origin.host.as_deref(), Some("canterbury"));
    // Without a host name of the service the origin's own is sent, and looked for.
    let Scheme::Https(tls) = &config.origins[1].scheme else { panic!("https") };
    assert_eq!(tls.server_name.as_deref(), Some("app.main.example"));
    let Check::Http { host, .. } = &config.origins[1].check else { panic!("http") };
    assert_eq!(host.as_deref(), Some("app.main.example:8443"));
    let Check::Http { host, .. } = &config.origins[3].check else { panic!("http") };
    assert_eq!(host.as_deref(), Some("app.dr.example"));
    let Check::Http { host, .. } = &config.origins[0].check else { panic!("http") };
    assert_eq!(host.as_deref(), None, "an address says what it said");
}

#[test]
fn the_first_host_of_the_service_is_sent_where_it_has_one() {
    let table = addresses(&[("app.main.example", &["10.0.0.2"])]);
    let (config, _) = config(&TEXT.replace("*.example.com", "www.example.com")).resolve(&table);
    let Scheme::Https(tls) = &config.origins[1].scheme else { panic!("https") };
    assert_eq!(tls.server_name.as_deref(), Some("www.example.com"));
}

#[test]
fn other_addresses_take_the_place_of_the_earlier_ones() {
    let first = addresses(&[("app.main.example", &["10.0.0.2"]), ("app.dr.example", &["10.1.0.1"])]);
    let then = addresses(&[("app.main.example", &["10.0.0.3"])]);
    let at_once = config(TEXT).resolve(&then).0;
    let in_turn = config(TEXT).resolve(&first).0.resolve(&then).0;
    assert_eq!(names(&at_once), names(&in_turn));
    assert_eq!(at_once.fleet.unresolved, in_turn.fleet.unresolved);
    assert_eq!(names(&in_turn.resolve(&BTreeMap::new()).0), [("web/main/10.0.0.1:8080", None)]);
}

#[test]
fn an_address_counts_once_and_a_name_that_has_no_other_is_not_known() {
    let text = TEXT.replace("app.dr.example", "app.dr.example:8080");
    let table = addresses(&[("app.dr.example", &["10.0.0.1"]), ("app.main.example", &["10.0.0.2"])]);
    let (config, concerns) = config(&text).resolve(&table);
    let said: Vec<_> = concerns.iter().map(|concern| (&*concern.name, &*concern.message)).collect();
    let message = "10.0.0.1:8080 is an origin of `web` at `main` already, and is left out here";
    assert_eq!(said, [("app.dr.example", message)]);
    assert!(config.fleet.unresolved.contains_key(&(ServiceId(0), SiteId(1))), "nothing is known of the site");
}

#[test]
fn dangers_that_only_addresses_show_are_told_when_they_are_known() {
    let text = TEXT.replace("group = \"app\"", "group = \"app\"\nmin_up = 2");
    let table = addresses(&[("app.dr.example", &["192.0.2.1"]), ("app.main.example", &["192.0.2.2"])]);
    let (_, concerns) = config(&text).resolve(&table);
    let said: Vec<_> = concerns.iter().map(|concern| &*concern.message).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("plain http to 192.0.2.1, a public address"), "{said:?}");
    assert!(
        said[1].starts_with(
            "`min_up` of `web` is 2, but with the addresses of the name the site `dr` has only 1"
        )
    );
}

#[test]
fn names_are_refused_where_they_are_wrong() {
    let again = TEXT.replace("http://app.dr.example", "https://app.main.example:8443");
    assert_eq!(errors(&again), ["app.main.example:8443 is an origin of this service already"]);
    let tcp = TEXT.replace("http://app.dr.example", "tcp://app.dr.example:1");
    assert_eq!(errors(&tcp), ["an http service needs http:// or https:// origins"]);
}

#[test]
fn as_many_names_as_the_bound_and_no_more() {
    let with = |count: usize| {
        let urls: Vec<_> = (0..count - 2).map(|n| format!("{{ url = \"http://n{n}.example\" }}")).collect();
        TEXT.replace("origins.dr = [", &format!("origins.dr = [{}, ", urls.join(", ")))
    };
    assert_eq!(config(&with(1_024)).names().len(), 1_024);
    assert_eq!(errors(&with(1_025)), ["more than 1024 names stand for origins"]);
}

#[test]
fn the_resolver_has_bounds() {
    let with = |keys: &str| format!("[resolver]\n{keys}\n{TEXT}");
    assert_eq!(config(TEXT).resolver, Resolver::default());
    let resolver = config(&with("servers = [\"10.0.0.53\", \"[::1]:5353\"]\nttl_max = \"2s\"")).resolver;
    assert_eq!(resolver.servers, ["10.0.0.53:53".parse().unwrap(), "[::1]:5353".parse().unwrap()]);
    assert_eq!((resolver.ttl_min, resolver.ttl_max), (Duration::from_secs(2), Duration::from_secs(2)));
    for (good, bad, message) in [
        ("ttl_min = \"1s\"", "ttl_min = \"999ms\"", "1s"),
        ("ttl_min = \"1h\"", "ttl_min = \"3601s\"", "1h"),
        ("ttl_max = \"1d\"", "ttl_max = \"86401s\"", "1d"),
        ("timeout = \"100ms\"", "timeout = \"99ms\"", "100ms"),
        ("timeout = \"1m\"", "timeout = \"61s\"", "1m"),
        (
            "ttl_min = \"9s\"\nttl_max = \"9s\"",
            "ttl_min = \"9s\"\nttl_max = \"8s\"",
            "shorter than `ttl_min`",
        ),
        ("servers = [\"::1\"]", "servers = []", "at least one server"),
        ("servers = [\"::1\"]", "servers = [\"dns.example\"]", "is not an address"),
        ("servers = [\"::1\"]", "servers = [\"::1\", \"[::1]:53\"]", "listed twice"),
    ] {
        config(&with(good));
        let said = errors(&with(bad));
        assert!(said.len() == 1 && said[0].contains(message), "{bad}: {said:?}");
    }
    let servers = |count: usize| {
        let list: Vec<_> = (0..count).map(|n| format!("\"10.0.0.{n}\"")).collect();
        with(&format!("servers = [{}]", list.join(", ")))
    };
    assert_eq!(config(&servers(8)).resolver.servers.len(), 8);
    assert_eq!(errors(&servers(9)), ["at most 8 servers are asked"]);
}

#[test]
fn a_name_is_a_danger_that_is_told_once_per_service() {
    let warnings = parse("t.toml", TEXT).expect("it is right").warnings;
    let told: Vec<_> = warnings.iter().filter(|warning| warning.message.contains("is a name")).collect();
    assert_eq!(told.len(), 1, "{warnings:?}");
    assert_eq!(told[0].path, "service.web.origins.main[0].url");
}

proptest! {
    /// Whatever names stand for: numbers are right, origins are unique, and every place is either known or not.
    #[test]
    fn any_addresses_make_a_fleet_that_keeps_its_promises(
        main in proptest::collection::btree_set(any::<u8>(), 0..80),
        dr in proptest::collection::btree_set(any::<u8>(), 0..80),
    ) {
        let ips = |set: &std::collections::BTreeSet<u8>| -> Vec<IpAddr> {
            set.iter().take(NamedOrigin::ADDRESSES_MAX).map(|n| IpAddr::from([10, 0, 0, *n])).collect()
        };
        let text = TEXT.replace("app.dr.example", "app.dr.example:8443");
        let table = Addresses::from([
            ("app.main.example".into(), ips(&main)),
            ("app.dr.example".into(), ips(&dr)),
        ]);
        let (config, _) = config(&text).resolve(&table);
        let fleet = &config.fleet;
        prop_assert_eq!(fleet.origins.len(), config.origins.len());
        let unique: std::collections::BTreeSet<_> = fleet.origins.iter().map(|origin| &origin.name).collect();
        prop_assert_eq!(unique.len(), fleet.origins.len());
        for (site, ids) in &fleet.services[0].origins {
            prop_assert!(!ids.is_empty());
            for id in ids {
                prop_assert_eq!(fleet.origin(*id).site, *site);
                let name = format!("web/{}/{}", fleet.site(*site).name, config.origins[id.index()].addr);
                prop_assert_eq!(&*fleet.origin(*id).name, &*name);
            }
        }
        prop_assert_eq!(fleet.services[0].origins.values().map(Vec::len).sum::<usize>(), fleet.origins.len());
        let dr_is_known = !fleet.services[0].origins_at(SiteId(1)).is_empty();
        prop_assert_eq!(dr_is_known, !fleet.unresolved.contains_key(&(ServiceId(0), SiteId(1))));
    }
}
