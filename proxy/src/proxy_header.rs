//! The PROXY protocol, versions 1 and 2: a proxy before this one says whose connection it passes on.
//!
//! Source: HAProxy's `doc/proxy-protocol.txt`, sections 2.1 and 2.2. Read strictly, from networks that were configured
//! for it, and never further than the header reaches: what follows belongs to TLS or HTTP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest first version's header, its line end included (section 2.1).
const V1_MAX: usize = 107;

/// What begins a second version's header (section 2.2).
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Addresses and additions of a second version's header. The protocol allows 64 KiB; addresses and what load balancers
/// add stay far below this.
const V2_PAYLOAD_MAX: usize = 2048;

/// Not a header, or one that says what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads a header. `None`: it names nobody (a health check of the proxy's own, or a family without addresses).
pub(crate) async fn read(tcp: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; V2_SIGNATURE.len()];
    tcp.read_exact(&mut start).await?;
    let read = if start == V2_SIGNATURE {
        let mut fixed = [0; 4];
        tcp.read_exact(&mut fixed).await?;
        let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if length > V2_PAYLOAD_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut payload = vec![0; length];
        tcp.read_exact(&mut payload).await?;
        parse_v2(fixed[0], fixed[1], &payload)
    } else if start.starts_with(b"PROXY ") {
        parse_v1(&read_line(tcp, &start).await?)
    } else {
        Err(Malformed)
    };
    read.map_err(|Malformed| io::ErrorKind::InvalidData.into())
}

/// The whole line, without its end. Looks before it takes, so that nothing behind the line is taken.
async fn read_line(tcp: &mut TcpStream, start: &[u8]) -> io::Result<Vec<u8>> {
    let mut line = start.to_vec();
    let mut room = [0; V1_MAX];
    while line.len() < V1_MAX {
        let seen = tcp.peek(&mut room[..V1_MAX - line.len()]).await?;
        let end = room[..seen].iter().position(|&b| b == b'\n');
        let taken = end.map_or(seen, |end| end + 1);
        if taken == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        tcp.read_exact(&mut room[..taken]).await?;
        line.extend_from_slice(&room[..taken]);
        if let Some(line) = line.strip_suffix(b"\r\n") {
            return Ok(line.to_vec());
        }
        if end.is_some() {
            break;
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT`, `TCP6` likewise, or `UNKNOWN` with anything behind it.
fn parse_v1(line: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
    let rest = line.strip_prefix("PROXY ").ok_or(Malformed)?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Ok(None);
    }
    let mut words = rest.split(' ');
    let mut word = || words.next().ok_or(Malformed);
    let (family, source, destination) = (word()?, word()?, word()?);
    let (source_port, destination_port) = (port(word()?)?, port(word()?)?);
    if word().is_ok() {
        return Err(Malformed);
    }
    let (source, destination) = match family {
        "TCP4" => (v4(source)?, v4(destination)?),
        "TCP6" => (v6(source)?, v6(destination)?),
        _ => return Err(Malformed),
    };
    // The destination matters to nobody here; a header that has none is malformed all the same.
    let _ = (destination, destination_port);
    Ok(Some(SocketAddr::new(source, source_port)))
}

fn v4(word: &str) -> Result<IpAddr, Malformed> {
    word.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Malformed)
}

fn v6(word: &str) -> Result<IpAddr, Malformed> {
    word.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| Malformed)
}

/// Decimal, without a sign and without leading zeros.
fn port(word: &str) -> Result<u16, Malformed> {
    let plain = word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().map_err(|_| Malformed) } else { Err(Malformed) }
}

/// Version and command, family and transport, then addresses and additions, which are skipped.
fn parse_v2(version_command: u8, family: u8, payload: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    match version_command {
        LOCAL => return Ok(None),
        PROXY => {}
        _ => return Err(Malformed),
    }
    const TCP_OVER_V4: u8 = 0x11;
    const TCP_OVER_V6: u8 = 0x21;
    const UNSPECIFIED: u8 = 0x00;
    const UNIX_STREAM: u8 = 0x31;
    match family {
        TCP_OVER_V4 => {
            let fixed: &[u8; 12] = payload.first_chunk().ok_or(Malformed)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *fixed;
            Ok(Some(SocketAddr::new([a, b, c, d].into(), u16::from_be_bytes([high, low]))))
        }
        TCP_OVER_V6 => {
            let fixed: &[u8; 36] = payload.first_chunk().ok_or(Malformed)?;
            let source: &[u8; 16] = fixed.first_chunk().ok_or(Malformed)?;
            Ok(Some(SocketAddr::new((*source).into(), u16::from_be_bytes([fixed[32], fixed[33]]))))
        }
        UNSPECIFIED | UNIX_STREAM => Ok(None),
        // Datagrams did not come this way, and the rest is undefined.
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests;
