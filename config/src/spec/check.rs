//! How origins are checked: by asking them in one of several ways, or by waiting for reports.

use std::time::Duration;

use super::service::host_and_port;
use super::value::{DAY, HOUR, MINUTE, command, days, ms};
use super::{TlsSpec, spec};
use crate::dns_name::domain_name;
use crate::reader::Field;
use crate::source::At;
use crate::status_set::{StatusSet, StatusSetError};

const PATH_BYTES_MAX: usize = 4096;
const BODY_TEXT_BYTES_MAX: usize = 1024;
const GRPC_SERVICE_BYTES_MAX: usize = 256;

/// What a check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckKind {
    Http,
    Tcp,
    Tls,
    Grpc,
    Dns,
    Command,
    Push,
}

/// Every kind, as it is written.
pub(crate) const KINDS: [(&str, CheckKind); 7] = [
    ("http", CheckKind::Http),
    ("tcp", CheckKind::Tcp),
    ("tls", CheckKind::Tls),
    ("grpc", CheckKind::Grpc),
    ("dns", CheckKind::Dns),
    ("command", CheckKind::Command),
    ("push", CheckKind::Push),
];

/// Types of records that can be asked for.
const RECORD_TYPES: [(&str, &str); 15] = [
    ("A", "A"),
    ("AAAA", "AAAA"),
    ("CAA", "CAA"),
    ("CNAME", "CNAME"),
    ("DNSKEY", "DNSKEY"),
    ("DS", "DS"),
    ("HTTPS", "HTTPS"),
    ("MX", "MX"),
    ("NAPTR", "NAPTR"),
    ("NS", "NS"),
    ("PTR", "PTR"),
    ("SOA", "SOA"),
    ("SRV", "SRV"),
    ("SVCB", "SVCB"),
    ("TXT", "TXT"),
];

/// Response codes that can be wanted (RFC 1035, section 4.1.1).
const RCODES: [(&str, u16); 6] =
    [("NOERROR", 0), ("FORMERR", 1), ("SERVFAIL", 2), ("NXDOMAIN", 3), ("NOTIMP", 4), ("REFUSED", 5)];

spec! {
    /// How origins are checked, and what the results mean. Keys belong to one kind of check, or to several.
    struct CheckSpec in "service.NAME.check" {
        /// `"http"` asks with GET; `"tcp"` connects, and that is enough; `"tls"` makes a handshake and looks at the
        /// certificate; `"grpc"` asks by gRPC's health checking protocol; `"dns"` asks a question; `"command"` runs a program,
        /// by the convention of Nagios; `"push"` waits for reports through the API. Default `"http"` or `"tcp"`, as the
        /// origin's URL says.
        optional kind: CheckKind = |field| field.one_of(&KINDS),
        /// HTTP: path and query that are asked for. Default `"/"`.
        optional path: String = request_target,
        /// HTTP: only `"GET"`, the default.
        optional method: () = |field| field.one_of(&[("GET", ())]),
        /// HTTP and gRPC: the `Host` header, or what stands for it. Default the first of `hosts` without a `*`, else the
        /// origin's address.
        optional host: String = host_and_port,
        /// HTTP: status codes that pass: `"200-299,301"`, `200` or a list of those; 100 to 599. Default `"200-299"`.
        optional expect_status: StatusSet = status_set,
        /// HTTP: text that the beginning of the body must contain, up to 1024 bytes. Default none.
        optional expect_body: String = body_text,
        /// HTTP, gRPC and TLS: TLS of checks. Default as for requests, key by key.
        optional tls: TlsSpec = TlsSpec::read,
        /// TLS: a certificate that ends sooner fails. Default `"0s"`: only one that has ended, where it is verified; up to
        /// `"3650d"`.
        optional expiry_fail: Duration = |field| field.duration(ms(0)..=days(3650)),
        /// TLS: of a certificate that ends sooner the log warns. Default `"21d"`, or `expiry_fail` where that is longer;
        /// `"0s"` never warns; up to `"3650d"`.
        optional expiry_warn: Duration = |field| field.duration(ms(0)..=days(3650)),
        /// gRPC: the service whose health is asked for, up to 256 bytes. Default the server as a whole.
        optional grpc_service: String = grpc_service,
        /// DNS: the name that is asked for.
        optional query: String = query,
        /// DNS: the type of record that is asked for. Default `"SOA"`.
        optional query_type: &'static str = |field| field.one_of(&RECORD_TYPES),
        /// DNS: the response code that passes: `"NOERROR"`, `"NXDOMAIN"`, `"REFUSED"` and the like. Default `"NOERROR"`.
        optional expect_rcode: u16 = |field| field.one_of(&RCODES),
        /// DNS: what one record of the answer must hold, as a zone file has it, up to 1024 bytes. Default none.
        optional expect_answer: String = body_text,
        /// DNS: `"udp"`, or `"tcp"`. Default `"udp"`; what was cut there is asked for again over TCP.
        optional transport: bool = |field| field.one_of(&[("udp", false), ("tcp", true)]),
        /// Command: the program, as an absolute path, and its arguments; there is no shell between. Exit code 0 passes, 1
        /// warns, 2 fails, and anything else counts for nothing. The first line of the output is the reason. It finds
        /// `TIDEGATE_SERVICE`, `_SITE`, `_GROUP`, `_ORIGIN`, `_HOST`, `_ADDRESS`, `_IP` and `_PORT` in its environment.
        optional command: Vec<At<String>> = program,
        /// Command: whether a warning is a `"pass"` or a `"fail"`. Default `"pass"`.
        optional warning: bool = |field| field.one_of(&[("pass", true), ("fail", false)]),
        /// Push: the longest silence; after it the origin fails. `"1s"` to `"1d"`.
        optional dead_man: Duration = |field| field.duration(ms(1000)..=DAY),
        /// All but push: time between checks. Default `"1s"`, of commands `"10s"`; `"10ms"` to `"1h"`.
        optional interval: Duration = |field| field.duration(ms(10)..=HOUR),
        /// All but push: time between checks while in doubt. Default `"250ms"`, of commands `"2s"`, or `interval` where that
        /// is shorter; `"10ms"` up to `interval`.
        optional fast_interval: Duration = |field| field.duration(ms(10)..=HOUR),
        /// All but push: when an unanswered check has failed; a program is killed then. Default `"500ms"`, of commands
        /// `"5s"`, or half of `interval` where that is shorter; `"1ms"` to `"1m"`.
        optional timeout: Duration = |field| field.duration(ms(1)..=MINUTE),
        /// Consecutive failures from up to down. Default 3, 1 to 100.
        optional fall: u64 = |field| field.integer(1..=100),
        /// Consecutive passes from down to up. Default 2, 1 to 100.
        optional rise: u64 = |field| field.integer(1..=100),
    }
}

