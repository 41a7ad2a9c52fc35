//! How each kind of check is made, beside the ways that requests go; and whether the programs are there.

use std::os::unix::fs::PermissionsExt as _;

use tidegate_config::{Check, Diagnostic, Program};
use tidegate_probe::command::Command;
use tidegate_probe::{CertificateCheck, CommandCheck, DnsCheck, GrpcCheck, Kind};

use super::origins::{Bundles, Fault, tls_check};

/// Where a check is made: what a program is told, and what an address stands in for.
pub(super) struct Place<'a> {
    pub(super) service: &'a str,
    pub(super) site: &'a str,
    pub(super) group: &'a str,
    pub(super) origin: &'a str,
    /// The machine, where it is named.
    pub(super) host: Option<&'a str>,
    pub(super) addr: std::net::SocketAddr,
}

/// The kinds that have nothing to do with how requests reach an origin; none for the others.
pub(super) fn kind(check: &Check, place: &Place<'_>, bundles: &mut Bundles) -> Result<Option<Kind>, Fault> {
    Ok(Some(match check {
        Check::Http { .. } => return Ok(None),
        Check::Tcp => Kind::Tcp,
        Check::Push => Kind::Push,
        Check::Tls { tls, fail_below, warn_below } => {
            let tls = tls_check(tls, place.addr.ip(), bundles)?;
            Kind::Tls(CertificateCheck::new(tls, *fail_below, *warn_below))
        }
        Check::Grpc { service, host, tls } => {
            let host = host.as_deref().map_or_else(|| place.addr.to_string(), str::to_owned);
            let check = GrpcCheck::new(service, &host).map_err(Fault::origin)?;
            Kind::Grpc(match tls {
                Some(tls) => check.with_tls(tls_check(tls, place.addr.ip(), bundles)?),
                None => check,
            })
        }
        Check::Dns { query, record_type, rcode, answer, over_tcp } => {
            let mut check = DnsCheck::new(query, record_type, *rcode).map_err(Fault::origin)?;
            if let Some(answer) = answer {
                check = check.with_answer(answer).map_err(Fault::origin)?;
            }
            Kind::Dns(if *over_tcp { check.over_tcp() } else { check })
        }
        Check::Command { argv, warning_passes } => {
            let command = Command::new(argv).map_err(Fault::origin)?;
            Kind::Command(CommandCheck::new(told(command, place), *warning_passes))
        }
    }))
}

/// A program with what it needs to know of the origin that it is to check.
fn told(command: Command, place: &Place<'_>) -> Command {
    let address = place.addr.to_string();
    let (ip, port) = (place.addr.ip().to_string(), place.addr.port().to_string());
    [
        ("TIDEGATE_SERVICE", place.service),
        ("TIDEGATE_SITE", place.site),
        ("TIDEGATE_GROUP", place.group),
        ("TIDEGATE_ORIGIN", place.origin),
        ("TIDEGATE_HOST", place.host.unwrap_or_default()),
        ("TIDEGATE_ADDRESS", &address),
        ("TIDEGATE_IP", &ip),
        ("TIDEGATE_PORT", &port),
    ]
    .into_iter()
    .fold(command, |command, (name, value)| command.with_env(name, value))
}

/// Warns of programs that could not be run now. They may be installed later, so that is no error.
pub(super) fn look_for(programs: &[Program]) -> impl Iterator<Item = Diagnostic> {
    programs.iter().filter_map(|program| {
        let path = program.path.display();
        let message = match std::fs::metadata(&program.path) {
            Ok(found) if !found.is_file() => format!("{path} is not a program"),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => format!("{path} may not be executed"),
            Ok(_) => return None,
            Err(error) => format!("the program {path} cannot be run: {error}"),
        };
        let help =
            "until it can be run its checks decide nothing, and origins that were never checked stay unknown";
        Some(Diagnostic::warning(&program.declared, &message, help))
    })
}
