//! Values that several tables hold: names, addresses, paths.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::network::Network;
use crate::reader::Field;
use crate::source::At;

/// Longest name of a site, group, service and the like; they are labels of metrics and words of commands.
pub(crate) const NAME_BYTES_MAX: usize = 63;
/// More resolvers than this would only be asked when all of the others are silent.
const SERVERS_MAX: usize = 8;
pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) const fn days(count: u64) -> Duration {
    Duration::from_secs(86_400 * count)
}

/// Why a text is no name, if so.
pub(crate) fn name_fault(text: &str) -> Option<&'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.is_empty() {
        Some("a name must not be empty")
    } else if text.len() > NAME_BYTES_MAX {
        Some("a name has at most 63 characters")
    } else if !text.bytes().all(is_plain) {
        Some("a name has only letters, digits, `-` and `_`")
    } else if !text.as_bytes()[0].is_ascii_alphanumeric() {
        Some("a name begins with a letter or a digit")
    } else {
        None
    }
}

pub(crate) fn name(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    if let Some(fault) = name_fault(text) {
        field.error(fault);
        return None;
    }
    Some(text.to_owned())
}

/// The name of a machine: labels of letters, digits, `-` and `_`, with dots between them.
pub(crate) fn machine(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    if text.len() > 253 {
        field.error("a machine's name has at most 253 characters");
        return None;
    }
    if let Some(fault) = text.split('.').find_map(name_fault) {
        field.error(fault);
        return None;
    }
    Some(text.to_owned())
}

/// Names, each at most once.
pub(crate) fn names(field: &Field<'_>) -> Option<Vec<At<String>>> {
    let names = field.list(name)?;
    deny_repeats(field, &names, |name| format!("`{name}`"));
    Some(names)
}

pub(crate) fn path(field: &Field<'_>) -> Option<PathBuf> {
    let text = field.string()?;
    if text.is_empty() || text.contains('\0') {
        field.error("a path must not be empty");
        return None;
    }
    Some(PathBuf::from(text))
}

pub(crate) fn ip(field: &Field<'_>) -> Option<IpAddr> {
    let text = field.string()?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            field.error_help(
                format!("`{text}` is not an IP address"),
                "write it as 192.0.2.10 or 2001:db8::10",
            );
            None
        }
    }
}

pub(crate) fn ips(field: &Field<'_>) -> Option<Vec<At<IpAddr>>> {
    let addresses = field.list(ip)?;
    deny_repeats(field, &addresses, ToString::to_string);
    Some(addresses)
}

/// Networks, each at most once.
pub(crate) fn networks(field: &Field<'_>) -> Option<Vec<At<Network>>> {
    let networks = field.list(|element| match Network::parse(element.string()?) {
        Ok(network) => Some(network),
        Err(fault) => {
            element.error_help(fault.to_string(), fault.help());
            None
        }
    })?;
    deny_repeats(field, &networks, ToString::to_string);
    Some(networks)
}

/// Where to listen. Port 0 lets the system choose.
pub(crate) fn socket(field: &Field<'_>) -> Option<SocketAddr> {
    let text = field.string()?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            let help = if text.parse::<IpAddr>().is_ok() {
                "add the port: \"0.0.0.0:80\" or \"[::]:80\""
            } else {
                "write an IP address and a port: \"0.0.0.0:80\", or \"[::]:80\" for every address"
            };
            field.error_help(format!("`{text}` is not an address with a port"), help);
            None
        }
    }
}

pub(crate) fn sockets(field: &Field<'_>) -> Option<Vec<At<SocketAddr>>> {
    field.list(socket)
}

/// Servers of DNS, each at most once; without a port 53 is meant.
pub(crate) fn servers(field: &Field<'_>) -> Option<Vec<At<SocketAddr>>> {
    let servers = field.list(|element| {
        let text = element.string()?;
        let server = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
        if server.is_err() {
            let help = "write it as 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53";
            element.error_help(format!("`{text}` is not an address"), help);
        }
        server.ok()
    })?;
    if servers.is_empty() && !field.source.failed_below(&field.place.path) {
        field.error("at least one server is needed; leave the key out to ask those of the system");
    } else if servers.len() > SERVERS_MAX {
        field.error(format!("at most {SERVERS_MAX} servers are asked"));
    }
    deny_repeats(field, &servers, ToString::to_string);
    Some(servers)
}

/// Whom to ask whether we are connected: a literal address, since names would have to be resolved first.
pub(crate) fn witnesses(field: &Field<'_>) -> Option<Vec<At<SocketAddr>>> {
    const PORT: u16 = 443;
    let addresses = field.list(|element| {
        let text = element.string()?;
        let address: Option<SocketAddr> =
            text.parse().ok().or_else(|| text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, PORT)));
        if address.is_none_or(|address| address.port() == 0) {
            let help = "write it as 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:443; a name cannot be resolved while cut off";
            element.error_help(format!("`{text}` is not an address that can be asked"), help);
            return None;
        }
        address
    })?;
    deny_repeats(field, &addresses, ToString::to_string);
    Some(addresses)
}

/// A command and its arguments, started without a shell.
pub(crate) fn command(field: &Field<'_>) -> Option<Vec<At<String>>> {
    let words = field.list(|word| word.string().map(str::to_owned))?;
    if words.first().is_none_or(|word| word.value.is_empty()) {
        field.error("a command names at least a program");
        return None;
    }
    Some(words)
}

fn deny_repeats<T: Eq + Hash>(field: &Field<'_>, values: &[At<T>], show: impl Fn(&T) -> String) {
    let mut seen = HashSet::new();
    for at in values {
        if !seen.insert(&at.value) {
            field.source.error(&at.place, format!("{} is listed twice", show(&at.value)));
        }
    }
}
