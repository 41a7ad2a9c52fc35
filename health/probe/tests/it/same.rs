//! When two checks are one: a reload leaves those alone, and restarts the others.

use std::time::Duration;

use tidegate_health::id::OriginId;
use tidegate_probe::command::Command;
use tidegate_probe::{
    CertificateCheck, CommandCheck, DnsCheck, GrpcCheck, Kind, ProbeSpec, TlsCheck, Verify,
};

use crate::support::{HOUR, get, spec, timing};

/// One check of each kind, and then every way in which it can be another one.
fn kinds() -> Vec<Kind> {
    let tls = |name| TlsCheck::new(name, Verify::Off).unwrap();
    let certificate = |name, fail, warn| {
        let (fail, warn) = (Duration::from_secs(fail), Duration::from_secs(warn));
        Kind::Tls(CertificateCheck::new(tls(name), fail, warn))
    };
    let grpc = |service, host| GrpcCheck::new(service, host).unwrap();
    let dns = |name, record_type, rcode| DnsCheck::new(name, record_type, rcode).unwrap();
    let command = |argument, site, passes| {
        let command = Command::new(["/bin/true", argument]).unwrap().with_env("TIDEGATE_SITE", site);
        Kind::Command(CommandCheck::new(command, passes))
    };
    vec![
        Kind::Tcp,
        Kind::Http(get("/")),
        Kind::Http(get("/other")),
        certificate("a", 1, 2),
        certificate("b", 1, 2),
        certificate("a", 2, 2),
        certificate("a", 1, 3),
        Kind::Grpc(grpc("a", "b")),
        Kind::Grpc(grpc("b", "b")),
        Kind::Grpc(grpc("a", "c")),
        Kind::Grpc(grpc("a", "b").with_tls(tls("a"))),
        Kind::Dns(dns("a.example", "A", 0)),
        Kind::Dns(dns("b.example", "A", 0)),
        Kind::Dns(dns("a.example", "MX", 0)),
        Kind::Dns(dns("a.example", "A", 3)),
        Kind::Dns(dns("a.example", "A", 0).with_answer("192.0.2.1").unwrap()),
        Kind::Dns(dns("a.example", "A", 0).over_tcp()),
        command("a", "main", true),
        command("b", "main", true),
        command("a", "dr", true),
        command("a", "main", false),
        Kind::Push,
    ]
}

#[test]
fn checks_are_the_same_only_if_all_of_them_is() {
    let specs =
        || kinds().into_iter().map(|kind| spec(0, ([127, 0, 0, 1], 1).into(), kind, timing(HOUR, HOUR)));
    let (ones, others): (Vec<_>, Vec<_>) = (specs().collect(), specs().collect());
    for (i, one) in ones.iter().enumerate() {
        for (j, other) in others.iter().enumerate() {
            let same = i == j;
            assert_eq!(one == other, same, "{one:?} {other:?}");
            assert_eq!(one.asks_the_same(other), same, "{one:?} {other:?}");
            assert_eq!(one.digest() == other.digest(), same, "{one:?} {other:?}");
        }
    }
}

#[test]
fn a_longer_silence_is_another_check_of_the_same_kind() {
    let pushed = |seconds| {
        let silence = Duration::from_secs(seconds);
        ProbeSpec::pushed(OriginId(0), ([127, 0, 0, 1], 1).into(), silence).unwrap()
    };
    assert_eq!(pushed(30), pushed(30));
    assert_ne!(pushed(30), pushed(31));
    assert!(pushed(30).asks_the_same(&pushed(31)), "what was reported stays true");
}