fn request_target(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    if !text.starts_with('/') {
        field.error_help("a path begins with `/`", format!("did you mean \"/{text}\"?"));
        return None;
    }
    if text.len() > PATH_BYTES_MAX {
        field.error(format!("a path has at most {PATH_BYTES_MAX} bytes"));
        return None;
    }
    // RFC 3986, sections 3.3 and 3.4.
    let is_sendable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    if let Some(char) = text.chars().find(|&char| !u8::try_from(char).is_ok_and(is_sendable)) {
        field.error_help(format!("a path cannot hold {char:?}"), "encode it with `%`");
        return None;
    }
    Some(text.to_owned())
}

fn grpc_service(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    if text.len() > GRPC_SERVICE_BYTES_MAX || text.chars().any(char::is_control) {
        field.error(format!("a gRPC service has a name of at most {GRPC_SERVICE_BYTES_MAX} printable bytes"));
        return None;
    }
    Some(text.to_owned())
}

/// A name that may be asked for, with a final dot.
fn query(field: &Field<'_>) -> Option<String> {
    match domain_name(field.string()?) {
        Ok(name) if name == "." => Some(name),
        Ok(name) => Some(format!("{name}.")),
        Err(fault) => {
            field.error(fault);
            None
        }
    }
}

/// A command whose program is found wherever the daemon was started.
fn program(field: &Field<'_>) -> Option<Vec<At<String>>> {
    let words = command(field)?;
    if let Some(nul) = words.iter().find(|word| word.value.contains('\0')) {
        field.source.error(&nul.place, "a word of a command holds no NUL byte");
        return None;
    }
    let program = words.first()?;
    if !program.value.starts_with('/') {
        let message = format!("the program `{}` is not an absolute path", program.value);
        field.source.error_help(
            &program.place,
            message,
            "write where it is: \"/usr/lib/nagios/plugins/check_disk\"",
        );
        return None;
    }
    Some(words)
}

fn body_text(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    if text.is_empty() || text.len() > BODY_TEXT_BYTES_MAX {
        field.error(format!("a wanted text has 1 to {BODY_TEXT_BYTES_MAX} bytes"));
        return None;
    }
    Some(text.to_owned())
}

pub(crate) fn status_set(field: &Field<'_>) -> Option<StatusSet> {
    let checked = |field: &Field<'_>, set: Result<StatusSet, StatusSetError>| match set {
        Ok(set) => Some(set),
        Err(error) => {
            field.error_help(error.to_string(), "codes and ranges: \"200-299,301\"");
            None
        }
    };
    let one = |field: &Field<'_>| {
        if field.is_integer() {
            let code = field.integer(100..=599)?;
            return checked(field, StatusSet::parse(&code.to_string()));
        }
        checked(field, StatusSet::parse(field.string()?))
    };
    if field.is_list() {
        let sets = field.list(one)?;
        // Where nothing could be read, that is said already.
        if sets.is_empty() && field.source.failed_below(&field.place.path) {
            return None;
        }
        return checked(field, StatusSet::union(sets.into_iter().map(|at| at.value)));
    }
    one(field)
}
