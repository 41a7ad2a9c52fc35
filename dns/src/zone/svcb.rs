//! SVCB and HTTPS data (RFC 9460 section 2.1 and appendix A).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::rdata::Fields;
use super::rdata_text;

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4_HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6_HINT: u16 = 6;
/// Parameters of one record; the registry has about ten.
const PARAMS_MAX: usize = 64;

pub(crate) fn parse(fields: &mut Fields<'_>, wire: &mut Vec<u8>) -> Result<(), String> {
    let priority = fields.u16("priority")?;
    wire.extend(priority.to_be_bytes());
    wire.extend(fields.name("target")?);
    let mut params: Vec<(u16, Vec<u8>)> = Vec::new();
    while let Some(token) = fields.next_if_any() {
        let (key_text, value) = match token.text.split_once('=') {
            // `key="value"` arrives as the two tokens `key=` and `value`.
            Some((key, "")) => (key, Some(fields.next_if_quoted().map_or("", |token| token.text))),
            Some((key, value)) => (key, Some(value)),
            None => (token.text, None),
        };
        let key = key_number(key_text).ok_or_else(|| format!("unknown parameter `{key_text}`"))?;
        if params.iter().any(|(other, _)| *other == key) {
            return Err(format!("the parameter `{key_text}` is given twice"));
        }
        if params.len() == PARAMS_MAX {
            return Err("too many parameters".into());
        }
        params.push((
            key,
            value_bytes(key, value).map_err(|reason| format!("the parameter `{key_text}`: {reason}"))?,
        ));
    }
    if priority == 0 && !params.is_empty() {
        return Err("an alias (priority 0) has no parameters".into());
    }
    params.sort();
    check_mandatory(&params)?;
    for (key, value) in params {
        let length = u16::try_from(value.len()).map_err(|_| "a parameter is too long".to_owned())?;
        wire.extend(key.to_be_bytes());
        wire.extend(length.to_be_bytes());
        wire.extend(value);
    }
    Ok(())
}

fn key_number(text: &str) -> Option<u16> {
    Some(match text {
        "mandatory" => MANDATORY,
        "alpn" => ALPN,
        "no-default-alpn" => NO_DEFAULT_ALPN,
        "port" => PORT,
        "ipv4hint" => IPV4_HINT,
        "ech" => ECH,
        "ipv6hint" => IPV6_HINT,
        _ => {
            let digits = text.strip_prefix("key")?;
            let plain = digits == "0" || !digits.starts_with('0');
            return (plain && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| digits.parse().ok())?;
        }
    })
}

fn value_bytes(key: u16, value: Option<&str>) -> Result<Vec<u8>, String> {
    if key == NO_DEFAULT_ALPN {
        return if value.is_none() { Ok(Vec::new()) } else { Err("takes no value".into()) };
    }
    let text = match value {
        Some("") | None if key <= IPV6_HINT => return Err("needs a value".into()),
        Some(text) => text,
        None => return Ok(Vec::new()),
    };
    let bad = |what: &str, item: &str| format!("`{item}` is not {what}");
    match key {
        MANDATORY => {
            let mut keys = Vec::new();
            for item in text.split(',') {
                keys.push(
                    key_number(item)
                        .filter(|key| *key != MANDATORY)
                        .ok_or_else(|| bad("a parameter", item))?,
                );
            }
            keys.sort_unstable();
            if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err("names a parameter twice".into());
            }
            Ok(keys.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        ALPN => {
            let mut bytes = Vec::new();
            for item in text.split(',') {
                let item = rdata_text::unescape(item)?;
                let length = u8::try_from(item.len()).ok().filter(|length| *length > 0);
                bytes.push(length.ok_or("each protocol has 1 to 255 bytes")?);
                bytes.extend(item);
            }
            Ok(bytes)
        }
        PORT => text.parse::<u16>().map(|port| port.to_be_bytes().to_vec()).map_err(|_| bad("a port", text)),
        IPV4_HINT => {
            let parse = |item: &str| item.parse::<Ipv4Addr>().map_err(|_| bad("an IPv4 address", item));
            Ok(text
                .split(',')
                .map(parse)
                .collect::<Result<Vec<_>, _>>()?
                .iter()
                .flat_map(Ipv4Addr::octets)
                .collect())
        }
        IPV6_HINT => {
            let parse = |item: &str| item.parse::<Ipv6Addr>().map_err(|_| bad("an IPv6 address", item));
            Ok(text
                .split(',')
                .map(parse)
                .collect::<Result<Vec<_>, _>>()?
                .iter()
                .flat_map(Ipv6Addr::octets)
                .collect())
        }
        ECH => rdata_text::base64(text).ok_or_else(|| bad("base64", text)),
        _ => rdata_text::unescape(text),
    }
}

/// Each key that `mandatory` names must be there (RFC 9460 section 8).
fn check_mandatory(params: &[(u16, Vec<u8>)]) -> Result<(), String> {
    let Some((MANDATORY, keys)) = params.first() else { return Ok(()) };
    let missing = keys
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .find(|key| !params.iter().any(|(other, _)| other == key));
    missing.map_or(Ok(()), |key| Err(format!("the mandatory parameter number {key} is not given")))
}
