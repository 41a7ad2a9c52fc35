//! A request as a line of JSON.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tidegate_proxy::Finished;

/// Bytes shown of anything a client chose. A header can be long, and every line is copied.
const TEXT_BYTES_MAX: usize = 2048;

/// Fields in the order in which they are written. What is not known is null.
#[derive(Serialize)]
struct Line<'a> {
    /// When the answer ended: RFC 3339, UTC, to the millisecond.
    #[serde(serialize_with = "milliseconds_of_time")]
    time: Timestamp,
    /// The client's address, after a PROXY header and `X-Forwarded-For` where those are trusted.
    client: IpAddr,
    tls: bool,
    protocol: Option<&'a str>,
    method: Option<&'a str>,
    host: Option<&'a str>,
    /// Without the query: queries hold secrets.
    path: Option<&'a str>,
    service: Option<&'a str>,
    /// The site that answered; null where the edge answered by itself.
    site: Option<&'a str>,
    /// The published state that the request was served from.
    generation: u64,
    /// The epoch of the group's decision; 0 without a service.
    epoch: u64,
    /// The origin that answered, or that was tried last.
    origin: Option<&'a str>,
    tries: u32,
    /// Whether a site other than the active one answered.
    spilled: bool,
    /// 499 where the client left before an answer.
    code: u16,
    /// Bytes of the bodies.
    bytes_in: u64,
    bytes_out: u64,
    /// From the request's complete head to the answer's last byte.
    #[serde(serialize_with = "milliseconds")]
    duration_ms: Duration,
    /// Null where a kept connection was used.
    #[serde(serialize_with = "some_milliseconds")]
    connect_ms: Option<Duration>,
    /// From the request's complete head to that of the origin's answer.
    #[serde(serialize_with = "some_milliseconds")]
    first_byte_ms: Option<Duration>,
    request_id: Option<&'a str>,
    /// Why it failed, in a word; null where it did not.
    fault: Option<&'a str>,
}

/// Appends the line with its end.
pub(super) fn write(finished: &Finished<'_>, now: SystemTime, out: &mut Vec<u8>) {
    let line = Line {
        time: Timestamp::try_from(now).unwrap_or_default(),
        client: finished.client,
        tls: finished.tls,
        protocol: known(finished.protocol),
        method: known(finished.method),
        host: known(finished.host),
        path: known(finished.path),
        service: label(finished.service),
        site: label(finished.site),
        generation: finished.generation,
        epoch: finished.epoch,
        origin: finished.origin,
        tries: finished.tries,
        spilled: finished.spilled,
        code: finished.code,
        bytes_in: finished.bytes_received,
        bytes_out: finished.bytes_sent,
        duration_ms: finished.duration,
        connect_ms: finished.connect,
        first_byte_ms: finished.first_byte,
        request_id: known(finished.request_id),
        fault: finished.fault,
    };
    // Writing to memory does not fail, and nothing here is without a JSON form.
    if serde_json::to_writer(&mut *out, &line).is_ok() {
        out.push(b'\n');
    } else {
        out.clear();
    }
}

/// None for what is empty; what is long is cut.
fn known(text: &str) -> Option<&str> {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    Some(&text[..end]).filter(|text| !text.is_empty())
}

/// The proxy's word for neither service nor site is a label of metrics.
fn label(text: &str) -> Option<&str> {
    Some(text).filter(|text| *text != "none")
}

fn milliseconds_of_time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

/// To the microsecond.
fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_micros() as f64 / 1000.0)
}

fn some_milliseconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => milliseconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}
